using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>Cuts samples into micro-batches and runs each through a planned pass; passes are kept by shape.</summary>
internal sealed class PassRunner(VisionLanguageModel model, IReadOnlyList<TrainedParameter> trained, Workspace workspace, int microBatchTokens, bool recompute)
{
    private const int MaximumPasses = 96;

    private readonly Dictionary<TrainingPass.Key, TrainingPass> _passes = [];

    public BatchResult Run(IReadOnlyList<TrainingSample> samples, Objective objective, bool backward, int step, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(samples);
        ArgumentNullException.ThrowIfNull(objective);
        foreach (TrainingSample sample in samples)
            sample.Validate(objective);
        BatchResult[] results = [.. MicroBatches(samples).Select(micro => RunMicroBatch(micro, objective, backward, cancellationToken))];
        double loss = results.Sum(result => result.Loss);
        if (!double.IsFinite(loss))
            throw Diverged(step, loss, samples, [.. results.SelectMany(result => result.LogProbabilities)]);
        return new BatchResult(
            loss,
            [.. results.SelectMany(result => result.LogProbabilities)],
            [.. results.SelectMany(result => result.Entropies)],
            results.Sum(result => result.ClippedTokens),
            results.Sum(result => result.Kl),
            results.Select(result => result.MaximumLogRatio).DefaultIfEmpty().Max());
    }

    /// <summary>Says where it began: a parameter that is not finite, else the first sample whose log-probabilities are not.</summary>
    private TrainingDivergedException Diverged(int step, double loss, IReadOnlyList<TrainingSample> samples, float[][] logProbabilities)
    {
        PersistentTensor? parameter = FirstNotFinite(model);
        int sample = Array.FindIndex(logProbabilities, values => values.Any(value => !float.IsFinite(value)));
        string where = parameter is not null ? $"parameter '{parameter.Name}' is not finite"
            : sample >= 0 ? $"the log-probabilities of sample {sample} ({samples[sample].Sequence.Tokens.Length} tokens) are not finite"
            : "the weights or advantages of the samples are not finite";
        return new TrainingDivergedException($"Optimizer step {step}: the loss is {loss}; {where}. That step was not taken; resume from the last checkpoint with a lower learning rate.");
    }

    /// <summary>The first parameter with a NaN or an infinity; null if all are finite.</summary>
    internal static PersistentTensor? FirstNotFinite(VisionLanguageModel model) =>
        model.Parameters.All.FirstOrDefault(parameter => PersistentTensors.Read(model.Device, parameter).Any(value => !float.IsFinite(value)));

    private BatchResult RunMicroBatch(TrainingSample[] samples, Objective objective, bool backward, CancellationToken cancellationToken)
    {
        var batch = PackedBatch.Pack([.. samples.Select(sample => sample.Sequence)], model.Configuration, TrainingPass.TokenMultiple);
        var key = new TrainingPass.Key(batch.Shape, TrainingPass.RowsFor(samples), objective, backward);
        if (!_passes.TryGetValue(key, out TrainingPass? pass))
        {
            if (_passes.Count >= MaximumPasses)
                _passes.Clear();
            pass = new TrainingPass(model, key, trained, workspace, recompute);
            _passes.Add(key, pass);
        }

        return pass.Run(samples, batch, cancellationToken);
    }

    private IEnumerable<TrainingSample[]> MicroBatches(IReadOnlyList<TrainingSample> samples)
    {
        var batch = new List<TrainingSample>();
        int tokens = 0;
        ImageTile? image = null;
        foreach (TrainingSample sample in samples)
        {
            int length = sample.Sequence.Tokens.Length;
            ImageTile? first = sample.Sequence.Images.Count > 0 ? sample.Sequence.Images[0] : null;
            bool otherSize = image is not null && first is not null && (image.Height, image.Width) != (first.Height, first.Width);
            if (batch.Count > 0 && (tokens + length > microBatchTokens || otherSize))
            {
                yield return [.. batch];
                batch.Clear();
                tokens = 0;
                image = null;
            }

            batch.Add(sample);
            tokens += length;
            image ??= first;
        }

        if (batch.Count > 0)
            yield return [.. batch];
    }
}
