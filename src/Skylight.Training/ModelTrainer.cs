using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>AdamW with decoupled weight decay and clipping by global norm.</summary>
public sealed record OptimizerOptions
{
    /// <summary>Decay of the first moment.</summary>
    public float Beta1 { get; init; } = 0.9f;

    /// <summary>Decay of the second moment.</summary>
    public float Beta2 { get; init; } = 0.95f;

    /// <summary>Added to the root of the second moment.</summary>
    public float Epsilon { get; init; } = 1e-8f;

    /// <summary>Decoupled weight decay, on every parameter.</summary>
    public float WeightDecay { get; init; }

    /// <summary>Gradients are scaled down to this global norm; 0 for no clipping.</summary>
    public float MaximumGradientNorm { get; init; } = 1f;
}

/// <summary>
/// Trains a model in place: forward and backward passes over samples add up gradients, a step applies them. Supervised tuning and
/// GRPO both stand on it. Inference sees the new weights at once, for there is one copy.
/// </summary>
public sealed class ModelTrainer : IDisposable
{
    private readonly VisionLanguageModel _model;
    private readonly OptimizerOptions _options;
    private readonly TrainedParameter[] _trained;
    private readonly Workspace _workspace;
    private readonly PassRunner _passes;
    private readonly Executor _norm;
    private readonly Executor _update;
    private readonly Value _hyper;
    private readonly Value _scale;

    /// <summary>Makes a trainer and reserves gradients and optimizer state.</summary>
    /// <param name="model">What is trained.</param>
    /// <param name="modules">Which parts of it.</param>
    /// <param name="options">The optimizer.</param>
    /// <param name="microBatchTokens">Samples are run together up to so many tokens; their gradients add up.</param>
    /// <param name="recompute">Whether layers are recomputed in the backward pass, which needs less memory and more time.</param>
    public ModelTrainer(VisionLanguageModel model, TrainableModules modules, OptimizerOptions? options = null, int microBatchTokens = 8192, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.IsQuantized)
            throw new ArgumentException("The model's weights were rounded to int8, which serves inference only. Train it with float32 or bfloat16 parameters.", nameof(model));
        _model = model;
        _options = options ?? new OptimizerOptions();
        Modules = modules;
        _trained = [.. model.Parameters.All.Where(parameter => modules.Includes(parameter)).Select(parameter => new TrainedParameter(parameter))];
        if (_trained.Length == 0)
            throw new ArgumentException("Nothing to train: choose at least one module.", nameof(modules));
        _workspace = new Workspace(model.Device);
        _passes = new PassRunner(model, _trained, _workspace, microBatchTokens, recompute);
        foreach (PersistentTensor tensor in _trained.SelectMany(trained => trained.Tensors))
            model.Device.Bind(tensor);
        CopyMasters();

        var norm = new Graph();
        IReadOnlyList<Value> norms = norm.AddNode(new GradientNorm(_options.MaximumGradientNorm), [.. _trained.Select(trained => norm.Persistent(trained.Gradient))]);
        norm.Output("norm", norms[0]);
        norm.Output("scale", norms[1]);
        _norm = new Executor(Planner.Plan(norm, model.Device), _workspace);

        var update = new Graph();
        _hyper = update.Input("hyper", TensorType.Float32(4));
        _scale = update.Input("scale", TensorType.Float32(1));
        var adamW = new AdamW(_options.Beta1, _options.Beta2, _options.Epsilon);
        foreach (TrainedParameter trained in _trained)
        {
            Value gradient = update.Persistent(trained.Gradient);
            List<Value> inputs = [update.Persistent(trained.Parameter), gradient, update.Persistent(trained.FirstMoment), update.Persistent(trained.SecondMoment), _hyper, _scale];
            if (trained.Master is not null)
                inputs.Add(update.Persistent(trained.Master));
            update.AddNode(trained.Master is null ? adamW : adamW with { HasMaster = true }, [.. inputs]);
            update.AddNode(new Clear(), gradient);
        }

        _update = new Executor(Planner.Plan(update, model.Device), _workspace);
    }

    /// <summary>What is trained.</summary>
    internal VisionLanguageModel Model => _model;

    /// <summary>Which parts of the model are trained.</summary>
    public TrainableModules Modules { get; }

    /// <summary>The optimizer steps taken so far.</summary>
    public int StepCount { get; set; }

    /// <summary>The gradients added up since the last step, one for each trained parameter: name.gradient.</summary>
    public IEnumerable<(PersistentTensor Parameter, PersistentTensor Gradient)> Gradients => _trained.Select(trained => (trained.Parameter, trained.Gradient));

    /// <summary>What must be saved beside the parameters to resume: moments, and float32 masters of bfloat16 parameters.</summary>
    public IEnumerable<PersistentTensor> OptimizerState => _trained.SelectMany(trained => trained.State);

    /// <summary>Runs samples forward and backward and adds the gradients of the objective to those that are there.</summary>
    /// <param name="samples">At least one.</param>
    /// <param name="objective">What to minimise: the sum over all samples' tokens, weighted.</param>
    /// <param name="cancellationToken">Checked between ops; <see cref="ClearGradients"/> before going on after a cancellation.</param>
    /// <exception cref="TrainingDivergedException">The objective is not finite.</exception>
    public BatchResult AccumulateGradients(IReadOnlyList<TrainingSample> samples, Objective objective, CancellationToken cancellationToken = default) =>
        _passes.Run(samples, objective, backward: true, StepCount + 1, cancellationToken);

    /// <summary>Runs samples forward only: the objective, log-probabilities and entropies.</summary>
    public BatchResult Evaluate(IReadOnlyList<TrainingSample> samples, Objective objective, CancellationToken cancellationToken = default) =>
        _passes.Run(samples, objective, backward: false, StepCount + 1, cancellationToken);

    /// <summary>Applies the gradients and clears them.</summary>
    /// <param name="learningRate">The step's learning rate.</param>
    /// <returns>The global norm of the gradients before clipping.</returns>
    /// <exception cref="TrainingDivergedException">A gradient is not finite: nothing was changed, the gradients were cleared.</exception>
    public float Step(float learningRate)
    {
        _norm.Run();
        float norm = _norm.Read<float>(_norm.Plan.Graph.OutputNamed("norm"))[0];
        float[] scale = _norm.Read<float>(_norm.Plan.Graph.OutputNamed("scale"));
        if (!float.IsFinite(norm))
        {
            string culprit = _trained.FirstOrDefault(trained => PersistentTensors.Read(_model.Device, trained.Gradient).Any(value => !float.IsFinite(value)))?.Parameter.Name ?? "their sum of squares";
            ClearGradients();
            throw new TrainingDivergedException($"Optimizer step {StepCount + 1}: the gradient of '{culprit}' is not finite. The parameters were left as they were; resume from the last checkpoint with a lower learning rate.");
        }

        int step = StepCount + 1;
        _update.Write<float>(_hyper, [learningRate, _options.WeightDecay, Correction(_options.Beta1, step), Correction(_options.Beta2, step)]);
        _update.Write<float>(_scale, scale);
        _update.Run();
        StepCount = step;
        return norm;
    }

    /// <summary>Forgets the gradients added up so far.</summary>
    public void ClearGradients()
    {
        foreach (TrainedParameter trained in _trained)
            _model.Device.Clear(trained.Gradient.Tensor);
    }

    /// <summary>Forgets the optimizer's moments and starts counting steps anew, with the parameters as they are.</summary>
    public void ResetOptimizer()
    {
        foreach (TrainedParameter trained in _trained)
        {
            _model.Device.Clear(trained.FirstMoment.Tensor);
            _model.Device.Clear(trained.SecondMoment.Tensor);
        }

        CopyMasters();
        ClearGradients();
        StepCount = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PersistentTensor tensor in _trained.SelectMany(trained => trained.Tensors))
            tensor.Tensor.Memory.Dispose();
        _workspace.Dispose();
    }

    /// <summary>1 − βᵗ for the decimal that β was written as: 0.999, not the float32 nearest to it.</summary>
    private static float Correction(float beta, int step) => (float)(1 - Math.Pow((double)(decimal)beta, step));

    private void CopyMasters()
    {
        foreach (TrainedParameter trained in _trained)
        {
            if (trained.Master is not null)
                PersistentTensors.Write(_model.Device, trained.Master, PersistentTensors.Read(_model.Device, trained.Parameter));
        }
    }
}

/// <summary>A parameter with everything its training needs.</summary>
internal sealed class TrainedParameter(PersistentTensor parameter)
{
    private readonly TensorType _type = parameter.Type with { DataType = DataType.Float32 };

    public PersistentTensor Parameter { get; } = parameter;

    public PersistentTensor Gradient => field ??= new PersistentTensor(Parameter.Name + ".gradient", _type);

    public PersistentTensor FirstMoment => field ??= new PersistentTensor(Parameter.Name + ".first_moment", _type);

    public PersistentTensor SecondMoment => field ??= new PersistentTensor(Parameter.Name + ".second_moment", _type);

    /// <summary>The float32 copy that a bfloat16 parameter is rounded from; null for float32 parameters.</summary>
    public PersistentTensor? Master => Parameter.Type.DataType == DataType.Float32 ? null : field ??= new PersistentTensor(Parameter.Name + ".master", _type);

    public IEnumerable<PersistentTensor> State => Master is null ? [FirstMoment, SecondMoment] : [FirstMoment, SecondMoment, Master];

    public IEnumerable<PersistentTensor> Tensors => State.Prepend(Gradient);
}
