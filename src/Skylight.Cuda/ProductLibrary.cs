using Skylight.Cuda.Interop;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>cuBLAS on a device's stream; loaded when the first product is made.</summary>
internal sealed unsafe class ProductLibrary(CudaDevice device) : IDisposable
{
    /// <summary>What NVIDIA advises for Hopper; own memory, so that products can be part of a captured graph.</summary>
    private const long WorkspaceBytes = 32 << 20;

    private CudaMemory? _workspace;
    private nint _handle;

    /// <summary>Loads the library before it is first needed: nothing may be loaded while a graph is captured.</summary>
    public void Prepare()
    {
        if (_handle != 0)
            return;
        Cublas cublas = device.Libraries.Cublas;
        nint handle;
        cublas.Check(cublas.Create(&handle), "cublasCreate");
        _handle = handle;
        cublas.Check(cublas.SetStream(handle, device.Stream.Value), "cublasSetStream");
        _workspace = device.AllocateUninitialized(WorkspaceBytes);
        cublas.Check(cublas.SetWorkspace(handle, _workspace.Address, (nuint)_workspace.Bytes), "cublasSetWorkspace");
    }

    /// <summary>Queues result = alpha · left · right + beta · result.</summary>
    public void Multiply(CudaProductStep product, ulong left, ulong right, ulong result)
    {
        Cublas cublas = device.Libraries.Cublas;
        float alpha = product.Alpha, beta = product.Beta;
        int factorType = TypeOf(product.FactorType), resultType = TypeOf(product.ResultType);

        // The library's matrices are column-major, so each of ours is its own transpose there: the transposed result is
        // the product of the transposed factors in the other order.
        cublas.Check(
            cublas.GemmStridedBatched(
                _handle,
                product.TransposeRight ? CudaNumbers.ProductTransposed : CudaNumbers.ProductAsIs,
                product.TransposeLeft ? CudaNumbers.ProductTransposed : CudaNumbers.ProductAsIs,
                product.Columns,
                product.Rows,
                product.Inner,
                &alpha,
                right,
                factorType,
                product.RightStride,
                product.RightBatchStride,
                left,
                factorType,
                product.LeftStride,
                product.LeftBatchStride,
                &beta,
                result,
                resultType,
                product.ResultStride,
                product.ResultBatchStride,
                product.Batch,
                CudaNumbers.ProductComputeFloat32,
                CudaNumbers.ProductDefaultAlgorithm),
            "cublasGemmStridedBatchedEx");
    }

    public void Dispose()
    {
        if (_handle != 0)
            _ = device.Libraries.Cublas.Destroy(_handle);
        _handle = 0;
        _workspace?.Dispose();
    }

    private static int TypeOf(DataType? type) => type switch
    {
        DataType.Float32 => CudaNumbers.RealFloat32,
        DataType.BFloat16 => CudaNumbers.RealBFloat16,
        _ => throw new NotSupportedException($"cuBLAS multiplies float32 and bfloat16 matrices, not {type}."),
    };
}
