using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Execution;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Models;

/// <summary>
/// Whole models on a device whose activations are bfloat16: the types in their graphs, their memory, and their results.
/// </summary>
public sealed class BFloat16ModelTests
{
    private static readonly PackedShape s_shape = new(128, 4, 4, 28, 28);

    private static readonly PolicyObjective s_policy = new(Kl: KlKind.K3, Beta: 0.04f);

    public static TheoryData<TrainableModules, bool, bool> Passes => new(
        from modules in (TrainableModules[])[TrainableModules.None, TrainableModules.Vision, TrainableModules.Connector,
            TrainableModules.Language, TrainableModules.All]
        from policy in (bool[])[false, true]
        from fusion in (bool[])[true, false]
        select (modules, policy, fusion));

    [Theory]
    [MemberData(nameof(Passes))]
    public void Training_keeps_activations_in_bfloat16_and_what_is_added_up_in_float32(TrainableModules modules,
        bool policy, bool fusion)
    {
        Plan half = PlanOf(DataType.BFloat16), full = PlanOf(DataType.Float32);
        AssertTypes(half);
        Assert.Equal(Names(full), Names(half).Where(name => name != nameof(Cast)));
        Assert.DoesNotContain(full.Graph.Nodes, node => node.Op is Cast);
        Assert.InRange(half.ArenaBytes, 1, 0.75 * full.ArenaBytes);
        Assert.InRange(half.PeakBytes, 1, full.PeakBytes - 1);

        // The pixels; and, where the head is not fused, the gradient of the logits.
        Assert.Equal(!fusion && modules != TrainableModules.None ? 2 : 1, half.Steps.Count(step => step.Node.Op is Cast));
        Assert.Equal(fusion, half.Graph.Nodes.Any(node => node.Op is VocabularyHead));
        // The gate is part of its product where no backward pass reads that.
        string[] fused = [nameof(AddRmsNorm), nameof(AddLayerNorm), nameof(QkvSplitRotary), nameof(FusedConnector),
            modules == TrainableModules.None ? nameof(MatMulActivation) : nameof(SwiGlu)];
        Assert.All(fused, name => Assert.Equal(fusion, half.Graph.Nodes.Any(node => node.Op.Name == name)));
        Node[] accumulated = [.. half.Graph.Nodes.Where(node => node.Op is Accumulate)];
        Assert.Equal(modules != TrainableModules.None, accumulated.Length > 0);
        Assert.All(accumulated, node => Assert.Equal(DataType.Float32, node.Inputs[1].Type.DataType));

        Plan PlanOf(DataType type)
        {
            using var device = new RoundingDevice(type);
            using var model = new VisionLanguageModel(TinyModel.Configuration, device) { UseFusion = fusion };
            using var workspace = new Workspace(device);
            TrainedParameter[] trained = [.. model.Parameters.All.Where(parameter => modules.Includes(parameter))
                .Select(parameter => new TrainedParameter(parameter))];
            var key = new TrainingPass.Key(s_shape, 128, policy ? s_policy : new CrossEntropyObjective(),
                Backward: trained.Length > 0);
            return new TrainingPass(model, key, trained, workspace, recompute: modules == TrainableModules.All).Plan;
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Decoding_keeps_the_cache_in_bfloat16_and_logits_in_float32(bool fusion)
    {
        Plan half = PlanOf(DataType.BFloat16), full = PlanOf(DataType.Float32);
        AssertTypes(half);
        Assert.All(half.Graph.PersistentValues, value => Assert.Equal(DataType.BFloat16, value.Type.DataType));
        Assert.Contains(half.Graph.PersistentValues, value => value.Name == "cache.1.values");
        // Only activations of bfloat16 go from the projection to the attention's output in one op.
        string[] split = [nameof(QkvSplitRotary), nameof(KeyValueWrite), nameof(PagedAttention)];
        Assert.Equal(fusion, Names(half).Contains(nameof(QkvPagedAttention)));
        Assert.Equal(fusion ? Names(full).Where(name => !split.Contains(name)) : Names(full),
            Names(half).Where(name => name != nameof(QkvPagedAttention)));
        Assert.Equal(full.PersistentBytes, 2 * half.PersistentBytes);
        Assert.InRange(half.ArenaBytes, 1, 0.75 * full.ArenaBytes);

        Plan PlanOf(DataType type)
        {
            using var device = new RoundingDevice(type);
            using var model = new VisionLanguageModel(TinyModel.Configuration, device) { UseFusion = fusion };
            using var cache = new KeyValueCache(model, 8);
            using var workspace = new Workspace(device);
            return new GenerationStep(model, cache, workspace, new StepShape(16, 16, 16, 8, false, 0)).Plan;
        }
    }

    [Fact]
    public void Positions_of_another_picture_size_stay_float32_up_to_where_they_are_added()
    {
        using var device = new RoundingDevice();
        using var model = new VisionLanguageModel(TinyModel.Configuration, device);
        using var workspace = new Workspace(device);
        TrainedParameter[] trained = [.. model.Parameters.All.Select(parameter => new TrainedParameter(parameter))];
        var key = new TrainingPass.Key(s_shape with { ImageWidth = 56 }, 128, new CrossEntropyObjective(), Backward: true);
        Plan plan = new TrainingPass(model, key, trained, workspace, recompute: false).Plan;
        AssertTypes(plan);
        Node interpolation = plan.Graph.Nodes.Single(node => node.Op is InterpolatePositions);
        Assert.Equal(DataType.BFloat16, interpolation.Inputs[0].Type.DataType);
        Assert.Equal(DataType.Float32, interpolation.Outputs[0].Type.DataType);
    }

    [Fact]
    public void Parameters_are_bfloat16_unless_asked_otherwise_which_is_refused()
    {
        using var device = new RoundingDevice();
        string path = Golden.PathOf("vit300m-style/hf");
        using VisionLanguageModel model = ModelCheckpoint.Load(path, device);
        Assert.Equal(DataType.BFloat16, model.ParameterType);
        using var cpu = new CpuDevice();
        using VisionLanguageModel stored = ModelCheckpoint.Load(path, cpu, DataType.BFloat16);
        Assert.Equal(TinyModel.Weights(stored), TinyModel.Weights(model));

        string message = Assert.Throws<ArgumentException>(() => ModelCheckpoint.Load(path, device, DataType.Float32))
            .Message;
        Assert.Contains("rounding computes in bfloat16", message, StringComparison.Ordinal);
        Assert.Contains("float32 masters", message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new VisionLanguageModel(TinyModel.Configuration, device, DataType.Float32));
        Assert.Throws<ArgumentException>(() => new VisionLanguageModel(TinyModel.Configuration, cpu, DataType.Int32));
        using var byDefault = new VisionLanguageModel(TinyModel.Configuration, cpu);
        Assert.Equal(DataType.Float32, byDefault.ParameterType);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Scores_and_gradients_are_near_those_of_float32(bool fusion)
    {
        // The same rounded weights in both.
        using VisionLanguageModel half = TinyModel.Create(DataType.BFloat16, fusion, device: new RoundingDevice());
        using VisionLanguageModel full = TinyModel.Create(DataType.BFloat16, fusion);
        TrainingSample[] samples = Samples();
        using ModelTrainer halfTrainer = new(half, TrainableModules.All), fullTrainer = new(full, TrainableModules.All);
        BatchResult actual = halfTrainer.AccumulateGradients(samples, new CrossEntropyObjective()),
            expected = fullTrainer.AccumulateGradients(samples, new CrossEntropyObjective());
        Assert.InRange(actual.Loss, expected.Loss * 0.99, expected.Loss * 1.01);
        Assert.All(actual.LogProbabilities.SelectMany(row => row).Zip(expected.LogProbabilities.SelectMany(row => row)),
            pair => Assert.InRange(pair.First - pair.Second, -0.05f, 0.05f));
        foreach (((PersistentTensor parameter, PersistentTensor gradient),
            (_, PersistentTensor reference)) in halfTrainer.Gradients.Zip(fullTrainer.Gradients))
        {
            float[] values = PersistentTensors.Read(half.Device, gradient),
                wanted = PersistentTensors.Read(full.Device, reference);
            double difference = Math.Sqrt(values.Zip(wanted).Sum(pair => Math.Pow(pair.First - pair.Second, 2))),
                norm = Math.Sqrt(wanted.Sum(value => (double)value * value));
            Assert.True(difference <= 0.05 * norm, $"{parameter.Name}: {difference / norm:P1}");
        }

        // And they are not the float32 path under another name.
        Assert.NotEqual(expected.LogProbabilities[0], actual.LogProbabilities[0]);
    }

    [Fact]
    public void Reinforcement_learning_runs_and_rollout_and_training_agree_bit_for_bit()
    {
        using VisionLanguageModel model = TinyModel.Create(device: new RoundingDevice());
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        using var engine = new GenerationEngine(model, 4096);
        var options = new GrpoOptions
        {
            GroupSize = 6,
            Sampling = new SamplingOptions { MaxOutputTokens = 10, StopTokens = [TinyModel.StopToken], Seed = 3 },
        };
        var criticalTokens = new CriticalTokens(
            new Skylight.Text.CharacterTokenizer(" 0123456789abcdefghijklmnopqrstuvwxyzW", "<end>", "<img>"));
        var grpo = new GrpoTrainer(trainer, engine, options, criticalTokens, Training.ComputedReward.Set());
        GrpoPrompt[] prompts = [.. Enumerable.Range(0, 3).Select(index => new GrpoPrompt(
            index == 1 ? TinyModel.Prompt(1, 9) : TinyModel.Prompt((ulong)index, 8 + index, TinyModel.Picture((ulong)index)),
            Training.ComputedReward.Request(
                completion => completion.Tokens.Count(token => token < 10) / (double)completion.Tokens.Length)))];
        GrpoMetrics[] steps = [.. Enumerable.Range(0, 3).Select(_ => grpo.Step(() => prompts, 0.02f))];
        Assert.All(steps, step => Assert.Equal(0, step.RolloutTrainDifference));
        Assert.All(steps, step => Assert.True(step.GradientNorm > 0));
        Assert.InRange(steps[^1].Reward, steps[0].Reward + 0.02, 1);
        Assert.All(trainer.OptimizerState, tensor => Assert.Equal(DataType.Float32, tensor.Type.DataType));
    }

    /// <summary>What holds in every graph of a model on a device with bfloat16 activations.</summary>
    private static void AssertTypes(Plan plan)
    {
        foreach (Node node in plan.Steps.Select(step => step.Node))
        {
            DataType[] expected = node.Op switch
            {
                LogProbabilities or LogProbabilitiesBackward or LogitStatistics or CrossEntropy or CrossEntropyBackward
                    or PolicyLossBackward or VocabularyHead or
                    RotaryTable or One or MatMulWeightGradient or ColumnSum or EmbeddingGradient or InterpolatePositions
                        or InterpolatePositionsBackward
                    => [.. node.Outputs.Select(_ => DataType.Float32)],
                SampleTokens => [DataType.Int32, DataType.Float32, DataType.Float32],
                PagedAttentionPlan => [DataType.Int32],
                PolicyLoss => [DataType.Float32, DataType.Int32, DataType.Float32, DataType.Float32],
                MatMul { OutputType: DataType.Float32 } => [DataType.Float32],
                Attention => [DataType.BFloat16, DataType.Float32],
                LayerNormBackward or RmsNormBackward or LayerScaleBackward or AddClassTokenAndPositionsBackward
                    => [.. node.Outputs.Select((_, index) => index == 0 ? DataType.BFloat16 : DataType.Float32)],
                VocabularyHeadBackward head =>
                    [.. node.Outputs.Select((_, index) => index == 0 && head.NeedsHidden ? DataType.BFloat16
                        : DataType.Float32)],
                _ => [.. node.Outputs.Select(_ => DataType.BFloat16)],
            };
            Assert.True(expected.SequenceEqual(node.OutputTypes.Select(type => type.DataType)),
                $"{node.Op} makes {string.Join(", ", node.OutputTypes)}");
        }

        Assert.All(plan.Graph.Outputs.Where(output => output.Value.Type.DataType.IsFloatingPoint()),
            output => Assert.Equal(DataType.Float32, output.Value.Type.DataType));
        Assert.All(plan.Graph.Nodes.Where(node => node.Op is MatMul or MatMulInputGradient or MatMulWeightGradient),
            node => Assert.Equal(DataType.BFloat16, node.Inputs[0].Type.DataType));
    }

    private static string[] Names(Plan plan) => [.. plan.Steps.Select(step => step.Node.Op.Name)];

    private static TrainingSample[] Samples() => [.. Enumerable.Range(1, 5).Select(index =>
    {
        TokenSequence sequence = TinyModel.Prompt((ulong)index, 14 + index, TinyModel.Picture((ulong)index / 2));
        return new TrainingSample(sequence, 7, [.. Enumerable.Repeat(0.02f, sequence.Tokens.Length - 7)]);
    })];
}
