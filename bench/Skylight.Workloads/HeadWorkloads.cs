using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>The vocabulary head, statistics of logits, and losses.</summary>
internal static class HeadWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("vocabulary_head/tiny", new VocabularyHead(0.8f),
            [Normal(5, 12), Weight(DataType.Float32, 41, 12), Integers([3, -1, 40, 0, 17])], Tiny: true),
        new("vocabulary_head/demo-8k", new VocabularyHead(),
            [Normal(8192, 128), Weight(DataType.Float32, 64, 128), Integers(-1, 64, 8192)], Tiny: false),
        new("vocabulary_head/qwen2.5-0.5b-2k", new VocabularyHead(),
            [Normal(2048, 896), Weight(DataType.Float32, 32768, 896), Integers(0, 32768, 2048)], Tiny: false),
        new("vocabulary_head/qwen2.5-0.5b-1", new VocabularyHead(),
            [Normal(1, 896), Weight(DataType.BFloat16, 151674, 896), Integers([151673])], Tiny: false),
        new("vocabulary_head_backward/demo-8k", new VocabularyHeadBackward(1, true, false, true, true),
            [Normal(8192, 128), Weight(DataType.Float32, 64, 128), Integers(-1, 64, 8192), Zeros(8192), Ones(8192),
                Normal(8192)], Tiny: false),
        new("vocabulary_head_backward/qwen2.5-0.5b-2k", new VocabularyHeadBackward(1, true, true, true, true),
            [Normal(2048, 896), Weight(DataType.Float32, 32768, 896), Integers(0, 32768, 2048), Zeros(2048), Ones(2048),
                Ones(2048), Normal(2048), Normal(2048)], Tiny: false),
        // More than one chunk of logits.
        new("vocabulary_head_backward/chunks", new VocabularyHeadBackward(1, true, false, true, true),
            [Normal(4096, 64), Weight(DataType.Float32, 32776, 64), Integers(-1, 32776, 4096), Zeros(4096), Ones(4096),
                Normal(4096)], Tiny: false),
        new("log_probabilities/tiny", new LogProbabilities(1.3f), [Normal(5, 41), Integers([3, -1, 40, 0, 17])], Tiny: true),
        new("log_probabilities/1k-32k", new LogProbabilities(), [Normal(1024, 32768), Integers(0, 32768, 1024)],
            Tiny: false),
        new("logit_statistics/tiny", new LogitStatistics(0.7f), [Fixed(5, 41)], Tiny: true),
        new("logit_statistics/qwen2.5-16", new LogitStatistics(), [Fixed(16, 151674)], Tiny: false),
        new("cross_entropy/tiny", new CrossEntropy(), [Normal(7), Constant(0.5f, 0, 1, 2, 0.25f, 0, 1)], Tiny: true),
        new("cross_entropy/20k", new CrossEntropy(), [Normal(20480), Ones(20480)], Tiny: false),
        new("policy_loss/tiny", new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.04f),
            [Near(-1f, -2f, -0.5f, -3f), Constant(-1.1f, -1.5f, -0.5f, -2.5f), Constant(-1.2f, -1.9f, -0.6f, -3.3f),
                Constant(1, -0.7f, 0.5f, -2), Constant(0.25f, 0.25f, 0, 0.5f)], Tiny: true),
        new("policy_loss/20k", new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.04f),
            [Normal(0.1f, 20480), Fixed(20480), Fixed(20480), Fixed(20480), Ones(20480)], Tiny: false),
        // What GPUs treat in different ways: incomplete tiles of rows, columns and the inner index; several segments of
        // the vocabulary and several blocks of a row; nothing to do.
        .. Heads("tails", 131, 1101, 20, Integers(-1, 1101, 131)),
        .. Heads("segments", 20, 4200, 24, Integers(-1, 4200, 20)),
        .. Heads("many-rows", 150, 1100, 40, Integers(-1, 1100, 150)),
        .. Heads("no-targets", 3, 40, 8, Integers([-1, -1, -1])),
        .. Heads("no-rows", 0, 40, 8, Integers([])),
        new("cross_entropy/blocks", new CrossEntropy(), [Normal(700), Fixed(700)], Tiny: false),
        new("cross_entropy/no-rows", new CrossEntropy(), [Normal(0), Fixed(0)], Tiny: false),
        .. Policies("k1", new PolicyLoss(0.2f, 0.28f, KlKind.K1, 0.1f)),
        .. Policies("k2-dual-clip", new PolicyLoss(0.2f, 0.28f, KlKind.K2, 0.1f, 1.5f)),
        .. Policies("no-kl", new PolicyLoss(0.1f, 0.2f, KlKind.None, 0)),
        .. Policies("sapo", new PolicyLoss(0, 0, KlKind.K3, 0.1f) { Form = PolicyForm.Sapo }),
        .. Policies("reinforce", new PolicyLoss(0, 0, KlKind.K2, 0.1f) { Form = PolicyForm.Reinforce }),
        // Every ratio is beyond its bound: only then is a held ratio a constant also to finite differences.
        new("policy_loss/cispo", new PolicyLoss(0.1f, 0.28f, KlKind.None, 0) { Form = PolicyForm.Cispo },
            [Near(-1f, -2f, -0.5f, -3f), Constant(-1.6f, -2.7f, -1.2f, -2.5f), Fixed(4), Constant(1, -0.7f, -1.5f, -2),
                Constant(0.25f, 0, 0.25f, 0.5f)], Tiny: true),
        new("policy_loss/cispo-blocks", new PolicyLoss(1, 0.28f, KlKind.K3, 0.1f) { Form = PolicyForm.Cispo },
            [Normal(0.1f, 700), Fixed(700), Fixed(700), Fixed(700), Fixed(700)], Tiny: false),
        new("policy_loss/no-rows", new PolicyLoss(0.2f, 0.2f, KlKind.K3, 0.1f),
            [Normal(0), Fixed(0), Fixed(0), Fixed(0), Fixed(0)], Tiny: false),
        // Weights differ within a sequence, one token has none, and a row of no sequence has one.
        new("policy_loss/gspo", new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.1f) { Form = PolicyForm.Gspo },
            [
                Near(-1f, -2f, -0.5f, -3f, -1f, -0.5f, -1), Constant(-1.1f, -1.5f, -0.5f, -2.5f, -1.6f, -1.2f, -1),
                Fixed(7), Constant(1, 0.5f, 1, -0.7f, -0.7f, 2, 3),
                Constant(0.25f, 0.5f, 0, 0.3f, 0.2f, 0.5f, 9), Integers([4, 4, 4, 7, 7, 4, -1]),
            ], Tiny: true),
        // With equal weights the value's slope in each token is the token's own gradient.
        new("policy_loss/gspo-token", new PolicyLoss(0.2f, 0.28f, KlKind.None, 0, 1.5f) { Form = PolicyForm.GspoToken },
            [
                Near(-1f, -2f, -0.5f, -3f, -1f, -0.5f), Constant(-1.1f, -1.5f, -0.5f, -2.5f, -1.6f, -1.2f), Fixed(6),
                Constant(1, 1, 1, -0.7f, -0.7f, -2),
                Constant(0.25f, 0.25f, 0.25f, 0.3f, 0.3f, 0.5f), Integers([0, 0, 0, 1, 1, 2]),
            ], Tiny: true),
        .. Sequences("gspo", PolicyForm.Gspo),
        .. Sequences("gspo-token", PolicyForm.GspoToken),
    ];

    private static Workload[] Heads(string name, int tokens, int vocabulary, int width, Operand targets) =>
    [
        new($"vocabulary_head/{name}", new VocabularyHead(1.3f),
            [Normal(tokens, width), Weight(DataType.Float32, vocabulary, width), targets], Tiny: false),
        new($"vocabulary_head_backward/{name}", new VocabularyHeadBackward(1.3f, true, true, true, true),
            [Normal(tokens, width), Weight(DataType.Float32, vocabulary, width), targets, Zeros(tokens), Ones(tokens),
                Ones(tokens), Fixed(tokens), Fixed(tokens)], Tiny: false),
        new($"vocabulary_head_backward/{name}-entropy-to-weight", new VocabularyHeadBackward(1, false, true, false, true),
            [Normal(tokens, width), Weight(DataType.Float32, vocabulary, width), targets, Zeros(tokens), Ones(tokens),
                Ones(tokens), Fixed(tokens)], Tiny: false),
        new($"log_probabilities/{name}", new LogProbabilities(1.3f), [Normal(tokens, vocabulary), targets], Tiny: false),
        new($"log_probabilities_backward/{name}", new LogProbabilitiesBackward(1.3f, true, true),
            [Normal(tokens, vocabulary), targets, Zeros(tokens), Ones(tokens), Ones(tokens), Fixed(tokens),
                Fixed(tokens)], Tiny: false),
        new($"logit_statistics/{name}", new LogitStatistics(), [Fixed(tokens, vocabulary)], Tiny: false),
    ];

    private static Workload[] Policies(string name, PolicyLoss op) =>
    [
        // The third token's ratio is far above the dual clip, with a negative advantage.
        new($"policy_loss/{name}", op,
            [Near(-1f, -2f, -0.5f, -3f), Constant(-1.1f, -1.5f, -1.7f, -2.5f), Constant(-1.2f, -1.9f, -0.6f, -3.3f),
                Constant(1, -0.7f, -1.5f, -2), Constant(0.25f, 0, 0.25f, 0.5f)], Tiny: true),
        new($"policy_loss/{name}-blocks", op, [Normal(0.1f, 700), Fixed(700), Fixed(700), Fixed(700), Fixed(700)],
            Tiny: false),
    ];

    /// <summary>
    /// Sequences shorter and longer than a block of threads, numbers that come again later, rows of none; and no rows.
    /// </summary>
    private static Workload[] Sequences(string prefix, PolicyForm form)
    {
        (int Number, int Length)[] runs = [(5, 1), (0, 300), (5, 37), (-1, 2), (6, 256), (0, 64), (-1, 40)];
        int[] sequences = [.. runs.SelectMany(run => Enumerable.Repeat(run.Number, run.Length))];
        var op = new PolicyLoss(0.05f, 0.1f, KlKind.K2, 0.1f, 3) { Form = form };
        return [Of("blocks", sequences), Of("no-rows", [])];

        Workload Of(string name, int[] numbers) => new(
            $"policy_loss/{prefix}-{name}", op,
            [Normal(0.1f, numbers.Length), Fixed(numbers.Length), Fixed(numbers.Length), Fixed(numbers.Length),
                Fixed(numbers.Length), Integers(numbers)], Tiny: false);
    }

    private static Operand Fixed(params int[] shape) => Normal(shape) with { Differentiable = false };

    private static Operand Near(params float[] values) => Constant(values) with { Differentiable = true };

    private static Operand Ones(int count) => Constant([.. Enumerable.Repeat(1f, count)]);

    private static Operand Zeros(int count) => Constant(new float[count]);
}
