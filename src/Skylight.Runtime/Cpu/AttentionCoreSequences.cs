using System.Globalization;

namespace Skylight.Cpu;

/// <summary>The sequences of a packed batch: which rows belong to which, checked, and cut into pieces of work.</summary>
internal static class PackedSequences
{
    /// <summary>Consecutive rows of one sequence.</summary>
    /// <param name="Sequence">The sequence.</param>
    /// <param name="First">The first row, counted from the sequence's first.</param>
    /// <param name="Rows">How many.</param>
    internal readonly record struct Piece(int Sequence, int First, int Rows);

    /// <summary>Checks that starts ascend from 0 or more and end within the rows.</summary>
    /// <exception cref="ArgumentOutOfRangeException">They do not; the error names the op, the place, the value and its
    /// limit.</exception>
    public static void CheckStarts(string op, ReadOnlySpan<int> starts, int rows)
    {
        int previous = 0;
        for (int index = 0; index < starts.Length; index++)
        {
            if (starts[index] < previous)
            {
                throw Error(op, "starts", index, starts[index], index == 0
                    ? "the first start must not be negative"
                    : $"starts must ascend, and the one before is {previous}");
            }

            if (starts[index] > rows)
                throw Error(op, "starts", index, starts[index], $"there are only {rows} rows");
            previous = starts[index];
        }
    }

    /// <summary>Cuts every sequence into pieces of similar size, each but the last a whole number of pages long.</summary>
    /// <param name="starts">Checked.</param>
    /// <param name="rowsPerPiece">About how many rows a piece should have.</param>
    public static Piece[] Cut(ReadOnlySpan<int> starts, int rowsPerPiece)
    {
        int count = 0;
        for (int sequence = 0; sequence < starts.Length - 1; sequence++)
        {
            int rows = starts[sequence + 1] - starts[sequence];
            int size = PieceRows(rows, rowsPerPiece);
            count += (rows + size - 1) / size;
        }

        var pieces = new Piece[count];
        int piece = 0;
        for (int sequence = 0; sequence < starts.Length - 1; sequence++)
        {
            int rows = starts[sequence + 1] - starts[sequence];
            int size = PieceRows(rows, rowsPerPiece);
            for (int first = 0; first < rows; first += size)
                pieces[piece++] = new Piece(sequence, first, Math.Min(size, rows - first));
        }

        return pieces;
    }

    /// <summary>Fills rows that belong to no sequence with zeros.</summary>
    public static void ClearOutside(ReadOnlySpan<int> starts, Span<float> rows, int columns)
    {
        rows[..checked(starts[0] * columns)].Clear();
        rows[checked(starts[^1] * columns)..].Clear();
    }

    /// <summary>An error about an element of an index input.</summary>
    public static ArgumentOutOfRangeException Error(string op, string input, int position, int value, string problem) =>
        new(input, value,
            string.Create(CultureInfo.InvariantCulture, $"{op}: {input}[{position}] is {value}, but {problem}."));

    private static int PieceRows(int rows, int rowsPerPiece)
    {
        int pieces = Math.Max(1, (rows + rowsPerPiece / 2) / rowsPerPiece);
        return Math.Max(1, AttentionCore.PageCount((rows + pieces - 1) / pieces)) * AttentionCore.PageSize;
    }
}
