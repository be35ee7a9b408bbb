namespace Skylight.Cuda.Interop;

/// <summary>
/// Numbers of CUDA's C headers, each with the name that it has there: a test compares every one of them with what the
/// headers say. Layouts of structures are beside <see cref="Driver"/>.
/// </summary>
internal static class CudaNumbers
{
    /// <summary><c>CUDA_ERROR_OUT_OF_MEMORY</c>.</summary>
    public const int OutOfMemory = 2;

    /// <summary><c>CUDA_ERROR_NOT_INITIALIZED</c>.</summary>
    public const int NotInitialized = 3;

    /// <summary><c>CUDA_ERROR_NO_DEVICE</c>.</summary>
    public const int NoDevice = 100;

    /// <summary><c>CUDA_ERROR_INVALID_IMAGE</c>.</summary>
    public const int InvalidImage = 200;

    /// <summary><c>CUDA_ERROR_INVALID_CONTEXT</c>.</summary>
    public const int InvalidContext = 201;

    /// <summary><c>CUDA_ERROR_NO_BINARY_FOR_GPU</c>.</summary>
    public const int NoBinaryForCard = 209;

    /// <summary><c>CUDA_ERROR_ECC_UNCORRECTABLE</c>.</summary>
    public const int MemoryErrorUncorrectable = 214;

    /// <summary><c>CUDA_ERROR_INVALID_PTX</c>.</summary>
    public const int InvalidPtx = 218;

    /// <summary><c>CUDA_ERROR_JIT_COMPILER_NOT_FOUND</c>.</summary>
    public const int TranslatorNotFound = 221;

    /// <summary><c>CUDA_ERROR_UNSUPPORTED_PTX_VERSION</c>.</summary>
    public const int UnsupportedPtxVersion = 222;

    /// <summary><c>CUDA_ERROR_JIT_COMPILATION_DISABLED</c>.</summary>
    public const int TranslationDisabled = 223;

    /// <summary><c>CUDA_ERROR_INVALID_HANDLE</c>.</summary>
    public const int InvalidHandle = 400;

    /// <summary><c>CUDA_ERROR_ILLEGAL_ADDRESS</c>.</summary>
    public const int IllegalAddress = 700;

    /// <summary><c>CUDA_ERROR_LAUNCH_TIMEOUT</c>.</summary>
    public const int LaunchTimeout = 702;

    /// <summary><c>CUDA_ERROR_ASSERT</c>.</summary>
    public const int DeviceAssertion = 710;

    /// <summary><c>CUDA_ERROR_HARDWARE_STACK_ERROR</c>.</summary>
    public const int HardwareStackError = 714;

    /// <summary><c>CUDA_ERROR_ILLEGAL_INSTRUCTION</c>.</summary>
    public const int IllegalInstruction = 715;

    /// <summary><c>CUDA_ERROR_MISALIGNED_ADDRESS</c>.</summary>
    public const int MisalignedAddress = 716;

    /// <summary><c>CUDA_ERROR_INVALID_ADDRESS_SPACE</c>.</summary>
    public const int InvalidAddressSpace = 717;

    /// <summary><c>CUDA_ERROR_INVALID_PC</c>.</summary>
    public const int InvalidProgramCounter = 718;

    /// <summary><c>CUDA_ERROR_LAUNCH_FAILED</c>.</summary>
    public const int LaunchFailed = 719;

    /// <summary><c>CUDA_ERROR_SYSTEM_DRIVER_MISMATCH</c>.</summary>
    public const int DriverMismatch = 803;

    /// <summary><c>CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE</c>.</summary>
    public const int CompatibilityNotSupported = 804;

    /// <summary><c>CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT</c>.</summary>
    public const int AttributeMultiprocessors = 16;

    /// <summary><c>CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR</c>.</summary>
    public const int AttributeMajor = 75;

    /// <summary><c>CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR</c>.</summary>
    public const int AttributeMinor = 76;

    /// <summary><c>CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN</c>.</summary>
    public const int AttributeSharedBytesOptIn = 97;

    /// <summary><c>CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED</c>.</summary>
    public const int AttributeMemoryPools = 115;

    /// <summary><c>CU_MEMPOOL_ATTR_RELEASE_THRESHOLD</c>.</summary>
    public const int PoolReleaseThreshold = 4;

    /// <summary><c>CU_STREAM_NON_BLOCKING</c>.</summary>
    public const int StreamNonBlocking = 1;

    /// <summary><c>CU_STREAM_CAPTURE_MODE_THREAD_LOCAL</c>.</summary>
    public const int CaptureThreadLocal = 1;

    /// <summary><c>CU_EVENT_DEFAULT</c>.</summary>
    public const int EventDefault = 0;

    /// <summary><c>CU_EVENT_DISABLE_TIMING</c>.</summary>
    public const int EventDisableTiming = 2;

    /// <summary><c>CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES</c>.</summary>
    public const int FunctionDynamicSharedBytes = 8;

    /// <summary><c>CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION</c>.</summary>
    public const int LaunchClusterDimension = 4;

    /// <summary><c>CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION</c>.</summary>
    public const int LaunchProgrammatic = 6;

    /// <summary><c>CU_TENSOR_MAP_DATA_TYPE_BFLOAT16</c>.</summary>
    public const int TensorMapBFloat16 = 9;

    /// <summary><c>CU_TENSOR_MAP_INTERLEAVE_NONE</c>.</summary>
    public const int TensorMapInterleaveNone = 0;

    /// <summary><c>CU_TENSOR_MAP_SWIZZLE_128B</c>.</summary>
    public const int TensorMapSwizzle128 = 3;

    /// <summary><c>CU_TENSOR_MAP_L2_PROMOTION_L2_128B</c>.</summary>
    public const int TensorMapPromotion128 = 2;

    /// <summary><c>CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE</c>.</summary>
    public const int TensorMapFillZeros = 0;

    /// <summary><c>CU_JIT_ERROR_LOG_BUFFER</c>.</summary>
    public const int TranslationLog = 5;

    /// <summary><c>CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES</c>.</summary>
    public const int TranslationLogBytes = 6;

    /// <summary><c>NVRTC_ERROR_COMPILATION</c>.</summary>
    public const int CompilationFailed = 6;

    /// <summary><c>CUBLAS_OP_N</c>.</summary>
    public const int ProductAsIs = 0;

    /// <summary><c>CUBLAS_OP_T</c>.</summary>
    public const int ProductTransposed = 1;

    /// <summary><c>CUBLAS_COMPUTE_32F</c>.</summary>
    public const int ProductComputeFloat32 = 68;

    /// <summary><c>CUBLAS_GEMM_DEFAULT</c>.</summary>
    public const int ProductDefaultAlgorithm = -1;

    /// <summary><c>CUDA_R_32F</c>.</summary>
    public const int RealFloat32 = 0;

    /// <summary><c>CUDA_R_16BF</c>.</summary>
    public const int RealBFloat16 = 14;
}
