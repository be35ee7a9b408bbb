namespace Skylight.Cpu;

/// <summary>
/// The rows that have something to predict. Prompts and pictures have no targets, often most of a batch: their rows are
/// left out of the vocabulary head's products, which changes no bit of the others.
/// </summary>
internal static unsafe class TargetRows
{
    /// <summary>The rows whose target is not −1, ascending.</summary>
    /// <param name="op">The op's name, for the error.</param>
    /// <param name="targets">One token id per row, or −1.</param>
    /// <param name="vocabulary">The number of tokens.</param>
    /// <exception cref="ArgumentOutOfRangeException">A target is neither −1 nor a token.</exception>
    public static int[] Select(string op, ReadOnlySpan<int> targets, int vocabulary)
    {
        int count = 0;
        for (int row = 0; row < targets.Length; row++)
        {
            if (targets[row] < -1 || targets[row] >= vocabulary)
                throw new ArgumentOutOfRangeException(nameof(targets),
                    $"{op}: target {targets[row]} of row {row} is neither −1 (none) nor a token id below {vocabulary}.");
            if (targets[row] >= 0)
                count++;
        }

        var rows = new int[count];
        int next = 0;
        for (int row = 0; row < targets.Length; row++)
        {
            if (targets[row] >= 0)
                rows[next++] = row;
        }

        return rows;
    }

    /// <summary>Whether the rows follow each other without a gap.</summary>
    public static bool AreContiguous(int[] rows, int start, int count) => rows[start + count - 1] - rows[start] == count - 1;

    /// <summary>
    /// Rows <paramref name="start"/> … of the selection side by side: where they are if they already lie so, else
    /// copied to scratch.
    /// </summary>
    public static float* Gather(float* source, int columns, int[] rows, int start, int count, float* scratch)
    {
        if (AreContiguous(rows, start, count))
            return source + (long)rows[start] * columns;
        ElementWise.ForRows(count, columns, (first, length) =>
        {
            for (int row = first; row < first + length; row++)
                Buffer.MemoryCopy(source + (long)rows[start + row] * columns, scratch + (long)row * columns,
                    (long)columns * sizeof(float), (long)columns * sizeof(float));
        });
        return scratch;
    }

    /// <summary>The reverse of <see cref="Gather"/>.</summary>
    public static void Scatter(float* source, int columns, int[] rows, int start, int count, float* target) =>
        ElementWise.ForRows(count, columns, (first, length) =>
        {
            for (int row = first; row < first + length; row++)
                Buffer.MemoryCopy(source + (long)row * columns, target + (long)rows[start + row] * columns,
                    (long)columns * sizeof(float), (long)columns * sizeof(float));
        });
}
