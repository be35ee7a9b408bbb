using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>Sums of all elements and of columns; see <c>kernels/reduction.cu</c>.</summary>
internal static class ReductionBindings
{
    private const int Threads = 256;
    private const int Warps = Threads / 32;
    private const int SumBlock = 8192;
    private const int MostRowBlocks = 512;
    private const int LeastColumnSumRows = 64;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Sum>((_, kernel) => AddSum(kernel));
        bindings.Add<ColumnSum>((_, kernel) => AddColumnSum(kernel));
    }

    /// <summary>The shared memory that sums over a block take in two regions by turns (<c>BlockSum::bytes</c>).</summary>
    /// <param name="threads">The threads of the block.</param>
    /// <param name="bytesOfValues">The bytes of the values that are summed together.</param>
    public static int BlockSumBytes(int threads, int bytesOfValues) => threads <= 32 ? 0
        : 2 * (threads / 32) * bytesOfValues;

    /// <summary>
    /// Into how many blocks of how many rows a matrix is cut for sums over its rows: of the number of rows alone.
    /// </summary>
    /// <param name="rows">The rows of the matrix.</param>
    /// <param name="least">The least rows of a block.</param>
    public static (int Blocks, int RowsPerBlock) RowBlocks(int rows, int least)
    {
        int rowsPerBlock = Math.Max(least, CudaKernelBuilder.Blocks(rows, MostRowBlocks));
        return (CudaKernelBuilder.Blocks(rows, rowsPerBlock), rowsPerBlock);
    }

    /// <summary>
    /// Queues the sum of blocks' sums, float32 [blocks, columns], into an output [columns]; zeros where there are no
    /// blocks.
    /// </summary>
    public static void AddBlocks(CudaKernelBuilder kernel, CudaScratch partial, int blocks, int columns, int output)
    {
        if (blocks == 0)
        {
            kernel.Clear(kernel.Output(output));
            return;
        }

        // One element to a lane, though four would be one access: few columns, and so more of them side by side.
        LaunchColumnSum(kernel, DataType.Float32, vector: 1, columns, blocks: 1).Scratch(partial).Output(output)
            .Int32(blocks).Int32(columns).Int32(blocks);
    }

    private static void AddSum(CudaKernelBuilder kernel)
    {
        long count = kernel.Inputs[0].Shape.ElementCount;
        int blocks = CudaKernelBuilder.Blocks(count, SumBlock);
        if (blocks == 0)
        {
            kernel.Clear(kernel.Output(0));
            return;
        }

        if (blocks == 1)
        {
            LaunchSum(kernel, kernel.Inputs[0].DataType, 1).Input(0).Output(0).Int64(count).Int64(count);
            return;
        }

        CudaScratch partial = kernel.Scratch(blocks * sizeof(float));
        LaunchSum(kernel, kernel.Inputs[0].DataType, blocks).Input(0).Scratch(partial).Int64(count).Int64(SumBlock);
        LaunchSum(kernel, DataType.Float32, 1).Scratch(partial).Output(0).Int64(blocks).Int64(blocks);
    }

    private static void AddColumnSum(CudaKernelBuilder kernel)
    {
        TensorType x = kernel.Inputs[0];
        int rows = x.Shape.Rows, columns = x.Shape.Columns;
        (int blocks, int rowsPerBlock) = RowBlocks(rows, LeastColumnSumRows);
        int vector = RowLayout.VectorOf(x.DataType, columns);
        if (blocks == 1)
        {
            LaunchColumnSum(kernel, x.DataType, vector, columns, blocks).Input(0).Output(0).Int32(rows).Int32(columns)
                .Int32(rows);
            return;
        }

        CudaScratch partial = kernel.Scratch((long)blocks * columns * sizeof(float));
        if (blocks > 0)
            LaunchColumnSum(kernel, x.DataType, vector, columns, blocks).Input(0).Scratch(partial).Int32(rows)
                .Int32(columns).Int32(rowsPerBlock);
        AddBlocks(kernel, partial, blocks, columns, 0);
    }

    // Both kernels of the file share a module, so both are given the width of an access.
    private static KernelLaunch LaunchSum(CudaKernelBuilder kernel, DataType dataType, int blocks) =>
        kernel.Launch("reduction.cu", "sum", blocks, Threads, BlockSumBytes(Threads, sizeof(float)))
            .Type("ELEMENT", dataType).Define("VECTOR", 1);

    private static KernelLaunch LaunchColumnSum(CudaKernelBuilder kernel, DataType dataType, int vector, int columns,
        int blocks) =>
        kernel.Launch("reduction.cu", "column_sum", new Dim3(CudaKernelBuilder.Blocks(columns, 32 * vector), blocks),
            Threads, Warps * 32 * vector * sizeof(float))
            .Type("ELEMENT", dataType).Define("VECTOR", vector);
}
