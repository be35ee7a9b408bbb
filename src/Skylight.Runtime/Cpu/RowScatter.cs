using System.Numerics.Tensors;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Adds rows into the rows of a table that an index names: target[index[t]] += rows[t], all other rows zero. Each target row
/// adds its tokens in ascending order, so the result does not depend on the number of threads.
/// </summary>
internal static unsafe class RowScatter
{
    /// <summary>The temporary memory in bytes.</summary>
    public static long ScratchBytes(long tokens, long tableRows) => (tokens + tableRows + 1) * sizeof(int);

    /// <summary>Computes the whole table. Negative indices are left out; the caller has checked the upper limit.</summary>
    /// <param name="index">One for each row.</param>
    /// <param name="rows">float32 [tokens, columns].</param>
    /// <param name="table">float32 table in the storage order of <paramref name="type"/>; overwritten.</param>
    /// <param name="type">The type of the table.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> of temporary memory.</param>
    public static void Run(ReadOnlySpan<int> index, float* rows, float* table, TensorType type, void* scratch)
    {
        int tableRows = type.Shape.Rows, columns = type.Shape.Columns;
        int* ends = (int*)scratch, tokens = ends + tableRows + 1;
        GroupTokens(index, tableRows, ends, tokens);
        if (type.Storage == Storage.RowMajor)
        {
            ElementWise.ForRows(tableRows, columns, (start, count) =>
            {
                for (int row = start; row < start + count; row++)
                    SumTokens(rows, tokens, row == 0 ? 0 : ends[row - 1], ends[row],
                        new Span<float>(table + (long)row * columns, columns));
            });
        }
        else
        {
            CpuParallel.For(WeightPanels.PanelCount(tableRows), panel => FillPanel(panel));
        }

        void FillPanel(int panel)
        {
            float* target = table + (long)panel * WeightPanels.Width * columns;
            new Span<float>(target, WeightPanels.Width * columns).Clear();
            Span<float> sum = new float[columns];
            int first = panel * WeightPanels.Width, valid = Math.Min(WeightPanels.Width, tableRows - first);
            for (int output = 0; output < valid; output++)
            {
                int row = first + output, begin = row == 0 ? 0 : ends[row - 1];
                if (begin == ends[row])
                    continue;
                SumTokens(rows, tokens, begin, ends[row], sum);
                for (int column = 0; column < columns; column++)
                    target[column * WeightPanels.Width + output] = sum[column];
            }
        }
    }

    /// <summary>
    /// Sorts the tokens by index, ascending among equals: those of row r are [ends[r − 1], ends[r]) of
    /// <paramref name="tokens"/>.
    /// </summary>
    private static void GroupTokens(ReadOnlySpan<int> index, int tableRows, int* ends, int* tokens)
    {
        // Counts one place further right, so that the prefix sums are the starts, which filling in turns into the ends.
        new Span<int>(ends, tableRows + 1).Clear();
        foreach (int row in index)
        {
            if (row >= 0)
                ends[row + 1]++;
        }

        for (int row = 0; row < tableRows; row++)
            ends[row + 1] += ends[row];
        for (int token = 0; token < index.Length; token++)
        {
            if (index[token] >= 0)
                tokens[ends[index[token]]++] = token;
        }
    }

    private static void SumTokens(float* rows, int* tokens, int begin, int end, Span<float> sum)
    {
        sum.Clear();
        for (int position = begin; position < end; position++)
            TensorPrimitives.Add(sum, new ReadOnlySpan<float>(rows + (long)tokens[position] * sum.Length, sum.Length), sum);
    }
}
