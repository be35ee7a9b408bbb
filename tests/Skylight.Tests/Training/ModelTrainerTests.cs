using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Models;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Training;

public sealed class ModelTrainerTests
{
    private static readonly CrossEntropyObjective s_crossEntropy = new();

    [Theory]
    [InlineData(DataType.Float32)]
    [InlineData(DataType.BFloat16)]
    public void Resumed_training_equals_uninterrupted_training_bit_for_bit(DataType type)
    {
        var options = new OptimizerOptions { WeightDecay = 0.1f };
        using VisionLanguageModel straight = TinyModel.Create(type);
        using (var trainer = new ModelTrainer(straight, TrainableModules.All, options))
            Train(trainer, 0, 6);

        using var folder = new TemporaryFolder();
        using (VisionLanguageModel interrupted = TinyModel.Create(type))
        {
            using var trainer = new ModelTrainer(interrupted, TrainableModules.All, options);
            Train(trainer, 0, 3);
            TrainingCheckpoint.Save(
                folder["state"],
                [.. Tensors(interrupted, trainer).Select(tensor => TensorToWrite.Float32(tensor.Name, tensor.Type.Shape, PersistentTensors.Read(interrupted.Device, tensor)))],
                $"{{\"step\":{trainer.StepCount}}}");
        }

        using VisionLanguageModel resumed = TinyModel.Create(type, seed: 77);
        using (var trainer = new ModelTrainer(resumed, TrainableModules.All, options))
        {
            using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(folder["state"]);
            foreach (PersistentTensor tensor in Tensors(resumed, trainer))
                PersistentTensors.Write(resumed.Device, tensor, checkpoint.Tensors.ReadFloat32(tensor.Name));
            trainer.StepCount = 3;
            Train(trainer, 3, 6);
        }

        Assert.Equal(TinyModel.Weights(straight), TinyModel.Weights(resumed));
    }

    [Fact]
    public void Micro_batches_add_up_to_the_gradient_of_the_whole()
    {
        using VisionLanguageModel model = TinyModel.Create();
        (float[] whole, double loss) = GradientsOf(model, microBatchTokens: 8192);
        (float[] parts, double partsLoss) = GradientsOf(model, microBatchTokens: 40);
        Assert.NotEqual(whole, parts); // rounding: otherwise nothing was cut
        Assert.Equal(loss, partsLoss, 1e-6 * loss);
        Assert.InRange(Distance(parts, whole), 0, 1e-5);
    }

    [Fact]
    public void Bfloat16_parameters_follow_their_float32_masters()
    {
        using VisionLanguageModel model = TinyModel.Create(DataType.BFloat16);
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        float[] before = TinyModel.Weights(model);
        double first = 0, last = 0;
        for (int step = 0; step < 30; step++)
        {
            last = trainer.AccumulateGradients(Samples(0), s_crossEntropy).Loss;
            first = step == 0 ? last : first;

            // Far below half a place of a bfloat16 weight of 1: without masters, the norms would never move.
            trainer.Step(step < 25 ? 1e-4f : 0.01f);
        }

        Assert.InRange(last, 0, 0.8 * first);
        Assert.NotEqual(before, TinyModel.Weights(model));
        Dictionary<string, PersistentTensor> state = trainer.OptimizerState.ToDictionary(tensor => tensor.Name);
        foreach (PersistentTensor parameter in model.Parameters.All)
        {
            float[] master = PersistentTensors.Read(model.Device, state[parameter.Name + ".master"]);
            Assert.Equal(master.Select(value => (float)(BFloat16)value), PersistentTensors.Read(model.Device, parameter));
        }

        Assert.Contains(PersistentTensors.Read(model.Device, state["language.norm.weight.master"]), value => value != (float)(BFloat16)value);
    }

    [Theory]
    [InlineData(TrainableModules.Connector, "connector.")]
    [InlineData(TrainableModules.Vision, "vision.")]
    [InlineData(TrainableModules.Language, "language.")]
    public void Only_the_chosen_modules_change(TrainableModules modules, string prefix)
    {
        using VisionLanguageModel model = TinyModel.Create();
        Dictionary<string, float[]> before = model.Parameters.All.ToDictionary(parameter => parameter.Name, parameter => PersistentTensors.Read(model.Device, parameter));
        using var trainer = new ModelTrainer(model, modules);
        Train(trainer, 0, 1);
        foreach (PersistentTensor parameter in model.Parameters.All)
        {
            bool changed = !before[parameter.Name].SequenceEqual(PersistentTensors.Read(model.Device, parameter));
            Assert.True(changed == parameter.Name.StartsWith(prefix, StringComparison.Ordinal), parameter.Name);
        }
    }

    [Fact]
    public void Text_alone_trains_a_model_whose_vision_is_trained_too()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        trainer.AccumulateGradients([Sample(TinyModel.Prompt(1, 12), 3)], s_crossEntropy);
        Assert.True(trainer.Step(0.01f) > 0);
    }

    [Theory]
    [InlineData("language.layers.1.mlp.down.weight")]
    [InlineData("vision.class_embedding")]
    public void A_loss_that_is_not_a_number_stops_with_step_and_tensor(string culprit)
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        Train(trainer, 0, 2);
        float[] values = PersistentTensors.Read(model.Device, model.Parameters[culprit]);
        values[3] = float.NaN;
        PersistentTensors.Write(model.Device, model.Parameters[culprit], values);
        int[] before = Bits(model);
        string message = Assert.Throws<TrainingDivergedException>(() => trainer.AccumulateGradients(Samples(0), s_crossEntropy)).Message;
        Assert.Contains("step 3", message, StringComparison.Ordinal);
        Assert.Contains($"'{culprit}'", message, StringComparison.Ordinal);
        Assert.Equal(before, Bits(model));
    }

    [Fact]
    public void A_loss_that_overflows_names_the_token()
    {
        using VisionLanguageModel model = TinyModel.Create();
        float[] head = [.. PersistentTensors.Read(model.Device, model.Parameters["language.head.weight"]).Select(value => value * 1e38f)];
        PersistentTensors.Write(model.Device, model.Parameters["language.head.weight"], [.. head.Select(value => Math.Clamp(value, -3e38f, 3e38f))]);
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        string message = Assert.Throws<TrainingDivergedException>(() => trainer.AccumulateGradients(Samples(0), s_crossEntropy)).Message;
        Assert.Contains("the log-probabilities of sample 0", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_gradient_that_is_not_finite_changes_nothing_and_is_forgotten()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        Train(trainer, 0, 1);
        trainer.AccumulateGradients(Samples(1), s_crossEntropy);
        (PersistentTensor parameter, PersistentTensor gradient) = trainer.Gradients.Single(pair => pair.Parameter.Name == "connector.linear1.bias");
        float[] values = PersistentTensors.Read(model.Device, gradient);
        values[^1] = float.PositiveInfinity;
        PersistentTensors.Write(model.Device, gradient, values);
        int[] before = Bits(model);
        string message = Assert.Throws<TrainingDivergedException>(() => trainer.Step(0.1f)).Message;
        Assert.Contains("step 2", message, StringComparison.Ordinal);
        Assert.Contains($"'{parameter.Name}'", message, StringComparison.Ordinal);
        Assert.Equal(before, Bits(model));
        Assert.Equal(1, trainer.StepCount);
        Assert.Equal(0, trainer.Step(0));
    }

    [Fact]
    public void Samples_that_contradict_themselves_are_refused()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        TrainingSample good = Sample(TinyModel.Prompt(1, 12), 3);
        Assert.Contains("must start after the first", Refused(good with { CompletionStart = 0 }, s_crossEntropy), StringComparison.Ordinal);
        Assert.Contains("Weights must have one element for each of the 9", Refused(good with { Weights = [1] }, s_crossEntropy), StringComparison.Ordinal);
        Assert.Contains("OldLogProbabilities", Refused(good, new PolicyObjective()), StringComparison.Ordinal);
        Assert.Contains("ReferenceLogProbabilities", Refused(good with { OldLogProbabilities = new float[9] }, new PolicyObjective(Kl: Skylight.Ops.KlKind.K3)), StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new ModelTrainer(model, TrainableModules.None));

        string Refused(TrainingSample sample, Objective objective) => Assert.Throws<ArgumentException>(() => trainer.AccumulateGradients([sample], objective)).Message;
    }

    private static IEnumerable<PersistentTensor> Tensors(VisionLanguageModel model, ModelTrainer trainer) => model.Parameters.All.Concat(trainer.OptimizerState);

    private static void Train(ModelTrainer trainer, int from, int to)
    {
        for (int step = from; step < to; step++)
        {
            trainer.AccumulateGradients(Samples(step), s_crossEntropy);
            trainer.Step(0.01f);
        }
    }

    private static TrainingSample[] Samples(int step) =>
        [.. Enumerable.Range(0, 4).Select(index => Sample(TinyModel.Prompt((ulong)(step * 10 + index), 13 + index, TinyModel.Picture((ulong)index)), 7))];

    private static TrainingSample Sample(TokenSequence sequence, int start) =>
        new(sequence, start, [.. Enumerable.Repeat(0.03f, sequence.Tokens.Length - start)]);

    private static (float[] Gradients, double Loss) GradientsOf(VisionLanguageModel model, int microBatchTokens)
    {
        using var trainer = new ModelTrainer(model, TrainableModules.All, microBatchTokens: microBatchTokens);
        double loss = trainer.AccumulateGradients(Samples(0), s_crossEntropy).Loss;
        return ([.. trainer.Gradients.SelectMany(pair => PersistentTensors.Read(model.Device, pair.Gradient))], loss);
    }

    private static double Distance(float[] left, float[] right) =>
        Math.Sqrt(left.Zip(right).Sum(pair => Math.Pow(pair.First - pair.Second, 2)) / right.Sum(value => (double)value * value));

    private static int[] Bits(VisionLanguageModel model) => [.. TinyModel.Weights(model).Select(BitConverter.SingleToInt32Bits)];
}
