using System.Runtime.InteropServices;
using System.Text;

namespace Skylight.Cuda.Interop;

/// <summary>
/// The functions of the CUDA driver that are used, by function pointers (see <see cref="Nvrtc"/> for why), named as in
/// NVIDIA's documentation without the prefix <c>cu</c>. Handles are <see langword="nint"/>, device addresses
/// <see langword="ulong"/>. Every function but the two of error texts returns a code to be given to <see cref="Check"/>.
/// </summary>
internal sealed unsafe class Driver
{
    private readonly Emulator? _emulator;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorName;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorString;

    public readonly delegate* unmanaged<uint, int> Init;
    public readonly delegate* unmanaged<int*, int> DriverGetVersion;
    public readonly delegate* unmanaged<int*, int> DeviceGetCount;
    public readonly delegate* unmanaged<int*, int, int> DeviceGet;
    public readonly delegate* unmanaged<byte*, int, int, int> DeviceGetName;
    public readonly delegate* unmanaged<nuint*, int, int> DeviceTotalMem;
    public readonly delegate* unmanaged<int*, int, int, int> DeviceGetAttribute;
    public readonly delegate* unmanaged<nint*, int, int> DevicePrimaryCtxRetain;
    public readonly delegate* unmanaged<int, int> DevicePrimaryCtxRelease;
    public readonly delegate* unmanaged<nint, int> CtxSetCurrent;
    public readonly delegate* unmanaged<int*, int> CtxGetDevice;
    public readonly delegate* unmanaged<int> CtxSynchronize;
    public readonly delegate* unmanaged<nuint*, nuint*, int> MemGetInfo;
    public readonly delegate* unmanaged<ulong*, nuint, int> MemAlloc;
    public readonly delegate* unmanaged<ulong, int> MemFree;
    public readonly delegate* unmanaged<ulong*, nuint, nint, int> MemAllocAsync;
    public readonly delegate* unmanaged<ulong, nint, int> MemFreeAsync;
    public readonly delegate* unmanaged<nint*, int, int> DeviceGetDefaultMemPool;
    public readonly delegate* unmanaged<nint, int, void*, int> MemPoolSetAttribute;
    public readonly delegate* unmanaged<nint, nuint, int> MemPoolTrimTo;
    public readonly delegate* unmanaged<void**, nuint, uint, int> MemHostAlloc;
    public readonly delegate* unmanaged<void*, int> MemFreeHost;
    public readonly delegate* unmanaged<ulong, void*, nuint, nint, int> MemcpyHtoDAsync;
    public readonly delegate* unmanaged<void*, ulong, nuint, nint, int> MemcpyDtoHAsync;
    public readonly delegate* unmanaged<ulong, ulong, nuint, nint, int> MemcpyDtoDAsync;
    public readonly delegate* unmanaged<ulong, byte, nuint, nint, int> MemsetD8Async;
    public readonly delegate* unmanaged<nint*, uint, int> StreamCreate;
    public readonly delegate* unmanaged<nint, int> StreamDestroy;
    public readonly delegate* unmanaged<nint, nint*, int> StreamGetCtx;
    public readonly delegate* unmanaged<nint, int> StreamSynchronize;
    public readonly delegate* unmanaged<nint, int, int> StreamBeginCapture;
    public readonly delegate* unmanaged<nint, nint*, int> StreamEndCapture;
    public readonly delegate* unmanaged<nint*, nint, ulong, int> GraphInstantiate;
    public readonly delegate* unmanaged<nint, nint, int> GraphLaunch;
    public readonly delegate* unmanaged<nint, int> GraphExecDestroy;
    public readonly delegate* unmanaged<nint, int> GraphDestroy;
    public readonly delegate* unmanaged<nint*, uint, int> EventCreate;
    public readonly delegate* unmanaged<nint, int> EventDestroy;
    public readonly delegate* unmanaged<nint, nint, int> EventRecord;
    public readonly delegate* unmanaged<nint, int> EventSynchronize;
    public readonly delegate* unmanaged<float*, nint, nint, int> EventElapsedTime;
    public readonly delegate* unmanaged<nint*, void*, uint, int*, void**, int> ModuleLoadDataEx;
    public readonly delegate* unmanaged<nint, int> ModuleUnload;
    public readonly delegate* unmanaged<nint*, nint, byte*, int> ModuleGetFunction;
    public readonly delegate* unmanaged<nint, int, int, int> FuncSetAttribute;
    public readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**,
        int> LaunchKernel;
    public readonly delegate* unmanaged<LaunchConfiguration*, nint, void**, void**, int> LaunchKernelEx;
    public readonly delegate* unmanaged<void*, int, uint, ulong, ulong*, ulong*, uint*, uint*, int, int, int, int,
        int> TensorMapEncodeTiled;

    /// <summary>Looks up the functions of a library.</summary>
    /// <param name="library">The driver, or the emulator.</param>
    /// <param name="emulator">The emulator's own functions, whose report then is part of every error.</param>
    public Driver(LibraryFunctions library, Emulator? emulator)
    {
        Library = library;
        _emulator = emulator;
        _getErrorName = (delegate* unmanaged<int, byte**, int>)library.Function("cuGetErrorName");
        _getErrorString = (delegate* unmanaged<int, byte**, int>)library.Function("cuGetErrorString");
        Init = (delegate* unmanaged<uint, int>)library.Function("cuInit");
        DriverGetVersion = (delegate* unmanaged<int*, int>)library.Function("cuDriverGetVersion");
        DeviceGetCount = (delegate* unmanaged<int*, int>)library.Function("cuDeviceGetCount");
        DeviceGet = (delegate* unmanaged<int*, int, int>)library.Function("cuDeviceGet");
        DeviceGetName = (delegate* unmanaged<byte*, int, int, int>)library.Function("cuDeviceGetName");
        DeviceTotalMem = (delegate* unmanaged<nuint*, int, int>)library.Function("cuDeviceTotalMem_v2");
        DeviceGetAttribute = (delegate* unmanaged<int*, int, int, int>)library.Function("cuDeviceGetAttribute");
        DevicePrimaryCtxRetain = (delegate* unmanaged<nint*, int, int>)library.Function("cuDevicePrimaryCtxRetain");
        DevicePrimaryCtxRelease = (delegate* unmanaged<int, int>)library.Function("cuDevicePrimaryCtxRelease_v2");
        CtxSetCurrent = (delegate* unmanaged<nint, int>)library.Function("cuCtxSetCurrent");
        CtxGetDevice = (delegate* unmanaged<int*, int>)library.Function("cuCtxGetDevice");
        CtxSynchronize = (delegate* unmanaged<int>)library.Function("cuCtxSynchronize");
        MemGetInfo = (delegate* unmanaged<nuint*, nuint*, int>)library.Function("cuMemGetInfo_v2");
        MemAlloc = (delegate* unmanaged<ulong*, nuint, int>)library.Function("cuMemAlloc_v2");
        MemFree = (delegate* unmanaged<ulong, int>)library.Function("cuMemFree_v2");
        MemAllocAsync = (delegate* unmanaged<ulong*, nuint, nint, int>)library.Function("cuMemAllocAsync");
        MemFreeAsync = (delegate* unmanaged<ulong, nint, int>)library.Function("cuMemFreeAsync");
        DeviceGetDefaultMemPool = (delegate* unmanaged<nint*, int, int>)library.Function("cuDeviceGetDefaultMemPool");
        MemPoolSetAttribute = (delegate* unmanaged<nint, int, void*, int>)library.Function("cuMemPoolSetAttribute");
        MemPoolTrimTo = (delegate* unmanaged<nint, nuint, int>)library.Function("cuMemPoolTrimTo");
        MemHostAlloc = (delegate* unmanaged<void**, nuint, uint, int>)library.Function("cuMemHostAlloc");
        MemFreeHost = (delegate* unmanaged<void*, int>)library.Function("cuMemFreeHost");
        MemcpyHtoDAsync = (delegate* unmanaged<ulong, void*, nuint, nint, int>)library.Function("cuMemcpyHtoDAsync_v2");
        MemcpyDtoHAsync = (delegate* unmanaged<void*, ulong, nuint, nint, int>)library.Function("cuMemcpyDtoHAsync_v2");
        MemcpyDtoDAsync = (delegate* unmanaged<ulong, ulong, nuint, nint, int>)library.Function("cuMemcpyDtoDAsync_v2");
        MemsetD8Async = (delegate* unmanaged<ulong, byte, nuint, nint, int>)library.Function("cuMemsetD8Async");
        StreamCreate = (delegate* unmanaged<nint*, uint, int>)library.Function("cuStreamCreate");
        StreamGetCtx = (delegate* unmanaged<nint, nint*, int>)library.Function("cuStreamGetCtx");
        StreamDestroy = (delegate* unmanaged<nint, int>)library.Function("cuStreamDestroy_v2");
        StreamSynchronize = (delegate* unmanaged<nint, int>)library.Function("cuStreamSynchronize");
        StreamBeginCapture = (delegate* unmanaged<nint, int, int>)library.Function("cuStreamBeginCapture_v2");
        StreamEndCapture = (delegate* unmanaged<nint, nint*, int>)library.Function("cuStreamEndCapture");
        GraphInstantiate = (delegate* unmanaged<nint*, nint, ulong, int>)library.Function("cuGraphInstantiateWithFlags");
        GraphLaunch = (delegate* unmanaged<nint, nint, int>)library.Function("cuGraphLaunch");
        GraphExecDestroy = (delegate* unmanaged<nint, int>)library.Function("cuGraphExecDestroy");
        GraphDestroy = (delegate* unmanaged<nint, int>)library.Function("cuGraphDestroy");
        EventCreate = (delegate* unmanaged<nint*, uint, int>)library.Function("cuEventCreate");
        EventDestroy = (delegate* unmanaged<nint, int>)library.Function("cuEventDestroy_v2");
        EventRecord = (delegate* unmanaged<nint, nint, int>)library.Function("cuEventRecord");
        EventSynchronize = (delegate* unmanaged<nint, int>)library.Function("cuEventSynchronize");
        EventElapsedTime = (delegate* unmanaged<float*, nint, nint, int>)library.Function("cuEventElapsedTime");
        ModuleLoadDataEx = (delegate* unmanaged<nint*, void*, uint, int*, void**, int>)library.Function(
            "cuModuleLoadDataEx");
        ModuleUnload = (delegate* unmanaged<nint, int>)library.Function("cuModuleUnload");
        ModuleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)library.Function("cuModuleGetFunction");
        FuncSetAttribute = (delegate* unmanaged<nint, int, int, int>)library.Function("cuFuncSetAttribute");
        LaunchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**,
            int>)library.Function("cuLaunchKernel");
        LaunchKernelEx = (delegate* unmanaged<LaunchConfiguration*, nint, void**, void**, int>)library.Function(
            "cuLaunchKernelEx");
        TensorMapEncodeTiled = (delegate* unmanaged<void*, int, uint, ulong, ulong*, ulong*, uint*, uint*, int, int, int,
            int, int>)library.Function("cuTensorMapEncodeTiled");
    }

    /// <summary>The library.</summary>
    public LibraryFunctions Library { get; }

    /// <summary>The newest CUDA that it supports, major and minor; null when it does not say.</summary>
    public Version? Version
    {
        get
        {
            int version;
            return DriverGetVersion(&version) == 0 ? new Version(version / 1000, version % 1000 / 10) : null;
        }
    }

    /// <summary>A card's own name.</summary>
    public string NameOf(int device)
    {
        byte* name = stackalloc byte[256];
        Check(DeviceGetName(name, 256, device), "cuDeviceGetName");
        return Marshal.PtrToStringUTF8((nint)name) ?? "";
    }

    /// <summary>One of a card's numbers.</summary>
    public int AttributeOf(int device, int attribute)
    {
        int value;
        Check(DeviceGetAttribute(&value, attribute, device), "cuDeviceGetAttribute");
        return value;
    }

    /// <summary>A card's compute capability times ten.</summary>
    public int ArchitectureOf(int device) =>
        10 * AttributeOf(device, CudaNumbers.AttributeMajor) + AttributeOf(device, CudaNumbers.AttributeMinor);

    /// <summary>Throws when a call failed.</summary>
    /// <param name="result">What the call returned.</param>
    /// <param name="call">Its full name.</param>
    public void Check(int result, string call)
    {
        if (result != 0)
            throw Error(result, call);
    }

    /// <summary>
    /// The exception for a failed call: what was called, the code with its name and text, and what would help.
    /// </summary>
    /// <param name="result">What the call returned.</param>
    /// <param name="call">What was called, and for what.</param>
    public CudaException Error(int result, string call)
    {
        var message = new StringBuilder(call);
        byte* text;
        message.Append(" failed with code ").Append(result);
        if (_getErrorName(result, &text) == 0 && text is not null)
            message.Append(", ").Append(Marshal.PtrToStringUTF8((nint)text));
        if (_getErrorString(result, &text) == 0 && text is not null)
            message.Append(" (").Append(Marshal.PtrToStringUTF8((nint)text)).Append(')');
        message.Append('.').Append(Hint(result));
        if (_emulator?.LastReport is { Length: > 0 } report)
            message.Append("\nThe emulator reports: ").Append(report);
        return new CudaException(message.ToString(), result);
    }

    /// <summary>Whether an error leaves the context unusable: all later calls give the same code.</summary>
    public static bool IsLasting(int result) => result
        is CudaNumbers.MemoryErrorUncorrectable or CudaNumbers.IllegalAddress or CudaNumbers.LaunchTimeout
            or CudaNumbers.DeviceAssertion
        or CudaNumbers.HardwareStackError or CudaNumbers.IllegalInstruction or CudaNumbers.MisalignedAddress
        or CudaNumbers.InvalidAddressSpace or CudaNumbers.InvalidProgramCounter or CudaNumbers.LaunchFailed;

    private static string Hint(int result) => result switch
    {
        CudaNumbers.NoDevice =>
            " No card is visible: look at nvidia-smi and CUDA_VISIBLE_DEVICES, and whether a container was given the card.",
        CudaNumbers.NotInitialized or CudaNumbers.DriverMismatch or CudaNumbers.CompatibilityNotSupported =>
            " The driver and its kernel module do not fit together, or are too old: update the driver.",
        CudaNumbers.InvalidImage or CudaNumbers.NoBinaryForCard or CudaNumbers.InvalidPtx
            => " The kernels' code does not fit the card or the driver: delete the kernel cache, and use an NVRTC " +
                "that is not newer than the driver.",
        CudaNumbers.UnsupportedPtxVersion =>
            " NVRTC is newer than the driver, which cannot translate its PTX: update the driver, or give an older " +
            "NVRTC in SKYLIGHT_NVRTC.",
        CudaNumbers.TranslatorNotFound =>
            " The driver's translator of PTX (libnvidia-ptxjitcompiler.so.1) is missing: install it, or give the " +
            "container access to it; an NVRTC that knows the card does without.",
        CudaNumbers.TranslationDisabled =>
            " CUDA_DISABLE_PTX_JIT forbids the driver to translate PTX, which this card needs with this NVRTC: unset " +
            "it, or install an NVRTC that knows the card.",
        CudaNumbers.InvalidContext or CudaNumbers.InvalidHandle
            => " A context or a stream that a host gives in CudaDeviceOptions must be of this driver, and must not " +
                "be destroyed while the device is open.",
        CudaNumbers.OutOfMemory => " The card's memory is full; other processes may use it too.",
        _ when IsLasting(result) =>
            " The device is lost: what was in its memory is gone, and it must be made anew. The kernel at fault ran " +
            "before this call; with the environment variable CUDA_LAUNCH_BLOCKING=1 its own launch fails.",
        _ => "",
    };
}

/// <summary>
/// One attribute of a launch (<c>CUlaunchAttribute</c>): the extents of a cluster; or, in X, 1 for a programmatic launch.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 72)]
internal struct LaunchAttribute
{
    [FieldOffset(0)]
    public int Id;

    [FieldOffset(8)]
    public uint X;

    [FieldOffset(12)]
    public uint Y;

    [FieldOffset(16)]
    public uint Z;
}

/// <summary>A launch with attributes (<c>CUlaunchConfig</c>).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct LaunchConfiguration
{
    public uint GridX;
    public uint GridY;
    public uint GridZ;
    public uint BlockX;
    public uint BlockY;
    public uint BlockZ;
    public uint SharedBytes;
    public nint Stream;
    public LaunchAttribute* Attributes;
    public uint AttributeCount;
}
