using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training;

public sealed class GrpoTrainerTests
{
    private static readonly CriticalTokens s_criticalTokens = new(
        new CharacterTokenizer(" 0123456789abcdefghijklmnopqrstuvwxyzW", "<end>", "<img>"));

    private static readonly GrpoOptions s_options = new()
    {
        GroupSize = 8,
        Sampling = new SamplingOptions { MaxOutputTokens = 12, StopTokens = [TinyModel.StopToken], Seed = 3 },
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
        Assert.Equal(steps.Count(step => step.ActiveGroups > 0), toy.ModelTrainer.StepCount);

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
        // Where all ratios are 1 the forms differ in their weights and advantages alone: a loss that has the same ones
        // must have the same gradient.
        GrpoOptions options = GrpoPresets.All[preset] with
        {
            GroupSize = s_options.GroupSize,
            Sampling = s_options.Sampling,
        };
        using Toy toy = new(options),
            plain = new(options with { Objective = new PolicyObjective { Form = PolicyForm.Reinforce } });
        GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f),
            expected = plain.Trainer.Step(() => Prompts(LowTokens), 0.01f);
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

        // What was drawn first had no spread; the metrics are about what was trained.
        Assert.Equal(0, metrics.DrawnActiveGroups);
        Assert.Equal(0.2, metrics.DrawnReward, 1e-9);
        Assert.Equal(attempts > 0, metrics.ActiveGroups > 0);
        Assert.Equal(attempts > 0, Math.Abs(metrics.Reward - 0.2) > 1e-6);
        Assert.Equal(attempts > 0 ? 1 : 0, metrics.OptimizerSteps);
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
        Assert.Contains("reference",
            Assert.Throws<InvalidOperationException>(() => without.Trainer.Step(() => Prompts(LowTokens), 0.01f))
                .Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Completions_that_are_not_numbers_stop_the_run_even_without_any_reward()
    {
        using var toy = new Toy(s_options);
        const string Culprit = "language.layers.0.mlp.down.weight";
        float[] values = PersistentTensors.Read(toy.Model.Device, toy.Model.Parameters[Culprit]);
        values[0] = float.NaN;
        PersistentTensors.Write(toy.Model.Device, toy.Model.Parameters[Culprit], values);
        string message = Assert.Throws<TrainingDivergedException>(() => toy.Trainer.Step(() => Prompts(_ => 0), 0.01f))
            .Message;
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
            Assert.ThrowsAny<OperationCanceledException>(
                () => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f, cancellation.Token));
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
        GrpoMetrics repeated = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f),
            fresh = other.Trainer.Step(() => Prompts(LowTokens), 0.01f);
        Assert.Equal(fresh with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] },
            repeated with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] });
        Assert.Equal(TinyModel.Weights(other.Model), TinyModel.Weights(toy.Model));
    }

    [Fact]
    public void A_step_without_any_active_group_moves_no_weight_and_no_moment()
    {
        using var toy = new Toy(s_options);
        Assert.Equal(1, toy.Trainer.Step(() => Prompts(LowTokens), 0.01f).OptimizerSteps);
        float[] before = State();
        GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(_ => 0.3), 0.01f);
        Assert.Equal((0, 0, 0), (metrics.OptimizerSteps, metrics.GradientNorm, metrics.ActiveGroups));
        Assert.Equal(before, State());
        Assert.Equal((2, 1), (toy.Trainer.StepCount, toy.ModelTrainer.StepCount));

        float[] State() =>
            [.. TinyModel.Weights(toy.Model),
                .. toy.ModelTrainer.OptimizerState.SelectMany(tensor => PersistentTensors.Read(toy.Model.Device, tensor))];
    }

    [Theory]
    [InlineData(5, 4, new[] { 1, 1, 1, 2 })]
    [InlineData(4, 4, new[] { 1, 1, 1, 1 })]
    [InlineData(7, 2, new[] { 3, 4 })]
    public void There_are_as_many_optimizer_steps_as_mini_batches(int prompts, int miniBatches, int[] groups)
    {
        using var toy = new Toy(s_options with { MiniBatches = miniBatches });
        GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(LowTokens, prompts), 0.001f);
        Assert.Equal(1, metrics.ActiveGroups);
        Assert.Equal((miniBatches, miniBatches), (metrics.OptimizerSteps, toy.ModelTrainer.StepCount));
        Assert.Equal(prompts, groups.Sum());
        string message = Assert.Throws<ArgumentException>(
            () => toy.Trainer.Step(() => Prompts(LowTokens, miniBatches - 1), 0.001f)).Message;
        Assert.Contains($"{miniBatches} mini-batches need at least as many prompts, not {miniBatches - 1}", message,
            StringComparison.Ordinal);
        Assert.Equal((1, miniBatches), (toy.Trainer.StepCount, toy.ModelTrainer.StepCount));
    }

    [Fact]
    public void Once_weights_have_moved_a_cancelled_step_is_completed()
    {
        using Toy toy = new(s_options with { MiniBatches = 4 }), other = new(s_options with { MiniBatches = 4 });
        using var cancellation = new CancellationTokenSource();
        toy.ModelTrainer.BeforeStep = trainer =>
        {
            if (trainer.StepCount == 1)
                cancellation.Cancel();
        };
        GrpoMetrics cancelled = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f, cancellation.Token),
            whole = other.Trainer.Step(() => Prompts(LowTokens), 0.01f);
        Assert.True(cancellation.IsCancellationRequested);
        Assert.Equal(whole with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] },
            cancelled with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] });
        Assert.Equal(TinyModel.Weights(other.Model), TinyModel.Weights(toy.Model));
        Assert.ThrowsAny<OperationCanceledException>(
            () => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f, cancellation.Token));
        Assert.Equal(1, toy.Trainer.StepCount);
    }

    [Fact]
    public void What_a_step_has_drawn_is_not_drawn_again_once_weights_have_moved()
    {
        using var toy = new Toy(s_options with { MiniBatches = 2 });
        List<int[]> drawn = [];
        double Note(Completion completion)
        {
            drawn.Add(completion.Tokens);
            return LowTokens(completion);
        }

        toy.ModelTrainer.BeforeStep = trainer =>
        {
            if (trainer.StepCount == 1)
                throw new InvalidOperationException("a fault in the second mini-batch");
        };
        Assert.Throws<InvalidOperationException>(() => toy.Trainer.Step(() => Prompts(Note), 1e-12f));
        toy.ModelTrainer.BeforeStep = null;
        Assert.Equal((1, 1), (toy.Trainer.StepCount, toy.ModelTrainer.StepCount));
        toy.Trainer.Step(() => Prompts(Note), 1e-12f);
        Assert.Equal(64, drawn.Count);
        // The weights are as good as the same, so only another stream of random numbers draws others.
        Assert.NotEqual(drawn[..32].Select(tokens => string.Join(' ', tokens)),
            drawn[32..].Select(tokens => string.Join(' ', tokens)));
    }

    [Fact]
    public void An_engine_that_keeps_pages_and_pictures_sees_new_weights()
    {
        GrpoMetrics[] keeping = Run(keeps: true), plain = Run(keeps: false);
        Assert.All(keeping, step => Assert.Equal(0, step.RolloutTrainDifference));
        Assert.Equal(plain.Select(step => step.Reward), keeping.Select(step => step.Reward));

        static GrpoMetrics[] Run(bool keeps)
        {
            using var toy = new Toy(s_options, keeps: keeps);
            // Longer than a page, and the same in every step: what a cache finds again.
            GrpoPrompt[] prompts = [.. Prompts(LowTokens).Select((prompt, index) =>
                prompt with { Prompt = TinyModel.Prompt((ulong)index, 70 + index, TinyModel.Picture((ulong)index)) })];
            return [.. Enumerable.Range(0, 4).Select(_ => toy.Trainer.Step(() => prompts, 0.02f))];
        }
    }

    [Fact]
    public void A_step_may_have_a_temperature_of_its_own()
    {
        using var toy = new Toy(s_options);
        foreach (float temperature in (ReadOnlySpan<float>)[1.2f, 0.7f, 1f])
        {
            GrpoMetrics metrics = toy.Trainer.Step(() => Prompts(LowTokens), 0.01f,
                s_options.Sampling with { Temperature = temperature });
            Assert.Equal(0, metrics.RolloutTrainDifference);
            Assert.True(metrics.GradientNorm > 0);
        }
    }

    [Fact]
    public void A_reward_that_fails_or_is_no_number_names_the_sample()
    {
        using var toy = new Toy(s_options);
        float[] before = TinyModel.Weights(toy.Model);
        int judged = 0;
        string message = Message(completion => judged++ == 2 * 8 + 5 ? double.NaN : LowTokens(completion));
        foreach (string part in (string[])["Reward 'reward', sample 'test:3'", "is NaN", "finite"])
            Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain("learning rate", message, StringComparison.Ordinal);

        judged = 0;
        message = Message(completion => judged++ == 9 ? double.PositiveInfinity : LowTokens(completion));
        Assert.Contains("sample 'test:2'", message, StringComparison.Ordinal);
        Assert.Equal(before, TinyModel.Weights(toy.Model));
        Assert.Equal(0, toy.Trainer.StepCount);

        string Message(Func<Completion, double> reward) =>
            Assert.Throws<RewardException>(() => toy.Trainer.Step(() => Prompts(reward), 0.01f)).Message;
    }

    [Fact]
    public void Surplus_groups_are_kept_used_first_and_survive_a_resume()
    {
        GrpoOptions options = s_options with { ResampleAttempts = 1, KeepSurplusSteps = 1 };
        using Toy straight = new(options), first = new(options), resumed = new(options);
        (GrpoMetrics one, int calls) = Step(straight, idle: [0]);
        // One group had to be replaced, four were drawn for it.
        Assert.Equal((2, 3, 0, 0), (calls, one.GroupsKept, one.GroupsFromEarlierSteps, one.GroupsDropped));
        Assert.Equal(1, one.ActiveGroups);

        Step(first, idle: [0]);
        using var saved = new MemoryStream();
        RolloutGroups.Save(saved, first.Trainer.KeptGroups);
        saved.Position = 0;
        resumed.Trainer.KeptGroups = RolloutGroups.Load(saved);
        resumed.Trainer.StepCount = first.Trainer.StepCount;
        resumed.ModelTrainer.StepCount = first.ModelTrainer.StepCount;
        foreach ((var from, var to) in first.Model.Parameters.All.Concat(first.ModelTrainer.OptimizerState)
            .Zip(resumed.Model.Parameters.All.Concat(resumed.ModelTrainer.OptimizerState)))
            PersistentTensors.Write(resumed.Model.Device, to, PersistentTensors.Read(first.Model.Device, from));

        (GrpoMetrics two, calls) = Step(straight, idle: [1, 3]);
        (GrpoMetrics again, _) = Step(resumed, idle: [1, 3]);
        // Both come from those that were kept; the third is too old for the step after this one.
        Assert.Equal((1, 0, 2, 1), (calls, two.GroupsKept, two.GroupsFromEarlierSteps, two.GroupsDropped));
        Assert.Equal(two with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] },
            again with { RolloutSeconds = 0, UpdateSeconds = 0, Groups = [], Components = [] });
        Assert.Equal(TinyModel.Weights(straight.Model), TinyModel.Weights(resumed.Model));
        // They were drawn under other weights than those that are trained now.
        Assert.Null(two.RolloutTrainDifference);

        saved.SetLength(saved.Length - 3);
        saved.Position = 0;
        Assert.Throws<InvalidDataException>(() => RolloutGroups.Load(saved));
        Assert.Throws<InvalidDataException>(() => RolloutGroups.Load(new MemoryStream(new byte[100])));

        static (GrpoMetrics Metrics, int Calls) Step(Toy toy, int[] idle)
        {
            int calls = 0;
            GrpoPrompt[] Next()
            {
                bool isFirst = calls++ == 0;
                return [.. Prompts(LowTokens).Select((prompt, index) => isFirst && idle.Contains(index)
                    ? prompt with { Request = ComputedReward.Request(_ => 0.5) } : prompt)];
            }

            return (toy.Trainer.Step(Next, 0.01f), calls);
        }
    }

    [Fact]
    public void Options_that_cannot_work_are_refused()
    {
        Refused(s_options with { GroupSize = 1 }, "at least 2 completions");
        Refused(s_options with { MiniBatches = 0 }, "mini-batch");
        Refused(s_options with { ResampleAttempts = -1 }, "ResampleAttempts");
        Refused(s_options with { KeepSurplusSteps = -1 }, "KeepSurplusSteps");
        Refused(s_options with { Objective = new PolicyObjective { DualClip = 0.5f } }, "dual clip");
        Refused(s_options with { Objective = new PolicyObjective(Temperature: 0.5f) },
            "temperature 1 cannot be trained at 0.5");

        // What draws from another distribution than is trained.
        SamplingOptions sampling = s_options.Sampling;
        foreach ((SamplingOptions other, string name) in ((SamplingOptions, string)[])[
            (sampling with { RepetitionPenalty = 1.05f }, "RepetitionPenalty is 1.05"),
            (sampling with { FrequencyPenalty = 0.5f }, "FrequencyPenalty is 0.5"),
            (sampling with { PresencePenalty = -1 }, "PresencePenalty is -1"),
            (sampling with { LogitBias = new Dictionary<int, float> { [1] = 0, [4] = 0.5f } }, "LogitBias biases token 4"),
            (sampling with { LogitBias = new Dictionary<int, float> { [6] = float.NegativeInfinity } },
                "LogitBias bans token 6"),
            (sampling with { SpeculativeTokens = 3 }, "SpeculativeTokens is 3"),
            (sampling with { TopK = 20 }, "TopK is 20"),
            (sampling with { TopP = 0.95f }, "TopP is 0.95"),
            (sampling with { MinP = 0.1f }, "MinP is 0.1"),
            (sampling with { MinOutputTokens = 2 }, "MinOutputTokens is 2"),
            (sampling with { Temperature = 0 }, "Temperature is 0")])
        {
            Refused(s_options with { Sampling = other }, name);
            using var toy = new Toy(s_options);
            Assert.Contains(name,
                Assert.Throws<ArgumentException>(() => toy.Trainer.Step(() => Prompts(LowTokens), 0.01f, other))
                    .Message, StringComparison.Ordinal);
        }

        // A bias of 0 changes nothing.
        using var neutral = new Toy(
            s_options with { Sampling = sampling with { LogitBias = new Dictionary<int, float> { [1] = 0 } } });

        static void Refused(GrpoOptions options, string expected) =>
            Assert.Contains(expected, Assert.Throws<ArgumentException>(() => new Toy(options)).Message,
                StringComparison.Ordinal);
    }

    [Fact]
    public void Rollouts_with_keys_and_values_of_another_type_than_training_s_are_refused()
    {
        using VisionLanguageModel model = TinyModel.Create(headDimension: 32);
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        foreach (DataType type in (DataType[])[DataType.Int8, DataType.BFloat16])
        {
            using var engine = new GenerationEngine(model, 1024, keyValueType: type);
            Assert.Contains($"keeps keys and values in {type}, training computes with Float32",
                Assert.Throws<ArgumentException>(() =>
                    new GrpoTrainer(trainer, engine, s_options, s_criticalTokens, ComputedReward.Set())).Message,
                StringComparison.Ordinal);
        }

        using var same = new GenerationEngine(model, 1024, keyValueType: DataType.Float32);
        Assert.NotNull(new GrpoTrainer(trainer, same, s_options, s_criticalTokens, ComputedReward.Set()));
    }

    /// <summary>The share of tokens below 10: something that can be learned in a few steps.</summary>
    private static double LowTokens(Completion completion) =>
        completion.Tokens.Count(token => token < 10) / (double)completion.Tokens.Length;

    private static GrpoPrompt[] Prompts(Func<Completion, double> reward, int count = 4) =>
        [.. Enumerable.Range(0, count).Select(index => new GrpoPrompt(
        index % 2 == 0 ? TinyModel.Prompt((ulong)index, 8 + index, TinyModel.Picture((ulong)index))
            : TinyModel.Prompt((ulong)index, 8 + index),
        ComputedReward.Request(reward, $"test:{index + 1}")))];

    private sealed class Toy : IDisposable
    {
        public Toy(GrpoOptions options, ModelScorer? reference = null, bool keeps = false)
        {
            Model = TinyModel.Create();
            ModelTrainer = new ModelTrainer(Model, TrainableModules.All);
            Engine = keeps ? new GenerationEngine(Model, 4096, imageCacheBytes: 1 << 20, cachePrefixes: true)
                : new GenerationEngine(Model, 4096);
            Trainer = new GrpoTrainer(ModelTrainer, Engine, options, s_criticalTokens, ComputedReward.Set(), reference);
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
