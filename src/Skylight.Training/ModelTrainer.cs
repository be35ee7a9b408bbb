using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>
/// Trains a model in place: forward and backward passes over samples add up gradients, a step applies them. Supervised
/// tuning and GRPO both stand on it. Inference sees the new weights at once, for there is one copy. Weights that
/// somebody else writes between two steps are what the next step goes on from; moments stay as they are until
/// <see cref="ResetOptimizer"/>.
/// </summary>
/// <example>
/// <code>
/// using var trainer = new ModelTrainer(model, TrainableModules.Connector);
/// double loss = trainer.AccumulateGradients(SampleBuilder.WithMeanWeights(samples), new CrossEntropyObjective()).Loss;
/// trainer.Step(new LearningRates(Vision: 0, Connector: 1e-4f, Language: 0));
/// </code>
/// </example>
public sealed class ModelTrainer : IDisposable
{
    private readonly VisionLanguageModel _model;
    private readonly OptimizerOptions _options;
    private readonly TrainedParameter[] _trained;
    private readonly Workspace _workspace;
    private readonly PassRunner _passes;
    private readonly Executor _norm;
    private readonly Executor _update;
    private readonly Dictionary<(TrainableModules Module, bool Decays), Value> _hyper = [];
    private readonly Value _scale;
    // Why the gradients that are there cannot be used; null while they can.
    private string? _spoilt;

    /// <summary>Makes a trainer and reserves gradients and optimizer state.</summary>
    /// <param name="model">What is trained.</param>
    /// <param name="modules">Which parts of it.</param>
    /// <param name="options">The optimizer.</param>
    /// <param name="microBatchTokens">Samples are run together up to so many tokens; their gradients add up. Where the
    /// device has no memory for as many, half of them are run, and so on.</param>
    /// <param name="recompute">Whether layers are recomputed in the backward pass, which needs less memory and more
    /// time.</param>
    public ModelTrainer(VisionLanguageModel model, TrainableModules modules, OptimizerOptions? options = null,
        int microBatchTokens = 8192, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.IsQuantized)
            throw new ArgumentException(
                "The model's weights are quantised, which serves inference only. Train it with float32 or " +
                "bfloat16 parameters.", nameof(model));
        _model = model;
        _options = (options ?? new OptimizerOptions()).Validate();
        Modules = modules;
        _trained = [.. model.Parameters.All.Where(parameter => modules.Includes(parameter))
            .Select(parameter => new TrainedParameter(parameter))];
        if (_trained.Length == 0)
            throw new ArgumentException("Nothing to train: choose at least one module.", nameof(modules));
        _workspace = new Workspace(model.Device);
        _passes = new PassRunner(model, _trained, _workspace, microBatchTokens, recompute);
        foreach (PersistentTensor tensor in _trained.SelectMany(trained => trained.Tensors))
            model.Device.Bind(tensor);
        CopyMasters();

        var norm = new Graph();
        IReadOnlyList<Value> norms = norm.AddNode(new GradientNorm(_options.MaximumGradientNorm),
            [.. _trained.Select(trained => norm.Persistent(trained.Gradient))]);
        norm.Output("norm", norms[0]);
        norm.Output("scale", norms[1]);
        _norm = new Executor(Planner.Plan(norm, model.Device), _workspace);

        var update = new Graph();
        _scale = update.Input("scale", TensorType.Float32(1));
        var adamW = new AdamW(_options.Beta1, _options.Beta2, _options.Epsilon);
        foreach (TrainedParameter trained in _trained)
        {
            (TrainableModules Module, bool Decays) group = (TrainableModuleExtensions.ModuleOf(trained.Parameter),
                _options.Decays(trained.Parameter));
            if (!_hyper.TryGetValue(group, out Value? hyper))
                _hyper.Add(group, hyper = update.Input($"hyper.{group.Module}.{(group.Decays ? "decay" : "no_decay")}",
                    TensorType.Float32(4)));
            Value gradient = update.Persistent(trained.Gradient);
            List<Value> inputs = [update.Persistent(trained.Parameter), gradient,
                update.Persistent(trained.FirstMoment), update.Persistent(trained.SecondMoment), hyper, _scale];
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

    /// <summary>The steps that were not taken because they were not finite: with <see cref="NotFiniteStep.Skip"/>.</summary>
    public int SkippedSteps { get; set; }

    /// <summary>Names step and tensor of the step that was skipped last; null if none was.</summary>
    public string? LastSkippedStep { get; private set; }

    /// <summary>
    /// How often samples were run in smaller micro-batches than asked for, because the device had no memory for them
    /// together.
    /// </summary>
    public int SplitMicroBatches => _passes.Splits;

    /// <summary>
    /// Called within <see cref="Step"/>, when the gradients of a step are complete and the parameters still as they
    /// were: to look at <see cref="Gradients"/>, or to change them. What it throws ends the step: the gradients are
    /// dropped, the parameters stay as they were.
    /// </summary>
    public Action<ModelTrainer>? BeforeStep { get; set; }

    /// <summary>The gradients added up since the last step, one for each trained parameter: name.gradient.</summary>
    public IEnumerable<(PersistentTensor Parameter, PersistentTensor Gradient)> Gradients =>
        _trained.Select(trained => (trained.Parameter, trained.Gradient));

    /// <summary>
    /// What must be saved beside the parameters to resume: moments, and float32 masters of bfloat16 parameters.
    /// </summary>
    public IEnumerable<PersistentTensor> OptimizerState => _trained.SelectMany(trained => trained.State);

    /// <summary>
    /// Runs samples forward and backward and adds the gradients of the objective to those that are there. What it
    /// throws once samples run (a cancellation, a device without memory, a loss that is not finite) has dropped all
    /// gradients added since the last step: the step begins anew.
    /// </summary>
    /// <param name="samples">At least one.</param>
    /// <param name="objective">What to minimise: the sum over all samples' tokens, weighted.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    /// <exception cref="ArgumentException">A sample contradicts itself or the objective; the gradients are as they
    /// were.</exception>
    /// <exception cref="TrainingDivergedException">The objective is not finite, and such steps are not to be
    /// skipped.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The device has no memory for one sample alone; names it, with the
    /// numbers.</exception>
    public BatchResult AccumulateGradients(IReadOnlyList<TrainingSample> samples, Objective objective,
        CancellationToken cancellationToken = default)
    {
        PassRunner.Validate(samples, objective);
        try
        {
            (BatchResult result, TrainingDivergedException? fault) = _passes.Run(samples, objective, backward: true,
                StepCount + 1, cancellationToken);
            if (fault is not null && _options.NotFinite == NotFiniteStep.Stop)
                throw fault;
            _spoilt ??= fault?.Message;
            return result;
        }
        catch
        {
            DropGradients();
            throw;
        }
    }

    /// <summary>Runs samples forward only: the objective, log-probabilities and entropies.</summary>
    /// <inheritdoc cref="AccumulateGradients"/>
    public BatchResult Evaluate(IReadOnlyList<TrainingSample> samples, Objective objective,
        CancellationToken cancellationToken = default)
    {
        PassRunner.Validate(samples, objective);
        (BatchResult result, TrainingDivergedException? fault) = _passes.Run(samples, objective, backward: false,
            StepCount + 1, cancellationToken);
        return fault is null ? result : throw fault;
    }

    /// <summary>Applies the gradients and clears them.</summary>
    /// <param name="learningRates">The step's learning rates; one number for all modules.</param>
    /// <returns>The global norm of the gradients before clipping; not finite where the step was skipped.</returns>
    /// <exception cref="TrainingDivergedException">A gradient is not finite, and such steps are not to be skipped:
    /// nothing was changed, the gradients were cleared.</exception>
    public float Step(LearningRates learningRates)
    {
        learningRates.Validate();
        int step = StepCount + 1;
        if (_spoilt is not null)
            return Skip(_spoilt, float.NaN);
        CallBeforeStep();
        _norm.Run();
        float norm = _norm.Read<float>(_norm.Plan.Graph.OutputNamed("norm"))[0];
        float[] scale = _norm.Read<float>(_norm.Plan.Graph.OutputNamed("scale"));
        if (!float.IsFinite(norm))
        {
            string culprit = _trained.FirstOrDefault(
                trained => !PersistentTensors.AreFinite(_model.Device, trained.Gradient))?.Parameter.Name is { } name
                ? $"the gradient of '{name}' is not finite"
                : "the gradients' sum of squares is not finite";
            ClearGradients();
            string message = $"Optimizer step {step}: {culprit}. The parameters were left as they were";
            return _options.NotFinite == NotFiniteStep.Skip
                ? Skip(message + ".", norm)
                : throw new TrainingDivergedException(
                    message + "; resume from the last checkpoint with a lower learning rate.");
        }

        foreach (TrainedParameter trained in _trained)
            trained.FollowParameter(_model.Device);
        foreach (((TrainableModules module, bool decays), Value hyper) in _hyper)
            _update.Write<float>(hyper,
                [learningRates.Of(module), decays ? _options.WeightDecay : 0, Correction(_options.Beta1, step),
                    Correction(_options.Beta2, step)]);
        _update.Write<float>(_scale, scale);
        _update.Run();
        foreach (TrainedParameter trained in _trained)
            trained.MarkFollowed();
        StepCount = step;
        return norm;
    }

    /// <summary>Forgets the gradients added up so far.</summary>
    public void ClearGradients()
    {
        foreach (TrainedParameter trained in _trained)
            _model.Device.Clear(trained.Gradient.Tensor);
        _spoilt = null;
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

    private float Skip(string why, float norm)
    {
        ClearGradients();
        SkippedSteps++;
        LastSkippedStep = why;
        return norm;
    }

    /// <summary>After a fault, which is what is to be seen: a device that is lost cannot clear anything either.</summary>
    private void DropGradients()
    {
        try
        {
            ClearGradients();
        }
        catch (Exception exception)
        {
            _spoilt = $"Optimizer step {StepCount + 1}: the gradients of an unfinished step could not be cleared: " +
                $"{exception.Message}";
        }
    }

    private void CallBeforeStep()
    {
        try
        {
            BeforeStep?.Invoke(this);
        }
        catch
        {
            DropGradients();
            throw;
        }
    }

    private void CopyMasters()
    {
        foreach (TrainedParameter trained in _trained)
        {
            if (trained.Master is null)
                continue;
            _model.Device.Clear(trained.Master.Tensor);
            PersistentTensors.FollowParameter(_model.Device, trained.Parameter, trained.Master);
            trained.MarkFollowed();
        }
    }
}

/// <summary>A parameter with everything its training needs.</summary>
internal sealed class TrainedParameter(PersistentTensor parameter)
{
    private readonly TensorType _type = parameter.Type with { DataType = DataType.Float32 };
    private long _followed;

    public PersistentTensor Parameter { get; } = parameter;

    public PersistentTensor Gradient => field ??= new PersistentTensor(Parameter.Name + ".gradient", _type);

    public PersistentTensor FirstMoment => field ??= new PersistentTensor(Parameter.Name + ".first_moment", _type);

    public PersistentTensor SecondMoment => field ??= new PersistentTensor(Parameter.Name + ".second_moment", _type);

    /// <summary>The float32 copy that a bfloat16 parameter is rounded from; null for float32 parameters.</summary>
    public PersistentTensor? Master => Parameter.Type.DataType == DataType.Float32 ? null
        : field ??= new PersistentTensor(Parameter.Name + ".master", _type);

    /// <summary>
    /// A parameter that somebody else has written since the last step is right, and its master stale: but where the
    /// master still rounds to it, it keeps its further digits, as after a resume.
    /// </summary>
    public void FollowParameter(Device device)
    {
        if (Master is not null && Parameter.Version != _followed)
            PersistentTensors.FollowParameter(device, Parameter, Master);
    }

    /// <summary>Says that the master is as new as the parameter.</summary>
    public void MarkFollowed() => _followed = Parameter.Version;

    public IEnumerable<PersistentTensor> State => Master is null ? [FirstMoment, SecondMoment]
        : [FirstMoment, SecondMoment, Master];

    public IEnumerable<PersistentTensor> Tensors => State.Prepend(Gradient);
}
