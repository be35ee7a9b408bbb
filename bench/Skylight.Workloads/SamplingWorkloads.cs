using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Tokens drawn from logits, and logits changed before that.</summary>
internal static class SamplingWorkloads
{
    private const float Banned = float.NegativeInfinity;

    public static IReadOnlyList<Workload> All { get; } =
    [
        // One row for each way to choose, and some of them at once.
        Rows("sample_tokens/tiny", 41,
            [(0, 0, 1, 0), (1, 0, 1, 0), (0.7f, 5, 1, 0), (1.3f, 0, 0.6f, 0), (1, 0, 1, 0.2f), (2, 9, 0.8f, 0.1f),
                (0, 3, 0.5f, 0), (1, 1, 1, 0)]) with { Tiny = true },
        // Several segments, the last one incomplete; probabilities spread over all of them, and concentrated on few.
        Rows("sample_tokens/segments", 2500,
            [(1, 0, 1, 0), (0.3f, 0, 1, 0), (0, 0, 1, 0), (5, 2000, 1, 0), (1, 0, 0.95f, 0), (1, 50, 0.9f, 0),
                (1, 2500, 1, 0.05f), (0.01f, 0, 1e-6f, 0)]),
        new("sample_tokens/ties", new SampleTokens(),
            [Levels(6, 3000),
                .. Parameters([(0, 0, 1, 0), (1, 7, 1, 0), (1, 0, 0.3f, 0), (1, 1300, 0.4f, 0), (1, 0, 1, 1),
                    (0.5f, 0, 0.9999f, 0)])], Tiny: false),
        new("sample_tokens/bans", new SampleTokens(),
            [AllButOne(4, 1100), .. Parameters([(0, 0, 1, 0), (1, 0, 1, 0), (1, 3, 1, 0), (1, 0, 0.5f, 0.1f)])],
            Tiny: false),
        Rows("sample_tokens/no-rows", 40, []),
        Rows("sample_tokens/top-tiny", 41, [(0, 0, 1, 0), (0.7f, 5, 1, 0), (1.3f, 0, 0.6f, 0.1f)], 3) with { Tiny = true },
        // The most likely lie in all segments and in the last, incomplete one; all tokens of a vocabulary that has no more.
        Rows("sample_tokens/top-segments", 5003, [(1, 0, 1, 0), (0, 0, 1, 0), (0.3f, 50, 0.9f, 0)], 20),
        Rows("sample_tokens/top-all", 7, [(1, 0, 1, 0), (0, 0, 1, 0)], 7),
        new("sample_tokens/top-ties", new SampleTokens(20),
            [Levels(3, 3000), .. Parameters([(0, 0, 1, 0), (1, 7, 1, 0), (0.5f, 0, 0.3f, 0)])], Tiny: false),
        new("sample_tokens/top-bans", new SampleTokens(5),
            [AllButOne(3, 1100), .. Parameters([(0, 0, 1, 0), (1, 0, 1, 0), (1, 3, 1, 0)])], Tiny: false),
        Rows("sample_tokens/qwen2.5-greedy-16", 151674, [.. Enumerable.Repeat((0f, 0, 1f, 0f), 16)]),
        Rows("sample_tokens/qwen2.5-plain-16", 151674, [.. Enumerable.Repeat((1f, 0, 1f, 0f), 16)]),
        Rows("sample_tokens/qwen2.5-top-p-16", 151674, [.. Enumerable.Repeat((1f, 0, 0.95f, 0f), 16)]),
        Rows("sample_tokens/qwen2.5-cool-top-p-16", 151674, [.. Enumerable.Repeat((0.6f, 0, 0.95f, 0f), 16)]),
        Rows("sample_tokens/qwen2.5-plain-top20-16", 151674, [.. Enumerable.Repeat((1f, 0, 1f, 0f), 16)], 20),
        Rows("sample_tokens/qwen2.5-top-k-16", 151674, [.. Enumerable.Repeat((1f, 50, 1f, 0f), 16)]),
        new("adjust_logits/tiny", new AdjustLogits(),
            [
                Fixed(4, 41), Integers([0, 3, 3, 4, 6]), Integers([0, 7, 40, 12, 3, 4, 99, 99]),
                Constant(1, 1.3f, 1.3f, 2, 0.5f, 1, 1, 1), Constant(Banned, 0, -0.5f, 2, 0, 0, 0, 0),
            ], Tiny: true),
        new("adjust_logits/blocks", new AdjustLogits(),
            [
                Fixed(2, 9000), Integers([0, 300, 900]),
                Integers([.. Enumerable.Range(0, 300).Select(index => index * 29),
                    .. Enumerable.Range(0, 600).Select(index => 9 + index * 14)]),
                Constant([.. Enumerable.Range(0, 900).Select(index => 1 + index % 4 * 0.2f)]),
                Constant([.. Enumerable.Range(0, 900).Select(index => index % 3 * 0.5f)]),
            ], Tiny: false),
        new("mask_logits/tiny", new MaskLogits(),
            [Fixed(4, 41), Integers([1, -1, 0, 1]), Bits(2, 41)], Tiny: true),
        new("mask_logits/blocks", new MaskLogits(), [Fixed(3, 9000), Integers([0, -1, 2]), Bits(3, 9000)], Tiny: false),
        new("mask_logits/qwen2.5-16", new MaskLogits(),
            [Fixed(16, 151674), Integers([.. Enumerable.Range(0, 16)]), Bits(16, 151674)], Tiny: false),
        new("adjust_logits/nothing", new AdjustLogits(),
            [Fixed(2, 40), Integers([0, 0, 0]), Integers([]), Constant(), Constant()], Tiny: false),
    ];

    /// <summary>Normal logits of deviation 3, about as spread as those of a model.</summary>
    public static Workload Rows(string name, int vocabulary, (float Temperature, int TopK, float TopP, float MinP)[] rows,
        int topTokens = 0) =>
        new(name, new SampleTokens(topTokens),
            [Normal(3f, rows.Length, vocabulary) with { Differentiable = false }, .. Parameters(rows)], Tiny: false);

    private static Operand[] Parameters((float Temperature, int TopK, float TopP, float MinP)[] rows) =>
    [
        Constant([.. rows.Select(row => row.Temperature)]),
        Integers([.. rows.Select(row => row.TopK)]),
        Constant([.. rows.Select(row => row.TopP)]),
        Constant([.. rows.Select(row => row.MinP)]),
        new(TensorType.Int32(rows.Length, SampleTokens.RandomWords), seed =>
        {
            int[] words = new int[rows.Length * SampleTokens.RandomWords];
            for (int row = 0; row < rows.Length; row++)
                SampleTokens.WriteRandom(new CounterRandom((ulong)seed << 40, (ulong)row << 33, (ulong)row),
                    words.AsSpan(row * SampleTokens.RandomWords, SampleTokens.RandomWords));
            return words;
        }),
    ];

    /// <summary>Masks: words of all bits, of none, and of some.</summary>
    private static Operand Bits(int masks, int vocabulary) => new(
        TensorType.Int32(masks, MaskLogits.WordsOf(vocabulary)), seed =>
        {
            var random = new Random(seed);
            return Enumerable.Range(0, masks * MaskLogits.WordsOf(vocabulary))
                .Select(_ => random.Next(3) switch { 0 => 0, 1 => -1, _ => random.Next() }).ToArray();
        });

    /// <summary>Logits of few values, zeros of both signs among them.</summary>
    private static Operand Levels(int rows, int vocabulary) => new(TensorType.Float32(rows, vocabulary), seed =>
    {
        var random = new Random(seed);
        float[] levels = [-2, -0f, 0, 1];
        return Enumerable.Range(0, rows * vocabulary).Select(_ => levels[random.Next(levels.Length)]).ToArray();
    });

    /// <summary>One token of each row is not banned.</summary>
    private static Operand AllButOne(int rows, int vocabulary) => new(TensorType.Float32(rows, vocabulary), _ =>
    {
        float[] logits = new float[rows * vocabulary];
        Array.Fill(logits, Banned);
        for (int row = 0; row < rows; row++)
            logits[row * vocabulary + 350 * row + 11] = row - 2;
        return logits;
    });

    private static Operand Fixed(params int[] shape) => Normal(2f, shape) with { Differentiable = false };
}
