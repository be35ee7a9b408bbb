using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>The vocabulary head, statistics of logits, and losses.</summary>
internal static class HeadWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("vocabulary_head/tiny", new VocabularyHead(0.8f), [Normal(5, 12), Weight(DataType.Float32, 41, 12), Integers([3, -1, 40, 0, 17])], Tiny: true),
        new("vocabulary_head/demo-8k", new VocabularyHead(), [Normal(8192, 128), Weight(DataType.Float32, 64, 128), Integers(-1, 64, 8192)], Tiny: false),
        new("vocabulary_head/qwen2.5-0.5b-2k", new VocabularyHead(), [Normal(2048, 896), Weight(DataType.Float32, 32768, 896), Integers(0, 32768, 2048)], Tiny: false),
        new("vocabulary_head/qwen2.5-0.5b-1", new VocabularyHead(), [Normal(1, 896), Weight(DataType.BFloat16, 151674, 896), Integers([151673])], Tiny: false),
        new("vocabulary_head_backward/demo-8k", new VocabularyHeadBackward(1, true, false, true, true),
            [Normal(8192, 128), Weight(DataType.Float32, 64, 128), Integers(-1, 64, 8192), Zeros(8192), Ones(8192), Normal(8192)], Tiny: false),
        new("vocabulary_head_backward/qwen2.5-0.5b-2k", new VocabularyHeadBackward(1, true, true, true, true),
            [Normal(2048, 896), Weight(DataType.Float32, 32768, 896), Integers(0, 32768, 2048), Zeros(2048), Ones(2048), Ones(2048), Normal(2048), Normal(2048)], Tiny: false),
        new("log_probabilities/tiny", new LogProbabilities(1.3f), [Normal(5, 41), Integers([3, -1, 40, 0, 17])], Tiny: true),
        new("log_probabilities/1k-32k", new LogProbabilities(), [Normal(1024, 32768), Integers(0, 32768, 1024)], Tiny: false),
        new("logit_statistics/tiny", new LogitStatistics(0.7f), [Fixed(5, 41)], Tiny: true),
        new("logit_statistics/qwen2.5-16", new LogitStatistics(), [Fixed(16, 151674)], Tiny: false),
        new("cross_entropy/tiny", new CrossEntropy(), [Normal(7), Constant(0.5f, 0, 1, 2, 0.25f, 0, 1)], Tiny: true),
        new("cross_entropy/20k", new CrossEntropy(), [Normal(20480), Ones(20480)], Tiny: false),
        new("policy_loss/tiny", new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.04f),
            [Near(-1f, -2f, -0.5f, -3f), Constant(-1.1f, -1.5f, -0.5f, -2.5f), Constant(-1.2f, -1.9f, -0.6f, -3.3f), Constant(1, -0.7f, 0.5f, -2), Constant(0.25f, 0.25f, 0, 0.5f)], Tiny: true),
        new("policy_loss/20k", new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.04f), [Normal(0.1f, 20480), Fixed(20480), Fixed(20480), Fixed(20480), Ones(20480)], Tiny: false),
    ];

    private static Operand Fixed(params int[] shape) => Normal(shape) with { Differentiable = false };

    private static Operand Near(params float[] values) => Constant(values) with { Differentiable = true };

    private static Operand Ones(int count) => Constant([.. Enumerable.Repeat(1f, count)]);

    private static Operand Zeros(int count) => Constant(new float[count]);
}
