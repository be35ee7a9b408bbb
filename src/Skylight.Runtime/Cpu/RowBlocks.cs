using System.Numerics.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Sums over rows that do not depend on the number of threads: each block of rows makes a partial sum, and the partial
/// sums are added in order.
/// </summary>
public static unsafe class RowBlocks
{
    /// <summary>How many blocks there are.</summary>
    public static int Count(int rows, int blockRows) => (rows + blockRows - 1) / blockRows;

    /// <summary>Adds the partial sums in order.</summary>
    /// <param name="partial">[blocks, columns].</param>
    /// <param name="blocks">The number of partial sums.</param>
    /// <param name="columns">The width.</param>
    /// <param name="sum">[columns]; overwritten.</param>
    public static void Sum(float* partial, int blocks, int columns, float* sum)
    {
        var target = new Span<float>(sum, columns);
        target.Clear();
        for (int block = 0; block < blocks; block++)
            TensorPrimitives.Add(target, new ReadOnlySpan<float>(partial + (long)block * columns, columns), target);
    }
}
