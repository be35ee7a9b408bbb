using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Execution;
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
                [.. Tensors(interrupted, trainer).Select(tensor => TensorToWrite.Float32(interrupted.Device, tensor))],
                $"{{\"step\":{trainer.StepCount}}}");
        }

        using VisionLanguageModel resumed = TinyModel.Create(type, seed: 77);
        using (var trainer = new ModelTrainer(resumed, TrainableModules.All, options))
        {
            using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(folder["state"]);
            // In any order: a master is not overwritten by the rounded parameter that was read after it.
            foreach (PersistentTensor tensor in Tensors(resumed, trainer).Reverse())
                checkpoint.ReadInto(resumed.Device, tensor);
            var other = new PersistentTensor(resumed.Parameters.All[0].Name, TensorType.Float32(3));
            Assert.Contains(other.Name,
                Assert.Throws<CheckpointException>(() => checkpoint.ReadInto(resumed.Device, other)).Message,
                StringComparison.Ordinal);
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

        Assert.Contains(PersistentTensors.Read(model.Device, state["language.norm.weight.master"]),
            value => value != (float)(BFloat16)value);
    }

    [Theory]
    [InlineData(TrainableModules.Connector, "connector.")]
    [InlineData(TrainableModules.Vision, "vision.")]
    [InlineData(TrainableModules.Language, "language.")]
    public void Only_the_chosen_modules_change(TrainableModules modules, string prefix)
    {
        using VisionLanguageModel model = TinyModel.Create();
        Dictionary<string, float[]> before = model.Parameters.All.ToDictionary(parameter => parameter.Name,
            parameter => PersistentTensors.Read(model.Device, parameter));
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
        string message = Assert.Throws<TrainingDivergedException>(
            () => trainer.AccumulateGradients(Samples(0), s_crossEntropy)).Message;
        Assert.Contains("step 3", message, StringComparison.Ordinal);
        Assert.Contains($"'{culprit}'", message, StringComparison.Ordinal);
        Assert.Equal(before, Bits(model));
    }

    [Fact]
    public void A_loss_that_overflows_names_the_token()
    {
        using VisionLanguageModel model = TinyModel.Create();
        float[] head = [.. PersistentTensors.Read(model.Device, model.Parameters["language.head.weight"])
            .Select(value => value * 1e38f)];
        PersistentTensors.Write(model.Device, model.Parameters["language.head.weight"],
            [.. head.Select(value => Math.Clamp(value, -3e38f, 3e38f))]);
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        string message = Assert.Throws<TrainingDivergedException>(
            () => trainer.AccumulateGradients(Samples(0), s_crossEntropy)).Message;
        Assert.Contains("the log-probabilities of sample 0", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_gradient_that_is_not_finite_changes_nothing_and_is_forgotten()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        Train(trainer, 0, 1);
        trainer.AccumulateGradients(Samples(1), s_crossEntropy);
        (PersistentTensor parameter, PersistentTensor gradient) = trainer.Gradients.Single(
            pair => pair.Parameter.Name == "connector.linear1.bias");
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

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Gradients_do_not_live_in_the_arena_beside_those_they_are_added_to(bool tied)
    {
        LanguageConfiguration language = TinyModel.Configuration.Language with
        {
            LayerCount = 12,
            IntermediateSize = 4096,
            TieWordEmbeddings = tied,
        };
        using var model = new VisionLanguageModel(TinyModel.Configuration with { Language = language },
            new Skylight.Cpu.CpuDevice());
        TrainingEstimate estimate = TrainingEstimate.Of(model, TrainableModules.Language, 16, 0, 4, recompute: true);
        long gradients = model.Parameters.All.Where(parameter => TrainableModules.Language.Includes(parameter))
            .Sum(parameter => model.Device.StorageBytes(parameter.Type));
        Assert.InRange(estimate.ActivationBytes, 1, gradients - gradients / 4);
    }

    [Theory]
    [InlineData(DataType.Float32)]
    [InlineData(DataType.BFloat16)]
    public void Weights_that_are_written_while_a_trainer_lives_are_what_it_goes_on_from(DataType type)
    {
        using VisionLanguageModel model = TinyModel.Create(type), other = TinyModel.Create(type, seed: 77);
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        Train(trainer, 0, 2);
        foreach (PersistentTensor parameter in model.Parameters.All)
            PersistentTensors.Write(model.Device, parameter,
                PersistentTensors.Read(other.Device, other.Parameters[parameter.Name]));
        trainer.AccumulateGradients(Samples(2), s_crossEntropy);
        trainer.Step(0);
        Assert.Equal(TinyModel.Weights(other), TinyModel.Weights(model));
    }

    [Fact]
    public void The_defaults_are_those_of_the_field_and_decay_is_for_matrices()
    {
        var defaults = new OptimizerOptions();
        Assert.Equal((0.9f, 0.999f, 1e-8f, 0f), (defaults.Beta1, defaults.Beta2, defaults.Epsilon, defaults.WeightDecay));
        foreach (bool every in (ReadOnlySpan<bool>)[false, true])
        {
            Dictionary<string, float[]> without = After(defaults),
                with = After(defaults with { WeightDecay = 0.5f, DecaysEveryParameter = every });
            foreach ((string name, float[] values) in without)
            {
                bool isMatrix = name.EndsWith(".weight", StringComparison.Ordinal)
                    && !name.Contains("norm", StringComparison.Ordinal);
                bool decays = every || isMatrix;
                Assert.True(decays || values.SequenceEqual(with[name]), name);
                Assert.True(!isMatrix || !values.SequenceEqual(with[name]), name);
                // Biases begin at 0, which decays to 0.
                Assert.True(!every || name.EndsWith(".bias", StringComparison.Ordinal)
                    || !values.SequenceEqual(with[name]), name);
            }
        }

        static Dictionary<string, float[]> After(OptimizerOptions options)
        {
            using VisionLanguageModel model = TinyModel.Create();
            using var trainer = new ModelTrainer(model, TrainableModules.All, options);
            Train(trainer, 0, 1);
            return model.Parameters.All.ToDictionary(parameter => parameter.Name,
                parameter => PersistentTensors.Read(model.Device, parameter));
        }
    }

    [Fact]
    public void Each_module_has_its_own_learning_rate()
    {
        using VisionLanguageModel model = TinyModel.Create();
        Dictionary<string, float[]> before = model.Parameters.All.ToDictionary(parameter => parameter.Name,
            parameter => PersistentTensors.Read(model.Device, parameter));
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        trainer.AccumulateGradients(Samples(0), s_crossEntropy);
        trainer.Step(new LearningRates(Vision: 0, Connector: 0.001f, Language: 0.01f));
        // The first step of Adam moves every weight that has a gradient by the learning rate.
        Assert.Equal(0, Moved("vision."));
        Assert.Equal(0.001, Moved("connector."), 1e-5);
        Assert.Equal(0.01, Moved("language."), 1e-4);
        Assert.Contains("connector",
            Assert.Throws<ArgumentException>(() => trainer.Step(new LearningRates(0, float.NaN, 0))).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => trainer.Step(-1));
        Assert.Equal(new LearningRates(0.5f, 1, 2), new LearningRates(1, 2, 4).Times(0.5f));

        double Moved(string prefix) =>
            model.Parameters.All.Where(parameter => parameter.Name.StartsWith(prefix, StringComparison.Ordinal))
            .Max(parameter => PersistentTensors.Read(model.Device, parameter).Zip(before[parameter.Name])
                .Max(pair => Math.Abs(pair.First - pair.Second)));
    }

    [Fact]
    public void A_hook_between_gradients_and_step_sees_both_and_may_stop_it()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        float[] before = TinyModel.Weights(model);
        int calls = 0;
        trainer.BeforeStep = seen =>
        {
            calls++;
            Assert.Equal(before, TinyModel.Weights(model));
            Assert.Contains(seen.Gradients,
                pair => PersistentTensors.Read(model.Device, pair.Gradient).Any(value => value != 0));
            throw new InvalidOperationException("enough");
        };
        trainer.AccumulateGradients(Samples(0), s_crossEntropy);
        Assert.Equal("enough", Assert.Throws<InvalidOperationException>(() => trainer.Step(0.1f)).Message);
        Assert.Equal(before, TinyModel.Weights(model));
        // What it does to the gradients counts.
        trainer.BeforeStep = seen =>
        {
            foreach ((_, PersistentTensor gradient) in seen.Gradients)
                PersistentTensors.Write(model.Device, gradient, new float[gradient.Type.Shape.ElementCount]);
        };
        trainer.AccumulateGradients(Samples(0), s_crossEntropy);
        Assert.Equal(0, trainer.Step(0.1f));
        Assert.Equal(before, TinyModel.Weights(model));
        Assert.Equal((1, 1), (calls, trainer.StepCount));
    }

    [Fact]
    public void Steps_that_are_not_finite_are_skipped_and_counted_if_asked()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.All,
            new OptimizerOptions { NotFinite = NotFiniteStep.Skip });
        Train(trainer, 0, 1);
        float[] before = TinyModel.Weights(model);
        trainer.BeforeStep = seen =>
        {
            PersistentTensor gradient = seen.Gradients.Single(pair => pair.Parameter.Name == "connector.linear1.bias")
                .Gradient;
            PersistentTensors.Write(model.Device, gradient,
                [.. Enumerable.Repeat(float.NaN, (int)gradient.Type.Shape.ElementCount)]);
        };
        trainer.AccumulateGradients(Samples(1), s_crossEntropy);
        Assert.False(float.IsFinite(trainer.Step(0.1f)));
        Assert.Equal((1, 1), (trainer.SkippedSteps, trainer.StepCount));
        Assert.Contains("step 2", trainer.LastSkippedStep, StringComparison.Ordinal);
        Assert.Contains("'connector.linear1.bias'", trainer.LastSkippedStep, StringComparison.Ordinal);

        // A loss that is not finite, too; the step after it begins without its gradients.
        trainer.BeforeStep = null;
        TrainingSample[] samples = Samples(1);
        samples[2] = samples[2] with { Weights = [.. samples[2].Weights.Select(_ => float.NaN)] };
        trainer.AccumulateGradients(samples, s_crossEntropy);
        trainer.Step(0.1f);
        Assert.Equal((2, 1), (trainer.SkippedSteps, trainer.StepCount));
        Assert.Contains("the weights of sample 2", trainer.LastSkippedStep, StringComparison.Ordinal);
        Assert.Equal(before, TinyModel.Weights(model));
        Assert.Equal(0, trainer.Step(0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Samples_for_which_there_is_no_memory_together_are_run_in_halves_down_to_one(bool planned)
    {
        using var device = new LimitedDevice();
        using VisionLanguageModel model = TinyModel.Create(device: device), alone = TinyModel.Create();
        using ModelTrainer trainer = new(model, TrainableModules.All),
            one = new(alone, TrainableModules.All, microBatchTokens: 1), hopeless = new(model, TrainableModules.All);
        long needed = TrainingEstimate.Of(model, TrainableModules.All, 128, 1, 32, recompute: false).ActivationBytes;
        Limit(needed + needed / 8);
        float[] before = TinyModel.Weights(model);
        double loss = trainer.AccumulateGradients(LongSamples(), s_crossEntropy).Loss;
        Assert.Equal(one.AccumulateGradients(LongSamples(), s_crossEntropy).Loss, loss);
        Assert.Equal(3, trainer.SplitMicroBatches);
        Assert.Equal(one.Gradients.Select(pair => PersistentTensors.Read(alone.Device, pair.Gradient)),
            trainer.Gradients.Select(pair => PersistentTensors.Read(device, pair.Gradient)));

        // Less than one needs: refused with the numbers, and what was added before is forgotten.
        Limit(needed * 9 / 10);
        string message = Assert.Throws<OutOfDeviceMemoryException>(
            () => hopeless.AccumulateGradients(LongSamples(), s_crossEntropy)).Message;
        foreach (string part in (string[])["Optimizer step 1", "100 tokens (30 of them scored, 1 tiles",
            "does not fit limited even alone", "Recompute layers", planned ? "GB" : "are free"])
            Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.Equal(0, hopeless.Step(0.1f));
        Assert.Equal(before, TinyModel.Weights(model));

        void Limit(long activations)
        {
            if (planned)
                device.PlannedBytes = model.Parameters.All.Sum(parameter => 2 * device.StorageBytes(parameter.Type))
                    + activations;
            else
                device.MostBytes = activations;
        }
    }

    [Fact]
    public void Samples_that_contradict_themselves_are_refused()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        TrainingSample good = Sample(TinyModel.Prompt(1, 12), 3);
        Assert.Contains("must start after the first", Refused(good with { CompletionStart = 0 }, s_crossEntropy),
            StringComparison.Ordinal);
        Assert.Contains("Weights must have one element for each of the 9",
            Refused(good with { Weights = [1] }, s_crossEntropy), StringComparison.Ordinal);
        Assert.Contains("OldLogProbabilities", Refused(good, new PolicyObjective()), StringComparison.Ordinal);
        Assert.Contains("ReferenceLogProbabilities",
            Refused(good with { OldLogProbabilities = new float[9] }, new PolicyObjective(Kl: Skylight.Ops.KlKind.K3)),
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new ModelTrainer(model, TrainableModules.None));

        string Refused(TrainingSample sample, Objective objective) =>
            Assert.Throws<ArgumentException>(() => trainer.AccumulateGradients([sample], objective)).Message;
    }

    private static IEnumerable<PersistentTensor> Tensors(VisionLanguageModel model, ModelTrainer trainer) =>
        model.Parameters.All.Concat(trainer.OptimizerState);

    private static void Train(ModelTrainer trainer, int from, int to)
    {
        for (int step = from; step < to; step++)
        {
            trainer.AccumulateGradients(Samples(step), s_crossEntropy);
            trainer.Step(0.01f);
        }
    }

    private static TrainingSample[] Samples(int step) =>
        [.. Enumerable.Range(0, 4)
            .Select(index =>
                Sample(TinyModel.Prompt((ulong)(step * 10 + index), 13 + index, TinyModel.Picture((ulong)index)), 7))];

    private static TrainingSample[] LongSamples() =>
        [.. Enumerable.Range(0, 4)
            .Select(index => Sample(TinyModel.Prompt((ulong)index, 100, TinyModel.Picture((ulong)index)), 70))];

    private static TrainingSample Sample(TokenSequence sequence, int start) =>
        new(sequence, start, [.. Enumerable.Repeat(0.03f, sequence.Tokens.Length - start)]);

    private static (float[] Gradients, double Loss) GradientsOf(VisionLanguageModel model, int microBatchTokens)
    {
        using var trainer = new ModelTrainer(model, TrainableModules.All, microBatchTokens: microBatchTokens);
        double loss = trainer.AccumulateGradients(Samples(0), s_crossEntropy).Loss;
        return ([.. trainer.Gradients.SelectMany(pair => PersistentTensors.Read(model.Device, pair.Gradient))], loss);
    }

    private static double Distance(float[] left, float[] right) =>
        Math.Sqrt(left.Zip(right)
            .Sum(pair => Math.Pow(pair.First - pair.Second, 2)) / right.Sum(value => (double)value * value));

    private static int[] Bits(VisionLanguageModel model) =>
        [.. TinyModel.Weights(model).Select(BitConverter.SingleToInt32Bits)];
}
