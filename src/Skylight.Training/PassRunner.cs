using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>Cuts samples into micro-batches and runs each through a planned pass; passes are kept by shape.</summary>
internal sealed class PassRunner(VisionLanguageModel model, IReadOnlyList<TrainedParameter> trained,
    Workspace workspace, int microBatchTokens, bool recompute)
{
    private const int MaximumPasses = 96;

    private readonly Dictionary<TrainingPass.Key, TrainingPass> _passes = [];

    // What no plan can be made for: whether there is one depends on the device's size alone, so it need not be tried again.
    private readonly HashSet<TrainingPass.Key> _tooLarge = [];

    /// <summary>How often a micro-batch was cut in two because the device had no memory for it.</summary>
    public int Splits { get; private set; }

    /// <summary>Refuses samples that contradict themselves or the objective, before any is run.</summary>
    public static void Validate(IReadOnlyList<TrainingSample> samples, Objective objective)
    {
        ArgumentNullException.ThrowIfNull(samples);
        ArgumentNullException.ThrowIfNull(objective);
        foreach (TrainingSample sample in samples)
            sample.Validate(objective);
    }

    /// <summary>Runs samples that are valid.</summary>
    /// <returns>What was found, and what to throw where the objective is not finite.</returns>
    public (BatchResult Result, TrainingDivergedException? Fault) Run(
        IReadOnlyList<TrainingSample> samples, Objective objective, bool backward, int step,
        CancellationToken cancellationToken)
    {
        BatchResult[] results = [.. MicroBatches(samples)
            .SelectMany(micro => RunMicroBatch(micro, objective, backward, step, cancellationToken))];
        var result = new BatchResult(
            results.Sum(result => result.Loss),
            [.. results.SelectMany(result => result.LogProbabilities)],
            [.. results.SelectMany(result => result.Entropies)],
            results.Sum(result => result.ClippedTokens),
            results.Sum(result => result.Kl),
            results.Select(result => result.MaximumLogRatio).DefaultIfEmpty().Max());
        return (result, double.IsFinite(result.Loss) ? null : Diverged(step, samples, result));
    }

    /// <summary>
    /// Says where it began: a sample whose numbers are not finite, a parameter, else the first sample whose
    /// log-probabilities are not.
    /// </summary>
    private TrainingDivergedException Diverged(int step, IReadOnlyList<TrainingSample> samples, BatchResult result)
    {
        string beginning = $"Optimizer step {step}: the loss is {result.Loss}; ";
        for (int index = 0; index < samples.Count; index++)
        {
            if (NotFiniteIn(samples[index]) is { } name)
                return new TrainingDivergedException(
                    $"{beginning}the {name} of sample {index} ({samples[index].Sequence.Tokens.Length} tokens) are " +
                    $"not finite. That step was not taken; look at where they come from.");
        }

        int sample = Array.FindIndex(result.LogProbabilities, values => values.Any(value => !float.IsFinite(value)));
        string where = FirstNotFinite(model) is { } parameter ? $"parameter '{parameter.Name}' is not finite"
            : sample >= 0
            ? $"the log-probabilities of sample {sample} ({samples[sample].Sequence.Tokens.Length} tokens) are not finite"
            : "all parameters and log-probabilities are finite, so their sum overflowed";
        return new TrainingDivergedException(
            $"{beginning}{where}. That step was not taken; resume from the last checkpoint with a lower learning rate.");
    }

    private static string? NotFiniteIn(TrainingSample sample) =>
        !sample.Weights.All(float.IsFinite) ? "weights"
        : !float.IsFinite(sample.Advantage) ? "advantages"
        : sample.OldLogProbabilities?.All(float.IsFinite) == false ? "log-probabilities of the rollout"
        : sample.ReferenceLogProbabilities?.All(float.IsFinite) == false ? "log-probabilities under the reference model"
        : null;

    /// <summary>What to throw where a model cannot draw completions any more.</summary>
    internal static TrainingDivergedException RolloutsDiverged(ModelTrainer trainer, ArithmeticException exception) => new(
        $"Optimizer step {trainer.StepCount + 1}: the rollouts are not finite; {WhereNotFinite(trainer.Model)}. " +
        $"{exception.Message} "
        + "That step was not taken; resume from the last checkpoint with a lower learning rate.", exception);

    /// <summary>Where a model began not to be finite that cannot compute any more.</summary>
    internal static string WhereNotFinite(VisionLanguageModel model) =>
        FirstNotFinite(model) is { } parameter ? $"parameter '{parameter.Name}' is not finite"
            : "all parameters are finite, so activations overflowed";

    /// <summary>The first parameter with a NaN or an infinity; null if all are finite.</summary>
    internal static PersistentTensor? FirstNotFinite(VisionLanguageModel model) =>
        model.Parameters.All.FirstOrDefault(parameter => !PersistentTensors.AreFinite(model.Device, parameter));

    /// <summary>Runs samples together; where the device has no memory for that, each half of them.</summary>
    private IReadOnlyList<BatchResult> RunMicroBatch(TrainingSample[] samples, Objective objective, bool backward,
        int step, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var batch = PackedBatch.Pack([.. samples.Select(sample => sample.Sequence)], model.Configuration,
            TrainingPass.TokenMultiple);
        var key = new TrainingPass.Key(batch.Shape, TrainingPass.RowsFor(samples), objective, backward);
        TrainingPass pass;
        try
        {
            pass = Pass(key, samples.Length > 1);
            // All memory is reserved here, before anything was added to a gradient.
            pass.Reserve();
        }
        catch (OutOfDeviceMemoryException exception)
        {
            if (samples.Length == 1)
                throw DoesNotFit(samples[0], step, exception);
            Splits++;
            int half = samples.Length / 2;
            return [.. RunMicroBatch(samples[..half], objective, backward, step, cancellationToken),
                .. RunMicroBatch(samples[half..], objective, backward, step, cancellationToken)];
        }

        return [pass.Run(samples, batch, cancellationToken)];
    }

    private TrainingPass Pass(TrainingPass.Key key, bool canBeCut)
    {
        if (_passes.TryGetValue(key, out TrainingPass? pass))
            return pass;
        if (canBeCut && _tooLarge.Contains(key))
            throw new OutOfDeviceMemoryException();
        if (_passes.Count >= MaximumPasses)
            _passes.Clear();
        try
        {
            pass = new TrainingPass(model, key, trained, workspace, recompute);
        }
        catch (OutOfDeviceMemoryException)
        {
            if (_tooLarge.Count >= MaximumPasses)
                _tooLarge.Clear();
            _tooLarge.Add(key);
            throw;
        }

        _passes.Add(key, pass);
        return pass;
    }

    private OutOfDeviceMemoryException DoesNotFit(TrainingSample sample, int step, OutOfDeviceMemoryException exception)
    {
        string pictures = sample.Sequence.Images.Count == 0 ? "no pictures"
            : $"{sample.Sequence.Images.Count} tiles of pictures";
        string help = recompute ? "Shorten or leave out such samples, or use fewer tiles"
            : "Recompute layers, shorten or leave out such samples, or use fewer tiles";
        return new OutOfDeviceMemoryException(
            $"Optimizer step {step}: a sample of {sample.Sequence.Tokens.Length} tokens ({sample.CompletionLength} " +
            $"of them scored, {pictures}) does not fit {model.Device.Name} even alone. {help}. " +
            $"{exception.Message}", exception);
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
            bool otherSize = image is not null && first is not null
                && (image.Height, image.Width) != (first.Height, first.Width);
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
