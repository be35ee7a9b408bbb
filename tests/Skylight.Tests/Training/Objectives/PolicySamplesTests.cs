using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Objectives;

public sealed class PolicySamplesTests
{
    [Fact]
    public void Truncated_completions_have_no_loss_if_asked_and_a_mean_over_tokens_is_over_the_others()
    {
        Rollout[] rollouts = [Rollout(3, 1), Rollout(5, -1, FinishReason.Length), Rollout(2, 0.5f)];
        foreach ((LossAggregation aggregation, float first, float last) in ((LossAggregation, float, float)[])
            [(LossAggregation.TokenMean, 1f / 5, 1f / 5), (LossAggregation.SequenceMean, 1f / 9, 1f / 6),
                (LossAggregation.Constant, 1f / 30, 1f / 30)])
        {
            var options = new GrpoOptions { Aggregation = aggregation, ConstantLength = 10, MaskTruncated = true };
            IReadOnlyList<(int Rollout, TrainingSample Sample)> samples = PolicySamples.Of(rollouts, options);
            Assert.Equal([0, 2], samples.Select(sample => sample.Rollout));
            Assert.All(samples[0].Sample.Weights, weight => Assert.Equal(first, weight));
            Assert.All(samples[1].Sample.Weights, weight => Assert.Equal(last, weight));
            Assert.Equal([0, 1, 2],
                PolicySamples.Of(rollouts, options with { MaskTruncated = false }).Select(sample => sample.Rollout));
        }
    }

    [Fact]
    public void The_share_of_tokens_with_the_highest_entropy_keeps_its_advantage()
    {
        Rollout[] rollouts = [Rollout(4, 1, entropies: [0.1f, 2, 0.3f, 0.4f]), Rollout(3, -1, entropies: [3, 0.2f, 1]),
            Rollout(3, 1, FinishReason.Length, [9, 9, 9])];
        var options = new GrpoOptions { TopEntropyShare = 0.4, MaskTruncated = true };
        bool[][] masks = [.. PolicySamples.Of(rollouts, options).Select(pair => pair.Sample.AdvantageMask!)];

        // Of the seven tokens that count, ⌈2.8⌉ = 3 are kept: 3, 2 and 1.
        Assert.Equal([[false, true, false, false], [true, false, true]], masks);
        Assert.All(PolicySamples.Of(rollouts, options with { TopEntropyShare = 1 }),
            pair => Assert.Null(pair.Sample.AdvantageMask));
        Assert.All(PolicySamples.Of(rollouts, options with { TopEntropyShare = 1e-9 }).Take(1),
            pair => Assert.DoesNotContain(true, pair.Sample.AdvantageMask!));
        Assert.Contains("TopEntropyShare",
            Assert.Throws<ArgumentException>(() => PolicySamples.Of([Rollout(4, 1)], options)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Masked_tokens_keep_their_kl_term_and_importance_weights_are_cut_and_held()
    {
        TrainingSample sample = new(new TokenSequence([0, 1, 2, 3, 4]), 1, [0.25f, 0.25f, 0.25f, 0.25f])
        {
            Advantage = 2,
            OldLogProbabilities = [-1, -1, -1, -1],
            RolloutLogProbabilities = [-1, -2, -0.5f, -1],
            ReferenceLogProbabilities = [-2, -2, -2, -2],
            AdvantageMask = [true, true, true, false],
        };
        float[] gradient = Gradient(sample, new PolicyObjective(Kl: KlKind.K1, Beta: 0.1f) { ImportanceCap = 1.5f });
        double[] weights = [1, 1.5, Math.Exp(-0.5), 0];
        Assert.Equal(weights.Select(weight => (float)(0.25 * ((-2 * weight) + 0.1f))), gradient,
            (left, right) => Math.Abs(left - right) < 1e-6);
    }

    [Fact]
    public void Options_that_cannot_work_are_refused()
    {
        Refused(new GrpoOptions { TopEntropyShare = 0 }, "TopEntropyShare");
        Refused(new GrpoOptions { TopEntropyShare = double.NaN }, "TopEntropyShare");
        Refused(new GrpoOptions { Aggregation = LossAggregation.Constant, ConstantLength = 0 }, "ConstantLength");
        Refused(new GrpoOptions { AdvantageScale = (AdvantageScale)9 }, "advantage scale");
        Refused(new GrpoOptions { Objective = new PolicyObjective { ImportanceCap = 0 } }, "importance weights");
        Refused(new GrpoOptions { Objective = new PolicyObjective { DualClip = 0.5f } }, "dual clip");
        Refused(new GrpoOptions { Objective = new PolicyObjective { Form = PolicyForm.Cispo, DualClip = 3 } }, "dual clip");
        Refused(new GrpoOptions { Objective = new PolicyObjective(ClipLow: 2) }, "clip range");
        Assert.All(GrpoPresets.All.Values, options => Assert.Same(options, options.Checked()));

        static void Refused(GrpoOptions options, string expected) =>
            Assert.Contains(expected, Assert.Throws<ArgumentException>(options.Checked).Message, StringComparison.Ordinal);
    }

    private static float[] Gradient(TrainingSample sample, PolicyObjective objective)
    {
        sample.Validate(objective);
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var graph = new Graph();
        Value current = graph.Input("current", TensorType.Float32(8)),
            entropies = graph.Input("entropies", TensorType.Float32(8));
        var loss = new ObjectiveGraph(graph, objective, current, entropies);
        Value gradient = graph.Differentiate(loss.Loss, [current], graph.Add(new One()), new Add())[current];
        graph.Output("gradient", gradient);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Write<float>(current, [-1, -1, -1, -1, float.NaN, float.NaN, float.NaN, float.NaN]);
        loss.Write(executor, [sample]);
        executor.Run(TestContext.Current.CancellationToken);
        float[] rows = executor.Read<float>(gradient);
        Assert.All(rows[4..], row => Assert.Equal(0, row));
        return rows[..4];
    }

    private static Rollout Rollout(int length, float advantage, FinishReason reason = FinishReason.Stop,
        float[]? entropies = null) =>
        new(new TokenSequence([0]), new Completion(new int[length], new float[length], entropies ?? [], reason),
            new RewardBreakdown(0, [], []), advantage);
}
