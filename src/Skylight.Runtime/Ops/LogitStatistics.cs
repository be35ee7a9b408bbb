using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// For hosts that choose tokens themselves (beam search, a grammar, checking drafts) and score any number of candidates
/// of a row as training would;
/// <see cref="SampleTokens"/>, which generation uses, draws and scores on the device. <c>logits [T, V] float32 →
/// (maximum [T], logSum [T], entropy [T])</c> with x = logits / temperature, maximum = max x, logSum = log Σ exp(x −
/// maximum) ≥ 0, and the entropy of softmax(x) in nats. A token's log-probability is <c>(logit / temperature − maximum)
/// − logSum</c>, in this order of float32 operations: then it, and the entropy, equal those of
/// <see cref="VocabularyHead"/> bit for bit. No gradient.
/// </summary>
/// <param name="Temperature">Divides the logits; above zero.</param>
public sealed record LogitStatistics(float Temperature = 1f) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Float32(0, "logits").Rank(0, "logits", 2)
            .That(Temperature > 0 && float.IsFinite(Temperature), $"the temperature must be above zero, not {Temperature}")
            .That(inputs[0].Shape.Columns > 0, "the vocabulary is empty");
        return [.. Enumerable.Repeat(TensorType.Float32(inputs[0].Shape.Rows), 3)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => StoredLogits.ScratchBytes(inputs[0].Shape);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* maximum = arguments.OutputPointer(0), logSum = arguments.OutputPointer(1),
            entropy = arguments.OutputPointer(2);
        StoredLogits.Reduce(arguments, null, new RowTemperatures(Temperature), (row, statistics) =>
        {
            maximum[row] = statistics.Maximum;
            logSum[row] = statistics.LogSum;
            entropy[row] = statistics.Entropy;
        });
    }
}

/// <summary>Statistics of logits that lie in memory (input 0), by the segments of <see cref="VocabularyCore"/>.</summary>
internal static unsafe class StoredLogits
{
    private const int Grain = 8192;

    /// <summary>The temporary memory of <see cref="Reduce"/>.</summary>
    public static long ScratchBytes(Shape logits) =>
        Math.Max(1L, logits.Rows) * VocabularyCore.SegmentCount(logits.Columns) * sizeof(SegmentStatistics);

    /// <summary>Hands over the statistics of each row, in any order and on any thread.</summary>
    /// <param name="arguments">Input 0 and the temporary memory.</param>
    /// <param name="rows">Which rows; null for all.</param>
    /// <param name="temperatures">Divide the logits.</param>
    /// <param name="write">Takes a row and its statistics.</param>
    public static void Reduce(in CpuArguments arguments, int[]? rows, RowTemperatures temperatures,
        Action<int, RowStatistics> write)
    {
        Shape shape = arguments.Input(0).Shape;
        float* logits = arguments.InputPointer(0);
        int vocabulary = shape.Columns, segments = VocabularyCore.SegmentCount(vocabulary),
            count = rows?.Length ?? shape.Rows;
        var statistics = (SegmentStatistics*)arguments.ScratchPointer;
        CpuParallel.ForRange(checked(count * segments),
            Math.Max(1, Grain / Math.Min(vocabulary, VocabularyCore.SegmentWidth)), (start, end) =>
        {
            for (int index = start; index < end; index++)
            {
                int row = index / segments, segment = index % segments;
                int stored = rows?[row] ?? row;
                float* line = logits + (long)stored * vocabulary;
                statistics[index] = VocabularyCore.Reduce(line + segment * VocabularyCore.SegmentWidth,
                    VocabularyCore.ColumnsOf(segment, vocabulary), temperatures.Of(stored));
            }
        });
        ElementWise.ForRows(count, 16 * segments, (start, length) =>
        {
            for (int row = start; row < start + length; row++)
                write(rows?[row] ?? row, VocabularyCore.Merge(statistics + (long)row * segments, vocabulary));
        });
    }
}

/// <summary>What divides the logits of each row.</summary>
internal readonly struct RowTemperatures
{
    private readonly float[]? _ofRows;
    private readonly float _ofAll;

    /// <summary>One for all rows.</summary>
    public RowTemperatures(float ofAll) => _ofAll = ofAll;

    /// <summary>One for each row.</summary>
    public RowTemperatures(float[] ofRows) => _ofRows = ofRows;

    /// <summary>That of a row.</summary>
    public float Of(int row) => _ofRows is null ? _ofAll : _ofRows[row];
}
