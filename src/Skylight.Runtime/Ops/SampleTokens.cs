using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Draws a token from each row of logits, every row with parameters of its own, so that rows of different requests
/// share a step:
/// <c>(logits [R, V] float32, temperature [R] float32, topK [R] int32, topP [R] float32, minP [R] float32, random [R,
/// 6] int32) → (token [R] int32, logProbability [R] float32, entropy [R] float32)</c>; with K =
/// <paramref name="TopTokens"/> above 0 also <c>(…, topTokens [R, K] int32, topLogProbabilities [R, K] float32)</c>.
/// </summary>
/// <param name="TopTokens">How many of the most likely tokens of each row are given beside the one that is drawn, up to
/// <see cref="MostTopTokens"/>; 0, the default, for none and no cost.</param>
/// <remarks>
/// <para>
/// With x = logit / temperature and p = softmax(x), eligible are: of the tokens in order of falling logits (ascending
/// ids among equals) the first topK (0: all), and of those only so many that together have the probability topP (1:
/// all; one at least); and only tokens with p ≥ minP · max p (0: all). One of them is drawn in proportion to p. A
/// temperature of 0 takes the token with the greatest logit, of equals the lowest id, whatever the other parameters. A
/// row's token depends on that row's inputs alone, and for the same logits all devices draw the same one: weights are
/// whole numbers, in units of 2⁻⁴³ of the greatest.
/// </para>
/// <para>
/// logProbability is log p of the token, entropy that of p in nats; before topK, topP and minP. For a temperature of 0
/// they are those of temperature 1. They equal those of <see cref="VocabularyHead"/> and <see cref="LogProbabilities"/>
/// at that temperature bit for bit.
/// </para>
/// <para>
/// random is seed, stream and counter of a <see cref="CounterRandom"/>, low word first (<see cref="WriteRandom"/>): the
/// row uses that generator's next 64 bits. −∞ bans a token. A row of which nothing can be drawn has a number below 0
/// for a token, with NaN for log-probability and entropy, and is no concern of the others: <see cref="NotFinite"/>
/// where a logit is NaN or +∞, <see cref="NothingToDraw"/> where all are −∞. A parameter out of its range is an error
/// at run time that names the row. No gradient.
/// </para>
/// <para>
/// The most likely tokens come in order of falling logits, ascending ids among equals, with log-probabilities of the
/// same distribution: that of a token which is drawn stands there with the same bits. A token that is banned has −∞,
/// and comes only where no other is left. Of a row of which nothing can be drawn all are −1 and NaN.
/// </para>
/// </remarks>
public sealed record SampleTokens(int TopTokens = 0) : Op, ICpuKernel
{
    /// <summary>The most of the most likely tokens that are given.</summary>
    public const int MostTopTokens = 20;

    /// <summary>The words of a row of <c>random</c>.</summary>
    public const int RandomWords = 6;

    /// <summary>The token of a row of which a logit is NaN or +∞.</summary>
    public const int NotFinite = -1;

    /// <summary>The token of a row whose logits are all −∞.</summary>
    public const int NothingToDraw = -2;

    /// <summary>The largest vocabulary.</summary>
    public const int LargestVocabulary = TokenSampler.LargestVocabulary;

    private const int Grain = 8192;

    /// <summary>
    /// Writes a generator's state as a row of <c>random</c>. The op draws one number; the generator itself is not
    /// advanced.
    /// </summary>
    /// <param name="random">The generator.</param>
    /// <param name="row"><see cref="RandomWords"/> words.</param>
    public static void WriteRandom(in CounterRandom random, Span<int> row)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(row.Length, RandomWords);
        ReadOnlySpan<ulong> state = [random.Seed, random.Stream, random.Counter];
        for (int word = 0; word < RandomWords; word++)
            row[word] = (int)(uint)(state[word / 2] >> (32 * (word % 2)));
    }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(6).Float32(0, "logits").Rank(0, "logits", 2)
            .That(inputs[0].Shape.Columns is > 0 and <= LargestVocabulary,
                $"the vocabulary must have 1 to {LargestVocabulary} tokens");
        check.That(TopTokens >= 0 && TopTokens <= Math.Min(MostTopTokens, inputs[0].Shape.Columns),
            $"the most likely tokens must be from 0 to {MostTopTokens}, and no more than there are tokens, not {TopTokens}");
        int rows = inputs[0].Shape.Rows;
        check.Float32(1, "temperature").Shape(1, "temperature", rows)
            .Is(2, "topK", DataType.Int32).Shape(2, "topK", rows)
            .Float32(3, "topP").Shape(3, "topP", rows)
            .Float32(4, "minP").Shape(4, "minP", rows)
            .Is(5, "random", DataType.Int32).Shape(5, "random", rows, RandomWords);
        TensorType[] drawn = [TensorType.Int32(rows), TensorType.Float32(rows), TensorType.Float32(rows)];
        return TopTokens == 0 ? drawn
            : [.. drawn, TensorType.Int32(rows, TopTokens), TensorType.Float32(rows, TopTokens)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(10.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        StatisticsBytes(inputs[0].Shape)
            + Math.Max(1L, inputs[0].Shape.Rows) * VocabularyCore.SegmentCount(inputs[0].Shape.Columns) * sizeof(ulong);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape shape = arguments.Input(0).Shape;
        int rowCount = shape.Rows, vocabulary = shape.Columns, segments = VocabularyCore.SegmentCount(vocabulary);
        float* logits = arguments.InputPointer(0);
        int* token = (int*)arguments.OutputPointer(0);
        float* logProbability = arguments.OutputPointer(1), entropy = arguments.OutputPointer(2);
        int count = TopTokens;
        int* topTokens = count > 0 ? (int*)arguments.OutputPointer(3) : null;
        float* topLogProbabilities = count > 0 ? arguments.OutputPointer(4) : null;
        TokenChoice[] choices = ReadChoices(arguments);
        float[] temperatures = Array.ConvertAll(choices, choice => choice.Temperature == 0 ? 1f : choice.Temperature);
        var rows = new RowStatistics[rowCount];
        StoredLogits.Reduce(arguments, null, new RowTemperatures(temperatures), (row, statistics) => rows[row] = statistics);
        // Reduce has left the statistics of the segments there.
        var segmentStatistics = (SegmentStatistics*)arguments.ScratchPointer;
        ulong* weights = (ulong*)((byte*)arguments.ScratchPointer + StatisticsBytes(shape));
        CpuParallel.ForRange(checked(rowCount * segments),
            Math.Max(1, Grain / Math.Min(vocabulary, VocabularyCore.SegmentWidth)), (start, end) =>
        {
            for (int index = start; index < end; index++)
            {
                int row = index / segments, segment = index % segments;
                if (choices[row].Temperature == 0 || Fault(rows[row]) != 0)
                    continue;
                float* line = logits + (long)row * vocabulary + segment * VocabularyCore.SegmentWidth;
                weights[index] = TokenSampler.SumOfWeights(line, VocabularyCore.ColumnsOf(segment, vocabulary),
                    temperatures[row], rows[row].Maximum);
            }
        });
        ElementWise.ForRows(rowCount, vocabulary, (start, length) =>
        {
            for (int row = start; row < start + length; row++)
            {
                token[row] = Fault(rows[row]);
                logProbability[row] = entropy[row] = float.NaN;
                var top = new Span<int>(topTokens + (long)row * count, count);
                var topScores = new Span<float>(topLogProbabilities + (long)row * count, count);
                top.Fill(-1);
                topScores.Fill(float.NaN);
                if (token[row] != 0)
                    continue;
                float* line = logits + (long)row * vocabulary;
                SegmentStatistics* ofRow = segmentStatistics + (long)row * segments;
                token[row] = choices[row].Temperature == 0
                    ? TokenSampler.Greedy(new ReadOnlySpan<float>(line, vocabulary), ofRow, rows[row].Maximum)
                    : TokenSampler.Draw(line, vocabulary, choices[row], rows[row].Maximum,
                        weights + (long)row * segments, ofRow);
                logProbability[row] = VocabularyCore.LogProbability(line[token[row]], temperatures[row],
                    rows[row].Maximum, rows[row].LogSum);
                entropy[row] = rows[row].Entropy;
                if (count == 0)
                    continue;
                MostLikely.Find(new ReadOnlySpan<float>(line, vocabulary), new ReadOnlySpan<SegmentStatistics>(ofRow, segments),
                    temperatures[row], top);
                for (int rank = 0; rank < count; rank++)
                    topScores[rank] = VocabularyCore.LogProbability(line[top[rank]], temperatures[row],
                        rows[row].Maximum, rows[row].LogSum);
            }
        });
    }

    /// <summary>What is wrong with a row's parameters; null if nothing is.</summary>
    private static string? Fault(in TokenChoice choice)
    {
        if (!(choice.Temperature >= 0) || !float.IsFinite(choice.Temperature))
            return $"the temperature must be 0 or more, not {choice.Temperature}";
        if (choice.TopK < 0)
            return $"top-k must be 0 (all) or more, not {choice.TopK}";
        if (!(choice.TopP > 0 && choice.TopP <= 1))
            return $"top-p must be in (0, 1], not {choice.TopP}";
        return choice.MinP >= 0 && choice.MinP <= 1 ? null : $"min-p must be in [0, 1], not {choice.MinP}";
    }

    private TokenChoice[] ReadChoices(in CpuArguments arguments)
    {
        ReadOnlySpan<float> temperature = arguments.InputFloat32(1), topP = arguments.InputFloat32(3),
            minP = arguments.InputFloat32(4);
        ReadOnlySpan<int> topK = arguments.InputInt32(2), random = arguments.InputInt32(5);
        var choices = new TokenChoice[temperature.Length];
        for (int row = 0; row < choices.Length; row++)
        {
            ReadOnlySpan<int> words = random.Slice(row * RandomWords, RandomWords);
            var generator = new CounterRandom(Join(words[0], words[1]), Join(words[2], words[3]), Join(words[4], words[5]));
            choices[row] = new TokenChoice(temperature[row], topK[row], topP[row], minP[row], generator.NextUInt64());
            if (Fault(choices[row]) is { } fault)
                throw new ArgumentOutOfRangeException(null, $"{Name}: row {row}: {fault}.");
        }

        return choices;
    }

    /// <summary>What stands for the token of a row of which nothing can be drawn; 0 for any other.</summary>
    private static int Fault(in RowStatistics statistics)
    {
        if (float.IsNegativeInfinity(statistics.Maximum) && !float.IsNaN(statistics.LogSum))
            return NothingToDraw;
        return float.IsFinite(statistics.Maximum) && float.IsFinite(statistics.LogSum) ? 0 : NotFinite;
    }

    private static ulong Join(int low, int high) => (uint)low | (ulong)(uint)high << 32;

    private static long StatisticsBytes(Shape logits) =>
        (StoredLogits.ScratchBytes(logits) + sizeof(ulong) - 1) / sizeof(ulong) * sizeof(ulong);
}
