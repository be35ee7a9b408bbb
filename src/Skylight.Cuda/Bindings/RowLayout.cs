using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// How threads share a row of a matrix; see <c>kernels/common/row.cuh</c>. It depends on the columns alone, so that a
/// row's sums have the same bits in any batch.
/// </summary>
/// <param name="Vector">The elements of one access: 16 bytes where the columns are a multiple of that, else one.</param>
/// <param name="Threads">The threads of a row.</param>
/// <param name="Packs">The accesses of a thread, where they fit into registers; 0 where the row is read again.</param>
internal readonly record struct RowLayout(int Vector, int Threads, int Packs)
{
    private const int Warp = 32;
    private const int MostPacksOfWarp = 8;
    private const int MostPacksOfBlock = 4;
    private const int MostThreads = 1024;

    /// <summary>The elements of one access, for rows of a number of columns.</summary>
    public static int VectorOf(DataType dataType, int columns)
    {
        int vector = 16 / dataType.Size();
        return columns % vector == 0 ? vector : 1;
    }

    /// <summary>For one row at a time: a warp, or a block where the row is wide.</summary>
    public static RowLayout Forward(DataType dataType, int columns)
    {
        int vector = VectorOf(dataType, columns), packs = columns / vector;
        if (packs <= Warp * MostPacksOfWarp)
            return new RowLayout(vector, Warp, CudaKernelBuilder.Blocks(packs, Warp));
        int threads = 4 * Warp;
        while (threads < MostThreads && packs > threads * MostPacksOfBlock)
            threads *= 2;
        int each = CudaKernelBuilder.Blocks(packs, threads);
        return new RowLayout(vector, threads, each <= MostPacksOfBlock ? each : 0);
    }

    /// <summary>
    /// For blocks that also keep a sum for each column: fewer accesses for a thread, as those sums take registers too.
    /// </summary>
    public static RowLayout Backward(DataType dataType, int columns)
    {
        int vector = VectorOf(dataType, columns), packs = columns / vector, threads = Warp;
        while (threads < 256 && packs > threads)
            threads *= 2;
        if (packs > 2 * threads)
            threads *= 2;
        int each = CudaKernelBuilder.Blocks(packs, threads);
        return new RowLayout(vector, threads, each <= 2 ? each : 0);
    }

    /// <summary>Gives the layout to a launch.</summary>
    public KernelLaunch Define(KernelLaunch launch) =>
        launch.Define("VECTOR", Vector).Define("ROW_THREADS", Threads).Define("PACKS", Packs);
}
