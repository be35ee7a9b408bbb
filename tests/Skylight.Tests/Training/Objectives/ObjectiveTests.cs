using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tests.Models;
using Skylight.Tests.Samples;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Training.Objectives;

/// <summary>A host's own objective is what is minimised, not something else.</summary>
public sealed class ObjectiveTests
{
    [Fact]
    public void A_hosts_own_objective_is_trained_with_its_own_gradient()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.Language);
        var objective = new EntropyBonusObjective(0.7f);
        TrainingSample[] samples = Samples();
        BatchResult result = trainer.AccumulateGradients(samples, objective, TestContext.Current.CancellationToken);
        double expected = -samples.Select((sample, index) =>
            sample.Weights.Select((weight, token) =>
                weight * (result.LogProbabilities[index][token] + (0.7 * result.Entropies[index][token]))).Sum()).Sum();
        Assert.Equal(expected, result.Loss, 1e-5 * Math.Abs(expected));
        Assert.NotEqual(trainer.Evaluate(samples, new CrossEntropyObjective(), TestContext.Current.CancellationToken)
            .Loss, result.Loss, 1e-3);

        // Along its gradient, the loss rises by the gradient's norm.
        (PersistentTensor parameter, PersistentTensor gradient) = trainer.Gradients.Single(
            pair => pair.Parameter.Name == "language.norm.weight");
        float[] slope = PersistentTensors.Read(model.Device, gradient),
            weights = PersistentTensors.Read(model.Device, parameter);
        double norm = Math.Sqrt(slope.Sum(value => (double)value * value));
        Assert.Equal(norm, (LossAt(1e-2) - LossAt(-1e-2)) / 2e-2, 1e-2 * norm);

        double LossAt(double step)
        {
            PersistentTensors.Write(model.Device, parameter,
                [.. weights.Select((weight, index) => (float)(weight + (step * slope[index] / norm)))]);
            return trainer.Evaluate(samples, objective, TestContext.Current.CancellationToken).Loss;
        }
    }

    [Fact]
    public void Objectives_of_one_kind_with_other_attributes_are_not_mixed_up()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var scorer = new ModelTrainer(model, TrainableModules.Connector);
        double[] losses = [.. new[] { 0f, 0.5f, 1f, 0f }.Select(bonus =>
            scorer.Evaluate(Samples(), new EntropyBonusObjective(bonus), TestContext.Current.CancellationToken).Loss)];
        Assert.Equal(losses[0], losses[3]);
        Assert.Equal(scorer.Evaluate(Samples(), new CrossEntropyObjective(), TestContext.Current.CancellationToken)
            .Loss, losses[0]);
        Assert.Equal((losses[0] + losses[2]) / 2, losses[1], 1e-5);
        Assert.True(losses[2] < losses[0] - 1e-3);
    }

    [Fact]
    public void What_is_no_loss_and_what_a_sample_lacks_is_said()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        Refused(new FaultyObjective(IsScalar: false), "The loss of FaultyObjective must be one number");
        Refused(new FaultyObjective(IsScalar: true),
            "margins must have one element for each of the 9 completion tokens, not 2");

        void Refused(Objective objective, string expected) =>
            Assert.Contains(expected,
                Assert.Throws<ArgumentException>(() => trainer.AccumulateGradients(Samples(), objective)).Message,
                StringComparison.Ordinal);
    }

    private static TrainingSample[] Samples() => [.. Enumerable.Range(1, 3).Select(index =>
        new TrainingSample(TinyModel.Prompt((ulong)index, 12 + index - 1), 3,
            [.. Enumerable.Range(0, 8 + index).Select(token => token % 4 == 1 ? 0 : 0.03f * index)]))];

    private sealed record FaultyObjective(bool IsScalar) : Objective(1f)
    {
        public override Value AppendLoss(ObjectiveGraph graph)
        {
            Value margins = graph.AddInput("margins", _ => new float[2]);
            return IsScalar ? graph.Graph.Add(new Skylight.Ops.CrossEntropy(), graph.LogProbabilities, margins) : margins;
        }
    }
}
