using Skylight.Execution;
using Skylight.Models;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>Scores completions under a model that is not trained: the reference of a KL term.</summary>
public sealed class ModelScorer : IDisposable
{
    private readonly Workspace _workspace;
    private readonly PassRunner _passes;

    /// <summary>Makes a scorer.</summary>
    /// <param name="model">The model.</param>
    /// <param name="microBatchTokens">Samples are run together up to so many tokens.</param>
    public ModelScorer(VisionLanguageModel model, int microBatchTokens = 8192)
    {
        ArgumentNullException.ThrowIfNull(model);
        _workspace = new Workspace(model.Device);
        _passes = new PassRunner(model, [], _workspace, microBatchTokens, recompute: false);
    }

    /// <summary>The log-probability and entropy of every completion token.</summary>
    /// <param name="samples">At least one; only sequence, start and weights are read.</param>
    /// <param name="temperature">Divides the logits before the softmax.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public BatchResult Score(IReadOnlyList<TrainingSample> samples, float temperature = 1f,
        CancellationToken cancellationToken = default)
    {
        var objective = new CrossEntropyObjective { Temperature = temperature };
        PassRunner.Validate(samples, objective);
        (BatchResult result, TrainingDivergedException? fault) = _passes.Run(samples, objective, backward: false,
            step: 0, cancellationToken);
        return fault is null ? result : throw fault;
    }

    /// <inheritdoc/>
    public void Dispose() => _workspace.Dispose();
}
