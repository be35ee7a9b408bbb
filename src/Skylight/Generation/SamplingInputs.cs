using System.Runtime.InteropServices;
using Skylight.Ops;

namespace Skylight.Generation;

/// <summary>
/// What <see cref="SampleTokens"/>, <see cref="AdjustLogits"/> and <see cref="MaskLogits"/> read in a pass; one row for
/// each token that is drawn, padding included.
/// </summary>
internal sealed class SamplingInputs
{
    private SamplingInputs(int rows)
    {
        Temperature = new float[rows];
        TopK = new int[rows];
        TopP = new float[rows];
        MinP = new float[rows];
        Random = new int[rows * SampleTokens.RandomWords];
        AdjustmentStarts = new int[rows + 1];
        // Padding is drawn greedily from the logits of row 0, and so are tokens that nobody gets from their own.
        Array.Fill(TopP, 1f);
    }

    public float[] Temperature { get; }

    public int[] TopK { get; }

    public float[] TopP { get; }

    public float[] MinP { get; }

    public int[] Random { get; }

    public int[] AdjustmentStarts { get; }

    public int[] AdjustedTokens { get; private set; } = [];

    public float[] Penalty { get; private set; } = [];

    public float[] Bias { get; private set; } = [];

    /// <summary>The mask of each row, below 0 for none; no rows where none has one.</summary>
    public int[] MaskRows { get; private set; } = [];

    /// <summary>The masks, one after the other.</summary>
    public int[] Masks { get; private set; } = [];

    /// <summary>How many masks there are, padding included.</summary>
    public int MaskCount { get; private set; }

    /// <summary>
    /// How many of the most likely tokens are given with each that is drawn: for all rows as many as one wants at most,
    /// where one wants any, so that few plans serve all.
    /// </summary>
    public int TopTokens { get; private set; }

    /// <summary>Collects the parameters of rows.</summary>
    /// <param name="rows">The tokens that are drawn.</param>
    /// <param name="padded">The number of rows with padding.</param>
    /// <param name="vocabulary">The model's tokens.</param>
    public static SamplingInputs Of(IReadOnlyList<Draw> rows, int padded, int vocabulary)
    {
        var inputs = new SamplingInputs(padded);
        var entries = new List<(int Token, float Penalty, float Bias)>();
        for (int row = 0; row < rows.Count; row++)
        {
            inputs.AdjustmentStarts[row] = entries.Count;
            if (rows[row] is not { Sequence: { } sequence, Ahead: int ahead })
                continue;
            SamplingOptions options = sequence.Run.Options;
            inputs.Temperature[row] = options.Temperature;
            inputs.TopK[row] = options.TopK;
            inputs.TopP[row] = options.TopP;
            inputs.MinP[row] = options.MinP;
            if (options.TopLogProbabilityCount > 0)
                inputs.TopTokens = Math.Min(SampleTokens.MostTopTokens, vocabulary);
            SampleTokens.WriteRandom(sequence.Random(ahead),
                inputs.Random.AsSpan(row * SampleTokens.RandomWords, SampleTokens.RandomWords));
            entries.AddRange(sequence.Adjustments(ahead));
        }

        inputs.WriteMasks(rows, padded, vocabulary);
        Array.Fill(inputs.AdjustmentStarts, entries.Count, rows.Count, padded + 1 - rows.Count);
        if (entries.Count > 0)
        {
            int count = StepBatch.BucketOf(entries.Count);
            (inputs.AdjustedTokens, inputs.Penalty, inputs.Bias) = (new int[count], new float[count], new float[count]);
            for (int entry = 0; entry < entries.Count; entry++)
                (inputs.AdjustedTokens[entry], inputs.Penalty[entry], inputs.Bias[entry]) = entries[entry];
        }

        return inputs;
    }

    private void WriteMasks(IReadOnlyList<Draw> rows, int padded, int vocabulary)
    {
        int[] masked = [.. Enumerable.Range(0, rows.Count).Where(row => rows[row].Sequence is { HasForm: true })];
        if (masked.Length == 0)
            return;
        int words = MaskLogits.WordsOf(vocabulary);
        MaskCount = StepBatch.BucketOf(masked.Length);
        Masks = new int[MaskCount * words];
        MaskRows = new int[padded];
        Array.Fill(MaskRows, -1);
        for (int mask = 0; mask < masked.Length; mask++)
        {
            MaskRows[masked[mask]] = mask;
            rows[masked[mask]].Sequence!.WriteMask(rows[masked[mask]].Ahead,
                MemoryMarshal.Cast<int, uint>(Masks.AsSpan(mask * words, words)));
        }
    }
}
