using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tests.Models;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training;

public sealed class GrpoTrainerTests
{
    private static readonly CriticalTokens s_criticalTokens = new(new CharacterTokenizer(" 0123456789abcdefghijklmnopqrstuvwxyzW", "<end>", "<img>"));

    private static readonly GrpoOptions s_options = new()
    {
        GroupSize = 8,
        Sampling = new SamplingOptions { MaxNewTokens = 12, StopTokens = [TinyModel.StopToken], Seed = 3 },
    };

    [Fact]
    public void Reward_rises_while_rollout_and_training_agree_bit_for_bit()
    {
        using var toy = new Toy(s_options);
        GrpoMetrics[] steps = [.. Enumerable.Range(0, 12).Select(_ => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f))];
        Assert.All(steps, step => Assert.Equal(0, step.RolloutTrainDifference));
        Assert.All(steps, step => Assert.Equal(0, step.ClippedTokens));
        Assert.InRange(steps[^1].Reward, steps[0].Reward + 0.2, 1);
        Assert.Equal(Enumerable.Range(1, 12), steps.Select(step => step.Step));
        Assert.Equal(12, toy.ModelTrainer.StepCount);

        // On-policy the loss is −Σ advantages over groups: nothing but rounding.
        Assert.All(steps, step => Assert.InRange(step.Loss, -1e-6, 1e-6));
        Assert.All(steps, step => Assert.Equal(step.ActiveGroups > 0, step.GradientNorm > 1e-6));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Later_mini_batches_are_off_policy(int miniBatches)
    {
        using var toy = new Toy(s_options with { MiniBatches = miniBatches, Objective = new PolicyObjective(1e-4f, 1e-4f) });
        GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f);
        Assert.Equal(0, metrics.RolloutTrainDifference);
        Assert.Equal(miniBatches, toy.ModelTrainer.StepCount);
        Assert.Equal(miniBatches > 1, metrics.ClippedTokens > 0);
    }

    public static TheoryData<string> Presets => [.. GrpoPresets.All.Keys];

    [Theory]
    [MemberData(nameof(Presets))]
    public void On_policy_every_objective_has_the_plain_policy_gradient(string preset)
    {
        // Where all ratios are 1 the forms differ in their weights and advantages alone: a loss that has the same ones must have the same gradient.
        GrpoOptions options = GrpoPresets.All[preset] with { GroupSize = s_options.GroupSize, Sampling = s_options.Sampling };
        using Toy toy = new(options), plain = new(options with { Objective = new PolicyObjective { Form = PolicyForm.Reinforce } });
        GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f), expected = plain.Trainer.Step(() => Prompts(LowTokens), 0.01f);
        Assert.Equal(0, metrics.RolloutTrainDifference);
        Assert.True(metrics.GradientNorm > 1e-6);
        Assert.Equal(expected.GradientNorm, metrics.GradientNorm, 1e-4 * expected.GradientNorm);
        float[] weights = TinyModel.Weights(plain.Model);
        Assert.Equal(weights, TinyModel.Weights(toy.Model), (left, right) => Math.Abs(left - right) < 1e-3);
    }

    [Fact]
    public void Truncated_completions_teach_nothing_if_masked()
    {
        using Toy masked = new(s_options with { MaskTruncated = true }), plain = new(s_options);
        int truncated = 0, finished = 0;
        double Judge(Completion completion)
        {
            _ = completion.FinishReason == FinishReason.Length ? truncated++ : finished++;
            return LowTokens(completion);
        }

        double norm = masked.Trainer.Step(() => Prompts(Judge), 0.01f).GradientNorm;
        Assert.True(truncated > 0 && finished > 0);
        Assert.InRange(norm, 1e-6, double.MaxValue);
        Assert.NotEqual(plain.Trainer.Step(() => Prompts(LowTokens), 0.01f).GradientNorm, norm, 1e-6);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void Groups_without_spread_are_replaced_if_asked(int attempts)
    {
        using var toy = new Toy(s_options with { ResampleAttempts = attempts });
        int calls = 0;
        float[] before = TinyModel.Weights(toy.Model);
        long drawn = 0;
        GrpoPrompt[] Next()
        {
            int call = calls++;
            return Prompts(completion =>
            {
                drawn += completion.Tokens.Length;
                return call == 0 ? 0.2 : LowTokens(completion);
            });
        }

        GrpoMetrics metrics = toy.Trainer.Step(Next, 0.01f);
        Assert.Equal(attempts == 0 ? 1 : 2, calls);
        Assert.Equal(0, metrics.ActiveGroups);
        Assert.Equal(0.2, metrics.Reward, 1e-9);
        Assert.Equal(drawn, metrics.GeneratedTokens);
        Assert.Equal(attempts > 0, metrics.GradientNorm > 0);
        Assert.Equal(attempts > 0, !before.SequenceEqual(TinyModel.Weights(toy.Model)));
    }

    [Fact]
    public void The_divergence_from_the_reference_starts_at_zero_and_grows()
    {
        var options = s_options with { Objective = new PolicyObjective(Kl: KlKind.K3, Beta: 0.04f) };
        using VisionLanguageModel copy = TinyModel.Create();
        using var reference = new ModelScorer(copy);
        using var toy = new Toy(options, reference);
        GrpoMetrics[] steps = [.. Enumerable.Range(0, 4).Select(_ => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f))];
        Assert.Equal(0, steps[0].Kl);
        Assert.True(steps[3].Kl > 1e-3);

        using var without = new Toy(options);
        Assert.Contains("reference", Assert.Throws<InvalidOperationException>(() => without.Trainer.Step(() => Prompts(LowTokens), 0.01f)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Completions_that_are_not_numbers_stop_the_run_even_without_any_reward()
    {
        using var toy = new Toy(s_options);
        const string Culprit = "language.layers.0.mlp.down.weight";
        float[] values = PersistentTensors.Read(toy.Model.Device, toy.Model.Parameters[Culprit]);
        values[0] = float.NaN;
        PersistentTensors.Write(toy.Model.Device, toy.Model.Parameters[Culprit], values);
        string message = Assert.Throws<TrainingDivergedException>(() => toy.Trainer.Step(() => Prompts(_ => 0), 0.01f)).Message;
        Assert.Contains("step 1:", message, StringComparison.Ordinal);
        Assert.Contains(Culprit, message, StringComparison.Ordinal);
        Assert.Equal(0, toy.ModelTrainer.StepCount);
    }

    [Fact]
    public void A_cancelled_step_changes_nothing_and_can_be_repeated()
    {
        using Toy toy = new(s_options), other = new(s_options);
        float[] before = TinyModel.Weights(toy.Model);
        foreach (int steps in (ReadOnlySpan<int>)[1, 5])
        {
            using var cancellation = new CancellationTokenSource();
            int left = steps;
            toy.Engine.Progress = (_, _) =>
            {
                if (--left == 0)
                    cancellation.Cancel();
            };
            Assert.ThrowsAny<OperationCanceledException>(() => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f, cancellation.Token));
        }

        // And once in the middle of the update.
        toy.Engine.Progress = null;
        using (var cancellation = new CancellationTokenSource())
        {
            int judged = 0;
            GrpoPrompt[] prompts = Prompts(completion =>
            {
                if (++judged == 32)
                    cancellation.Cancel();
                return LowTokens(completion);
            });
            Assert.ThrowsAny<OperationCanceledException>(() => toy.Trainer.Step(() => prompts, 0.01f, cancellation.Token));
        }

        Assert.Equal(before, TinyModel.Weights(toy.Model));
        GrpoMetrics repeated = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f), fresh = other.Trainer.Step(() => Prompts(LowTokens), 0.01f);
        Assert.Equal(fresh with { RolloutSeconds = 0, UpdateSeconds = 0 }, repeated with { RolloutSeconds = 0, UpdateSeconds = 0 });
        Assert.Equal(TinyModel.Weights(other.Model), TinyModel.Weights(toy.Model));
    }

    [Fact]
    public void Options_that_cannot_work_are_refused()
    {
        Refused(s_options with { GroupSize = 1 }, "at least 2 completions");
        Refused(s_options with { MiniBatches = 0 }, "mini-batch");
        Refused(s_options with { Objective = new PolicyObjective { DualClip = 0.5f } }, "dual clip");
        Refused(s_options with { Objective = new PolicyObjective(Temperature: 0.5f) }, "temperature 1 cannot be trained at 0.5");

        static void Refused(GrpoOptions options, string expected) =>
            Assert.Contains(expected, Assert.Throws<ArgumentException>(() => new Toy(options)).Message, StringComparison.Ordinal);
    }

    /// <summary>The share of tokens below 10: something that can be learned in a few steps.</summary>
    private static double LowTokens(Completion completion) => completion.Tokens.Count(token => token < 10) / (double)completion.Tokens.Length;

    private static GrpoPrompt[] Prompts(Func<Completion, double> reward) => [.. Enumerable.Range(0, 4).Select(index => new GrpoPrompt(
        index % 2 == 0 ? TinyModel.Prompt((ulong)index, 8 + index, TinyModel.Picture((ulong)index)) : TinyModel.Prompt((ulong)index, 8 + index),
        completion => new RewardBreakdown(reward(completion), 0, 0)))];

    private sealed class Toy : IDisposable
    {
        public Toy(GrpoOptions options, ModelScorer? reference = null)
        {
            Model = TinyModel.Create();
            ModelTrainer = new ModelTrainer(Model, TrainableModules.All);
            Engine = new GenerationEngine(Model, 4096);
            Trainer = new GrpoTrainer(ModelTrainer, Engine, options, s_criticalTokens, reference);
        }

        public VisionLanguageModel Model { get; }

        public ModelTrainer ModelTrainer { get; }

        public GenerationEngine Engine { get; }

        public GrpoTrainer Trainer { get; }

        public void Dispose()
        {
            Engine.Dispose();
            ModelTrainer.Dispose();
            Model.Dispose();
        }
    }
}
