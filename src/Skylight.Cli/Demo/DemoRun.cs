using System.Diagnostics;
using System.Runtime.InteropServices;
using Skylight.Checkpoints;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;

namespace Skylight.Cli.Demo;

/// <summary>
/// The paper in miniature: pre-training, cold start, GRPO, connector-only tuning, and GRPO with a frozen connector. All weights,
/// results and counters are saved as it goes; random numbers follow from seed, phase and step, so a resumed run is the same run.
/// </summary>
internal sealed class DemoRun : IDisposable
{
    private const int SaveEvery = 20;
    private const int ExampleCount = 6;
    private const int ValidationAnswers = 4;

    private readonly DemoSettings _settings;
    private readonly string _directory;
    private readonly IDemoDisplay _display;
    private readonly DemoState _state;
    private readonly DigitClassroom _classroom;
    private readonly VisionLanguageModel _model;
    private readonly GenerationEngine _engine;
    private readonly IReadOnlyList<DigitExample> _test;
    private readonly IReadOnlyList<DigitExample> _validation;
    private readonly DemoPhase[] _phases;
    private ModelTrainer? _trainer;
    private GrpoTrainer? _grpo;

    public DemoRun(DemoSettings settings, DigitDataset digits, Device device, string directory, IDemoDisplay display, DemoState state)
    {
        _settings = settings;
        _directory = directory;
        _display = display;
        _state = state;
        CharacterTokenizer tokenizer = DigitVocabulary.CreateTokenizer();
        var task = new DigitTask(digits);
        ModelConfiguration configuration = DemoSettings.Model(
            tokenizer.VocabularySize, tokenizer.TokenId(DigitVocabulary.ImageToken)!.Value, tokenizer.TokenId(DigitVocabulary.EndToken)!.Value, task.Options.Channels);
        _classroom = new DigitClassroom(task, tokenizer, configuration);
        _model = new VisionLanguageModel(configuration, device);
        _model.Initialize(settings.Seed);
        int rollouts = settings.GrpoPrompts * settings.GroupSize;
        _engine = new GenerationEngine(_model, cacheTokens: rollouts * 128);
        _test = task.ProblemSet(settings.TestProblems, DigitSplit.HeldOut, seed: 0);
        _validation = task.ProblemSet(settings.ValidationProblems, DigitSplit.Training, seed: 0x5EED);
        _phases =
        [
            new DemoPhase(PhaseResult.Pretrained, "Pre-training", "captions of pictures; separately, arithmetic in text", settings.Pretraining, TrainableModules.All, null, PretrainingStep),
            new DemoPhase(PhaseResult.ColdStart, "Cold start", $"supervised tuning on {settings.ColdStartTraces} reasoning traces", settings.ColdStart, TrainableModules.All, null, ColdStartStep),
            new DemoPhase(PhaseResult.Grpo, "GRPO", "reward for the final answer only, everything trained", settings.Grpo, TrainableModules.All, null, GrpoStep),
            new DemoPhase(PhaseResult.ConnectorOnly, "Connector only", "supervised tuning of the connector on the model's own correct answers", settings.ConnectorOnly, TrainableModules.Connector, ChosenCheckpoint, ConnectorOnlyStep),
            new DemoPhase(PhaseResult.GrpoConnectorFrozen, "Ablation", "the same GRPO from the cold start, connector frozen", settings.Grpo, TrainableModules.Vision | TrainableModules.Language, () => CheckpointPath(PhaseResult.ColdStart), GrpoStep),
        ];
    }

    private DemoPhase Current => _phases[_state.Phase];

    private ulong Stream => ((ulong)(_state.Phase + 1) << 40) + (ulong)_state.Step;

    /// <summary>
    /// Runs what is left. If it is cancelled, the state after the last whole step is saved; if it diverges, the state that was saved
    /// before stays, because the last steps are what went wrong.
    /// </summary>
    public void Run(CancellationToken cancellationToken)
    {
        while (_state.Phase < _phases.Length)
        {
            cancellationToken.ThrowIfCancellationRequested();
            RunPhase(cancellationToken);
        }
    }

    public DemoResult Result(string command) => new()
    {
        Phases = _state.Results,
        Grpo = _state.Grpo,
        FrozenConnector = _state.Frozen,
        Checkpoints = _state.Checkpoints,
        Examples = [.. Enumerable.Range(0, Math.Min(_state.Before.Count, _state.After.Count)).Select(Example)],
        RolloutTrainMaxAbsLogprobDiff = _state.MaximumLogProbabilityDifference,
        Seconds = _state.Seconds,
        Seed = _settings.Seed,
        Preset = _settings.Preset,
        Device = DeviceOption.Describe(_model.Device),
        Model = $"InternVL3 architecture, {_model.Parameters.ElementCount:N0} parameters: ViT {_model.Configuration.Vision.LayerCount}×{_model.Configuration.Vision.HiddenSize}, language model {_model.Configuration.Language.LayerCount}×{_model.Configuration.Language.HiddenSize}; reads {_state.CaptionAccuracy:P1} of held-out digit pairs after pre-training",
        Machine = $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}",
        Command = command,
    };

    public void Dispose()
    {
        _trainer?.Dispose();
        _engine.Dispose();
        _model.Dispose();
    }

    private void RunPhase(CancellationToken cancellationToken)
    {
        DemoPhase phase = Current;
        long start = Stopwatch.GetTimestamp();
        double secondsBefore = _state.Seconds, phaseSecondsBefore = _state.PhaseSeconds;
        Prepare(phase);
        _display.Begin(phase.Name, phase.Description, phase.Schedule.Steps);
        try
        {
            while (true)
            {
                // Between two steps, and before the first of a resumed run: a step that is done is never done again because its checkpoint was not.
                if (IsCheckpointDue(phase))
                    SaveCheckpoint(_state.Step, cancellationToken);
                if (_state.Step >= phase.Schedule.Steps)
                    break;
                phase.Step(phase.Schedule.At(_state.Step), cancellationToken);
                _state.Step++;
                _state.OptimizerSteps = _trainer!.StepCount;
                Tick();
                if (_state.Step % SaveEvery == 0 && _state.Step < phase.Schedule.Steps)
                    SaveState();
            }

            Finish(phase, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            Tick();
            SaveState();
            throw;
        }

        Tick();
        _state.Results.Add(_pending! with { Seconds = _state.PhaseSeconds });
        _display.End(_state.Results[^1]);
        ModelCheckpoint.Save(_model, CheckpointPath(phase.Key), CancellationToken.None);
        _state.Phase++;
        _state.Step = 0;
        _state.OptimizerSteps = 0;
        _state.PhaseSeconds = 0;
        SaveState();

        void Tick()
        {
            double elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
            _state.Seconds = secondsBefore + elapsed;
            _state.PhaseSeconds = phaseSecondsBefore + elapsed;
        }
    }

    private PhaseResult? _pending;

    /// <summary>Makes the phase's trainer, and restores weights and moments where a saved run left them.</summary>
    private void Prepare(DemoPhase phase)
    {
        _trainer?.Dispose();
        _trainer = null;
        bool fresh = _state.Step == 0;
        if (fresh && phase.StartFrom?.Invoke() is { } checkpoint)
            ModelCheckpoint.ReadInto(_model, checkpoint);
        if (!fresh || (_state.Phase > 0 && phase.StartFrom is null))
            RestoreWeights();
        _trainer = new ModelTrainer(_model, phase.Modules, new OptimizerOptions { Beta2 = 0.95f, WeightDecay = 0.01f, DecaysEveryParameter = true });
        if (!fresh)
            RestoreOptimizer();
        _grpo = new GrpoTrainer(_trainer, _engine, new GrpoOptions { GroupSize = _settings.GroupSize, Sampling = _classroom.Rollouts(_settings) }, _classroom.CriticalTokens, _classroom.Rewards)
        {
            StepCount = (_state.Phase << 16) + _state.Step,
        };
    }

    private void PretrainingStep(float learningRate, CancellationToken cancellationToken)
    {
        var random = new CounterRandom(_settings.Seed, Stream);
        var examples = new List<DigitExample>();
        for (int index = 0; index < _settings.PretrainingCaptions; index++)
            examples.Add(_classroom.Task.Caption(ref random, DigitSplit.Training));
        for (int index = 0; index < _settings.PretrainingProblems; index++)
            examples.Add(_classroom.Task.TextProblem(ref random));
        SupervisedStep(examples, learningRate, cancellationToken);
    }

    private void ColdStartStep(float learningRate, CancellationToken cancellationToken)
    {
        // The same few traces in every epoch: they follow from the seed alone.
        var random = new CounterRandom(_settings.Seed, 0xC01D);
        var traces = new DigitExample[_settings.ColdStartTraces];
        for (int index = 0; index < traces.Length; index++)
            traces[index] = _classroom.Task.ColdStartExample(ref random);
        var order = new CounterRandom(_settings.Seed, Stream);
        order.Shuffle(traces.AsSpan());
        SupervisedStep(traces[..Math.Min(_settings.ColdStartBatch, traces.Length)], learningRate, cancellationToken);
    }

    private void SupervisedStep(IReadOnlyList<DigitExample> examples, float learningRate, CancellationToken cancellationToken)
    {
        BatchResult result = _trainer!.AccumulateGradients(_classroom.Supervised(examples), new CrossEntropyObjective(), cancellationToken);
        _trainer.Step(learningRate);
        _display.Step(_state.Step + 1, $"loss {result.Loss:F3}");
    }

    private void GrpoStep(float learningRate, CancellationToken cancellationToken)
    {
        // The ablation sees the same problems: their stream depends on the step alone.
        var random = new CounterRandom(_settings.Seed, 0x6290_0000 + (ulong)_state.Step);
        GrpoPrompt[] NextPrompts()
        {
            var prompts = new GrpoPrompt[_settings.GrpoPrompts];
            for (int index = 0; index < prompts.Length; index++)
                prompts[index] = _classroom.Problem(_classroom.Task.Problem(ref random, DigitSplit.Training));
            return prompts;
        }

        GrpoMetrics metrics = _grpo!.Step(NextPrompts, learningRate, cancellationToken);
        _state.MaximumLogProbabilityDifference = Math.Max(_state.MaximumLogProbabilityDifference, metrics.RolloutTrainDifference ?? 0);
        double tokensPerSecond = metrics.GeneratedTokens / Math.Max(metrics.RolloutSeconds, 1e-9);
        bool ablation = Current.Key == PhaseResult.GrpoConnectorFrozen;
        (ablation ? _state.Frozen : _state.Grpo).Add(new TrainingStep(
            _state.Step + 1, metrics.Reward, Accuracy(metrics), metrics.Entropy.MeanCriticalEntropy, metrics.Entropy.MeanEntropy, metrics.ResponseLength, tokensPerSecond));
        string critical = metrics.Entropy.MeanCriticalEntropy is { } nats ? $"{nats:F2} ({metrics.Entropy.CriticalCount})" : "–";
        _display.Step(
            _state.Step + 1,
            $"reward {metrics.Reward:F3}  accuracy {Accuracy(metrics):P1}  entropy {metrics.Entropy.MeanEntropy:F3}  critical {critical}  {metrics.ResponseLength:F1} tokens  {tokensPerSecond:N0} tokens/s");
    }

    private static double Accuracy(GrpoMetrics metrics) => metrics.Components.First(component => component.Name == "accuracy").Value;

    private bool IsCheckpointDue(DemoPhase phase) =>
        phase.Key == PhaseResult.Grpo && _state.Step > 0 && _state.Step % _settings.CheckpointEvery == 0 && !_state.Checkpoints.Exists(checkpoint => checkpoint.Step == _state.Step);

    private void SaveCheckpoint(int step, CancellationToken cancellationToken)
    {
        TestResult validation = _classroom.Test(_engine, _validation, _settings.MaxNewTokens, cancellationToken);
        CriticalTokenEntropy entropy = _classroom.MeasureEntropy(_engine, _validation, ValidationAnswers, _classroom.Rollouts(_settings), cancellationToken);
        ModelCheckpoint.Save(_model, GrpoCheckpoint(step), CancellationToken.None);
        _state.Checkpoints.Add(new CheckpointScore(step, entropy.MeanCriticalEntropy, validation.Accuracy, Chosen: false));
    }

    private void ConnectorOnlyStep(float learningRate, CancellationToken cancellationToken)
    {
        var random = new CounterRandom(_settings.Seed, Stream);
        var problems = new List<DigitExample>();
        for (int index = 0; index < _settings.ConnectorOnlyBatch; index++)
            problems.Add(_classroom.Task.Problem(ref random, DigitSplit.Training));
        IReadOnlyList<Completion[]> answers = _engine.Generate(
            [.. problems.Select((problem, index) => new GenerationRequest(_classroom.Prompt(problem), 2, Stream * 1000 + (ulong)index))], _classroom.Rollouts(_settings), cancellationToken);
        var correct = new List<DigitExample>();
        for (int index = 0; index < problems.Count; index++)
        {
            if (answers[index].FirstOrDefault(answer => _classroom.IsRight(problems[index], answer)) is { } answer)
                correct.Add(problems[index] with { Completion = _classroom.Text(answer) });
        }

        // After a few steps a model solves hardly anything, and the tiny run is there to take every kind of step.
        if (correct.Count == 0 && _settings.Preset == DemoPreset.Tiny)
            correct.Add(_classroom.Task.ColdStartExample(ref random));
        if (correct.Count > 0)
            SupervisedStep(correct, learningRate, cancellationToken);
    }

    private void Finish(DemoPhase phase, CancellationToken cancellationToken)
    {
        if (phase.Key == PhaseResult.Grpo && _state.Checkpoints.Count > 0)
        {
            CheckpointScore best = _state.Checkpoints.MaxBy(checkpoint => checkpoint.Accuracy)!;
            for (int index = 0; index < _state.Checkpoints.Count; index++)
                _state.Checkpoints[index] = _state.Checkpoints[index] with { Chosen = _state.Checkpoints[index].Step == best.Step };
        }

        TestResult test = _classroom.Test(_engine, _test, _settings.MaxNewTokens, cancellationToken);
        if (phase.Key == PhaseResult.Pretrained)
            _state.CaptionAccuracy = _classroom.TestCaptions(_engine, _settings.TestProblems, cancellationToken);
        if (phase.Key == PhaseResult.ColdStart)
            _state.Before = [.. test.Answers.Take(ExampleCount)];
        if (phase.Key == PhaseResult.Grpo)
            _state.After = [.. test.Answers.Take(ExampleCount)];
        _pending = new PhaseResult(phase.Key, phase.Name, phase.Description, test.Correct, test.Count, 0);
    }

    private ExampleProblem Example(int index)
    {
        DigitExample problem = _test[index];
        return new ExampleProblem(
            problem.Picture!.Pixels, DigitPicture.Width, DigitPicture.Height, problem.Question!.Value.Describe(), problem.Answer, _state.Before[index], _state.After[index]);
    }

    private string ChosenCheckpoint() => _state.Checkpoints.Find(checkpoint => checkpoint.Chosen) is { } chosen ? GrpoCheckpoint(chosen.Step) : CheckpointPath(PhaseResult.Grpo);

    private string GrpoCheckpoint(int step) => CheckpointPath($"grpo-{step:D4}");

    private string CheckpointPath(string name) => Path.Combine(_directory, "checkpoints", name);

    private void SaveState()
    {
        IEnumerable<PersistentTensor> tensors = _model.Parameters.All.Concat(_trainer?.OptimizerState ?? []);
        TrainingCheckpoint.Save(
            StatePath(_directory), [.. tensors.Select(tensor => TensorToWrite.Float32(_model.Device, tensor))], _state.ToJson());
    }

    /// <summary>Where the state of a run lies.</summary>
    public static string StatePath(string directory) => Path.Combine(directory, "state");

    private void RestoreWeights() => Restore(_model.Parameters.All);

    private void RestoreOptimizer()
    {
        Restore([.. _trainer!.OptimizerState]);
        _trainer.StepCount = _state.OptimizerSteps;
    }

    private void Restore(IReadOnlyList<PersistentTensor> tensors)
    {
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(StatePath(_directory));
        foreach (PersistentTensor tensor in tensors)
            checkpoint.ReadInto(_model.Device, tensor);
    }
}

/// <summary>A phase of the demo.</summary>
/// <param name="Key">Its key in JSON.</param>
/// <param name="Name">For people.</param>
/// <param name="Description">What is trained on what.</param>
/// <param name="Schedule">Steps and learning rates.</param>
/// <param name="Modules">What is trained.</param>
/// <param name="StartFrom">The checkpoint it starts from; null for where the phase before ended.</param>
/// <param name="Step">Takes one step.</param>
internal sealed record DemoPhase(
    string Key, string Name, string Description, LearningRateSchedule Schedule, TrainableModules Modules, Func<string>? StartFrom, Action<float, CancellationToken> Step);
