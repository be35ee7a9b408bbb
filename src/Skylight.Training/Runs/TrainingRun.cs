using System.Diagnostics;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Hub;
using Skylight.Images;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Entropy;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>
/// One recipe from its model to its result: steps, evaluations, checkpoints, logs and the report, in a folder.
/// Everything random follows from seed and step, and what is written follows the saved state, so that a run that was
/// stopped or killed and goes on is the same run: weights, optimizer and samples byte for byte.
/// </summary>
/// <example>
/// <code>
/// Recipe recipe = RecipeFile.Load("recipe.yaml", ["steps=100"]);
/// await using TrainingRun run = await TrainingRun.OpenAsync(recipe, recipe.Model!, "run", new TrainingRunOptions(new
/// CpuDevice())); RunResult result = await run.RunAsync();
/// </code>
/// </example>
public sealed class TrainingRun : IAsyncDisposable
{
    private readonly Recipe _recipe;
    private readonly RunFolder _folder;
    private readonly RunState _state;
    private readonly ChatModel _chat;
    private readonly ModelTrainer _trainer;
    private readonly ExampleFeed _feed;
    private readonly Dictionary<string, DataSettings> _settingsOf;
    private readonly RunPrompts _prompts;
    private readonly RunEvaluation? _evaluation;
    private readonly ITrainingStep _method;
    private readonly RewardSet? _rewards;
    private readonly BadRows _badRows;
    private readonly List<IDisposable> _owned;
    private readonly IRunObserver? _observer;
    private readonly int _steps;
    private readonly LearningRateSchedule _schedule;

    private TrainingRun(
        Recipe recipe, RunFolder folder, RunState state, ChatModel chat, RunPrompts prompts, ExampleSchedule schedule,
        Dictionary<string, DataSettings> settingsOf, RunEvaluation? evaluation, RewardSet? rewards, BadRows badRows,
        List<IDisposable> owned, IRunObserver? observer)
    {
        (_recipe, _folder, _state, _chat, _prompts, _evaluation, _rewards, _badRows, _owned, _observer) = (recipe,
            folder, state, chat, prompts, evaluation, rewards, badRows, owned, observer);
        _settingsOf = settingsOf;
        _steps = StepsOf(recipe, schedule.Count);
        int warmup = (int)Math.Round(recipe.Schedule.Warmup < 1 ? recipe.Schedule.Warmup * _steps : recipe.Schedule.Warmup);
        // A factor of every module's own rate.
        _schedule = new LearningRateSchedule(1, _steps, warmup, recipe.Schedule.Decay, (float)recipe.Schedule.FinalFraction);
        _feed = new ExampleFeed(schedule, badRows, IsWanted) { Next = state.Examples };
        _trainer = new ModelTrainer(chat.Model, recipe.Modules, recipe.Optimizer.AdamW,
            recipe.Optimizer.MicroBatchTokens, recipe.Optimizer.Recompute);
        int[] stopTokens = [.. chat.Tokenizer.StopTokenIds().Union(chat.Model.Configuration.StopTokenIds)
            .Where(token => (uint)token < (uint)chat.Model.Configuration.Language.VocabularySize)];
        ModelScorer? reference = null;
        if (recipe.Method == TrainingMethod.Grpo && recipe.Grpo.HasReference)
        {
            // On the same device, of which the chat disposes.
            VisionLanguageModel start = ModelCheckpoint.Load(state.Model, chat.Model.Device, chat.Model.ParameterType,
                chat.Model.Configuration.ImageTokenId);
            reference = new ModelScorer(start, recipe.Optimizer.MicroBatchTokens);
            owned.Add(reference);
            owned.Add(start);
        }

        _method = recipe.Method switch
        {
            TrainingMethod.Supervised => new SupervisedStep(),
            TrainingMethod.Rejection => new RejectionStep(stopTokens),
            _ => new GrpoStep(stopTokens, new CriticalTokens(chat.Tokenizer), reference, state),
        };
    }

    /// <summary>The number of steps that a recipe takes.</summary>
    internal static int StepsOf(Recipe recipe, long examples) =>
        recipe.Schedule.Steps ?? (int)Math.Min(int.MaxValue,
            Math.Max(1, Math.Ceiling(recipe.Schedule.Epochs!.Value * examples / recipe.Schedule.Batch)));

    /// <summary>Whether a folder holds a run that can go on, or has ended.</summary>
    public static bool IsIn(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return RunFolder.IsRun(folder);
    }

    /// <summary>Opens model, data and folder; everything that can be wrong with them is found here.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">The folder of the model to begin with, or its repository on the hub.</param>
    /// <param name="folder">The folder of the run.</param>
    /// <param name="options">Device, rewards, whether to resume.</param>
    /// <param name="cancellationToken">Stops the loading.</param>
    /// <exception cref="RecipeException">The recipe does not fit the model, the data or the run that is in the
    /// folder.</exception>
    /// <exception cref="HubException">The model's repository cannot be had.</exception>
    /// <exception cref="CheckpointException">The model or the saved state cannot be read.</exception>
    /// <exception cref="IOException">The folder cannot be written, or another run is using it.</exception>
    public static async Task<TrainingRun> OpenAsync(Recipe recipe, string model, string folder,
        TrainingRunOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(options);
        var owned = new List<IDisposable>();
        ChatModel? chat = null;
        RewardSet? rewards = null;
        try
        {
            // Model and data first: what is wrong with them leaves no folder behind. A repository's folder is that of
            // one commit, with which the run also goes on.
            model = await StartingModel.FolderAsync(model, ModelParts.Checkpoint, options.Hub, cancellationToken)
                .ConfigureAwait(false);
            (RunPrompts prompts, ITokenizer tokenizer) = PromptsOf(recipe, model, options.ImageDecoders, cancellationToken);
            (ExampleSchedule schedule, Dictionary<string, DataSettings> settingsOf) = await DataOfAsync(recipe, owned,
                cancellationToken).ConfigureAwait(false);
            RunEvaluation? evaluation = recipe.Evaluation is null ? null
                : await RunEvaluation.OpenAsync(recipe, prompts, owned, cancellationToken).ConfigureAwait(false);
            rewards = RewardsOf(recipe, RewardContextOf(options), options.LoadReward);
            RunFolder run = RunFolder.Open(folder, recipe, model, options.Resume);
            owned.Add(run);
            CheckRows(run.State, schedule.Count, folder);
            var badRows = new BadRows(recipe.BadRows, Path.Combine(folder, RunFolder.BadRowsName), run.State.BadRowsLength);
            owned.Add(badRows);
            int? cache = RunMemory.CacheTokens(recipe, evaluation?.Answers == true);
            chat = await ChatModel.LoadAsync(
                run.State.Model,
                new ChatModelOptions
                {
                    Device = options.Device,
                    // Numbers, whatever form the checkpoint has: codes cannot be trained.
                    ParameterType = RunMemory.ParameterType(run.State.Model, options.Device),
                    Tokenizer = tokenizer,
                    Template = prompts.Template,
                    CacheTokens = cache,
                    ImageDecoders = options.ImageDecoders,
                },
                progress: null, cancellationToken).ConfigureAwait(false);
            var opened = new TrainingRun(recipe, run, run.State, chat, prompts, schedule, settingsOf, evaluation,
                rewards, badRows, owned, options.Observer);
            opened.Restore();
            if (rewards is not null)
                await rewards.OpenAsync(cancellationToken).ConfigureAwait(false);
            return opened;
        }
        catch
        {
            foreach (IDisposable disposable in Enumerable.Reverse(owned))
                disposable.Dispose();
            if (rewards is not null)
                await rewards.DisposeAsync().ConfigureAwait(false);
            if (chat is not null)
                await chat.DisposeAsync().ConfigureAwait(false);
            else
                options.Device.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Finds what <see cref="OpenAsync"/> would find wrong, without a device, weights or anything written: of recipes
    /// that run in order the last may be hours away.
    /// </summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">The folder of a model of the shape that it begins with, or its repository on the hub.</param>
    /// <param name="folder">The folder of the run.</param>
    /// <param name="resume">Whether a run that is in the folder goes on.</param>
    /// <param name="loadReward">Makes a reward of a user's own from an assembly; null where none can be loaded.</param>
    /// <param name="hub">Where a model that is named by its repository comes from; as the environment says if null.</param>
    /// <param name="decoders">What decodes the pictures of the data; <see cref="ImageDecoders.Standard"/> if null.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="RecipeException">The recipe does not fit the model, the data or the run that is in the
    /// folder.</exception>
    /// <exception cref="CheckpointException">The model's configuration or tokenizer cannot be read.</exception>
    /// <exception cref="InvalidDataException">A file of the data or a row of the evaluation data cannot be used.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static async Task CheckAsync(
        Recipe recipe, string model, string folder, bool resume, Func<RewardSettings, IReward>? loadReward = null,
        HubOptions? hub = null, ImageDecoders? decoders = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        RunFolder.Check(folder, recipe, resume);
        var owned = new List<IDisposable>();
        try
        {
            model = await StartingModel.FolderAsync(model, ModelParts.Description, hub, cancellationToken)
                .ConfigureAwait(false);
            (RunPrompts prompts, _) = PromptsOf(recipe, model, decoders ?? ImageDecoders.Standard, cancellationToken);
            await DataOfAsync(recipe, owned, cancellationToken).ConfigureAwait(false);
            if (recipe.Evaluation is not null)
                await RunEvaluation.OpenAsync(recipe, prompts, owned, cancellationToken).ConfigureAwait(false);
            if (RewardsOf(recipe, new RewardContext { Hub = hub }, loadReward) is { } rewards)
                await rewards.DisposeAsync().ConfigureAwait(false);
        }
        finally
        {
            foreach (IDisposable disposable in Enumerable.Reverse(owned))
                disposable.Dispose();
        }
    }

    /// <summary>
    /// Takes the steps that are left, and writes the result. A run that has ended already only says what came of it.
    /// </summary>
    /// <param name="cancellationToken">Stops after the step; the state is saved, and the run can go on.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    /// <exception cref="TrainingDivergedException">Loss or gradients are not finite; the state that was saved before
    /// stays.</exception>
    /// <exception cref="InvalidDataException">There were more bad rows than may be.</exception>
    public async Task<RunResult> RunAsync(CancellationToken cancellationToken = default)
    {
        if (_state.IsComplete)
            return Result();
        long start = Stopwatch.GetTimestamp();
        double before = _state.Seconds;
        _observer?.Begin(_recipe, _state.Step, _steps);
        try
        {
            while (true)
            {
                bool isLast = _state.Step >= _steps || HasStalled();
                await TryAsync(isLast, cancellationToken).ConfigureAwait(false);
                if (isLast || HasStalled())
                    break;
                await StepAsync(cancellationToken).ConfigureAwait(false);
                _state.Seconds = before + Stopwatch.GetElapsedTime(start).TotalSeconds;
                if (_state.Step % _recipe.Checkpoints.SaveState == 0)
                    Save();
            }
        }
        catch (OperationCanceledException)
        {
            _state.Seconds = before + Stopwatch.GetElapsedTime(start).TotalSeconds;
            Save();
            throw;
        }
        catch (Exception exception) when (exception is RewardException or InvalidDataException)
        {
            // A reward or a row: the step has not happened, and all before it holds.
            _state.Seconds = before + Stopwatch.GetElapsedTime(start).TotalSeconds;
            try
            {
                Save();
                _observer?.Note(
                    $"Stopped after step {_state.Step}, which is saved: once the fault is put right, the same " +
                    $"command goes on with --resume; 'bad_rows' and 'reward_faults' may be others then.");
            }
            catch (CheckpointException)
            {
                // The first error is the one to report.
            }

            throw;
        }

        _state.Seconds = before + Stopwatch.GetElapsedTime(start).TotalSeconds;
        Finish();
        RunResult result = Result();
        _observer?.End(result);
        return result;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _trainer.Dispose();
        foreach (IDisposable disposable in Enumerable.Reverse(_owned))
            disposable.Dispose();
        if (_rewards is not null)
            await _rewards.DisposeAsync().ConfigureAwait(false);
        await _chat.DisposeAsync().ConfigureAwait(false);
    }

    internal static ExampleNeeds NeedsOf(Recipe recipe) => recipe.Method == TrainingMethod.Supervised ? ExampleNeeds.Response
        : recipe.Rewards.Any(reward => reward.Name is "answer" or "choice" or "numeric" or "verifier")
        ? ExampleNeeds.Answer : ExampleNeeds.None;

    internal static ExampleOptions OptionsOf(DataSettings data, ExampleNeeds needs) =>
        new() { Needs = needs, Columns = ColumnMap.Parse(data.Columns.Select(pair => $"{pair.Key}={pair.Value}")) };

    private static (RunPrompts Prompts, ITokenizer Tokenizer) PromptsOf(Recipe recipe, string model,
        ImageDecoders decoders, CancellationToken cancellationToken)
    {
        ModelConfiguration configuration = ModelConfiguration.Load(model);
        ITokenizer tokenizer = BytePairTokenizer.Load(model, cancellationToken);
        return (PromptsOf(recipe, configuration, tokenizer, decoders), tokenizer);
    }

    /// <exception cref="RecipeException">The recipe does not fit the model.</exception>
    internal static RunPrompts PromptsOf(Recipe recipe, ModelConfiguration configuration, ITokenizer tokenizer,
        ImageDecoders decoders)
    {
        var prompts = new RunPrompts(recipe.Prompt, configuration, tokenizer, decoders);
        int most = recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens), longest = prompts.Encoder.MaximumTokens;
        // Otherwise every row would be called unusable.
        if (recipe.Method != TrainingMethod.Supervised && most >= longest)
            throw new RecipeException(
                $"The recipe '{recipe.Name}' draws completions of up to {most} tokens ('sampling.max_new_tokens'), " +
                $"but its longest sequence ('prompt.max_sequence', by default the checkpoint's context) has " +
                $"{longest}: none is left for a prompt. Give fewer.");
        return prompts;
    }

    private static async Task<(ExampleSchedule Schedule, Dictionary<string, DataSettings> SettingsOf)> DataOfAsync(
        Recipe recipe, List<IDisposable> owned, CancellationToken cancellationToken)
    {
        var sources = new List<WeightedSource>();
        var settingsOf = new Dictionary<string, DataSettings>(StringComparer.Ordinal);
        foreach (DataSettings data in recipe.Data)
        {
            ExampleFiles files = await ExampleFiles.OpenAsync(data.File, OptionsOf(data, NeedsOf(recipe)),
                cancellationToken).ConfigureAwait(false);
            owned.Add(files);
            sources.Add(new WeightedSource(files, data.Weight > 0 ? data.Weight : null));
            foreach (string path in files.FilePaths)
            {
                if (!settingsOf.TryAdd(path, data))
                    throw new RecipeException(
                        $"The recipe '{recipe.Name}' names the data file '{path}' twice; to draw from it more often " +
                        $"give it a greater weight.");
            }
        }

        return (new ExampleSchedule(sources, recipe.Seed), settingsOf);
    }

    private static void CheckRows(RunState state, long rows, string folder)
    {
        if (state.Rows != 0 && state.Rows != rows && !state.IsComplete)
            throw new RecipeException(
                $"The run in '{folder}' was begun with {state.Rows} rows of data, and now there are {rows}: the " +
                $"order of examples follows from their number. Put back what was there (correct rows in their " +
                $"place), or begin a new run in another folder (--output).");
        state.Rows = rows;
    }

    /// <summary>
    /// A verifier in this process lives beside the model that is trained: another device would have to be asked for.
    /// </summary>
    private static RewardContext RewardContextOf(TrainingRunOptions options) =>
        options.Rewards with
        {
            OpenCheckpoint = new SharedCheckpoints(options.Rewards.OpenCheckpoint ?? ((folder, token) =>
                ChatModel.LoadAsync(folder,
                    new ChatModelOptions { Device = options.Device, LeaveDeviceOpen = true }, progress: null, token))).OpenAsync,
        };

    private static RewardSet? RewardsOf(Recipe recipe, RewardContext context, Func<RewardSettings, IReward>? load)
    {
        if (recipe.Method == TrainingMethod.Supervised)
            return null;

        RewardTerm TermOf(RewardSettings settings)
        {
            try
            {
                IReward reward = settings.Assembly is null ? RewardCatalog.Create(settings.Name, settings.Options, context)
                    : load?.Invoke(settings)
                    ?? throw new RecipeException(
                        $"The reward '{settings.Name}' is in the assembly '{settings.Assembly}', which this program " +
                        $"cannot load.");
                return settings.Weights.Count > 0 ? new RewardTerm(reward, settings.Weights, settings.Label)
                    : new RewardTerm(reward, settings.Weight, settings.Label);
            }
            catch (ArgumentException exception)
            {
                throw new RecipeException(
                    $"The recipe '{recipe.Name}' has a reward that cannot be made: {PlainMessages.Of(exception)}",
                    exception);
            }
        }

        return new RewardSet(
            [.. recipe.Rewards.Select(TermOf)],
            recipe.RewardFaults switch
            {
                FaultPolicy.Zero => RewardFailure.Zero,
                FaultPolicy.Skip => RewardFailure.Skip,
                _ => RewardFailure.Stop,
            });
    }

    private bool IsWanted(TrainingExample example)
    {
        if (!_settingsOf[example.File].Includes(example))
            return false;
        return _recipe.Grpo.DropSolved is not { } most || !_state.Solved.TryGetValue(example.Id, out long[]? tries)
            || tries[1] < most * tries[0];
    }

    private bool HasStalled() => _recipe.Schedule.Patience is { } patience && _state.EvaluationsWithoutGain >= patience;

    private async Task StepAsync(CancellationToken cancellationToken)
    {
        LearningRates rates = _recipe.LearningRate.Times(_schedule.At(_state.Step));
        StepOutcome? outcome = null;
        long start = Stopwatch.GetTimestamp();
        await _chat.BetweenStepsAsync(engine =>
        {
            var context = new StepContext(_recipe, _trainer, engine, _feed, _prompts, _chat.Tokenizer, _rewards,
                _state.Step, rates);
            outcome = _method.TakeAsync(context, _steps, cancellationToken).GetAwaiter().GetResult();
        }, cancellationToken).ConfigureAwait(false);
        _state.Step++;
        _state.OptimizerSteps = _trainer.StepCount;
        _state.SkippedSteps = _trainer.SkippedSteps;
        _state.Examples = _feed.Next;
        _state.RewardFaults += _rewards?.FaultCount - _faultsBefore ?? 0;
        _faultsBefore = _rewards?.FaultCount ?? 0;
        if (_badRows.Count > _state.BadRows)
            _observer?.Note(
                $"{_badRows.Count} of at most {_badRows.Limit} rows cannot be used so far; the last: {_badRows.Rows[^1]}");
        (_state.BadRows, _state.BadRowsLength) = (_badRows.Count, _badRows.Length);
        var figures = new StepFigures(_state.Step, FigureKind.Step,
        [
            .. outcome!.Figures, ("learning_rate", Math.Max(rates.Vision, Math.Max(rates.Connector, rates.Language))),
            ("examples", _state.Examples),
            ("skipped_steps", _state.SkippedSteps), ("reward_faults", _state.RewardFaults), .. VerifierFigures(),
            ("step_seconds", Stopwatch.GetElapsedTime(start).TotalSeconds),
        ]);
        _state.LogProbabilityDifference = Math.Max(_state.LogProbabilityDifference,
            figures["log_probability_difference"] ?? 0);
        _folder.Log.Write(figures);
        foreach (RunSample sample in outcome.Samples)
            _folder.Log.Write(sample);
        _observer?.Report(figures, _steps);
    }

    private long _faultsBefore;

    private VerifierUsage? _usageBefore;

    /// <summary>What verifier models were asked since the last figures.</summary>
    private IReadOnlyList<(string Name, double Value)> VerifierFigures()
    {
        if (_rewards?.VerifierUsage is not { } usage)
            return [];
        VerifierUsage since = usage.Since(_usageBefore);
        _usageBefore = usage;
        return since.Figures;
    }

    /// <summary>Evaluates and saves a checkpoint where one is due.</summary>
    private async Task TryAsync(bool isLast, CancellationToken cancellationToken)
    {
        int step = _state.Step;
        CheckpointSettings checkpoints = _recipe.Checkpoints;
        bool isCheckpoint = checkpoints.Every > 0 && step > 0 && (step % checkpoints.Every == 0 || isLast)
            && !_state.Checkpoints.Contains(step);
        bool isEvaluation = _evaluation is not null && (isLast || isCheckpoint || step % _recipe.Evaluation!.Every == 0)
            && !_state.Evaluations.Exists(point => point.Step == step);
        if (isEvaluation)
        {
            EvaluationPoint point;
            try
            {
                point = await _evaluation!.TryAsync(_chat, _trainer, _rewards, step, cancellationToken)
                    .ConfigureAwait(false);
            }
            catch (ArithmeticException exception)
                when (exception is LogitsNotFiniteException or ImageFeaturesNotFiniteException)
            {
                throw new TrainingDivergedException(
                    $"The evaluation after optimizer step {_state.OptimizerSteps}: the model's numbers are not finite; "
                    + $"{PassRunner.WhereNotFinite(_chat.Model)}. {exception.Message} "
                    + "What was saved before stays; resume from the last checkpoint with a lower learning rate.", exception);
            }

            double lowest = _state.Evaluations.Min(other => other.Loss) ?? double.PositiveInfinity;
            _state.EvaluationsWithoutGain = point.Loss is null || point.Loss < lowest ? 0
                : _state.EvaluationsWithoutGain + 1;
            _state.Evaluations.Add(point);
            StepFigures figures = RunEvaluation.Figures(point);
            figures = figures with { Values = [.. figures.Values, .. VerifierFigures()] };
            _folder.Log.Write(figures);
            _observer?.Report(figures, _steps);
        }

        if (!isCheckpoint)
            return;
        CheckFinite();
        ModelCheckpoint.Save(_chat.Model, _folder.CheckpointPath(step),
            new CheckpointWriterOptions { Like = _state.Model }, CancellationToken.None);
        _state.Checkpoints.Add(step);
        _state.Best = BestOf();
        _folder.Forget(_state, checkpoints.Keep);
        _observer?.Note(
            $"Checkpoint of step {step}{(_state.Best == step ? ", the best so far" : "")}: {_folder.CheckpointPath(step)}");
        // What the state names is there, and what is there it names.
        Save();
    }

    /// <summary>The checkpoint of the best score; of equal ones the earliest. Null before one was tried.</summary>
    private int? BestOf()
    {
        (int Step, double Score)[] scored =
        [
            .. _state.Evaluations.Where(point => _state.Checkpoints.Contains(point.Step))
            .Select(point => (point.Step, Score: _recipe.Checkpoints.Best switch
            {
                CheckpointCriterion.Accuracy => point.Accuracy,
                CheckpointCriterion.Reward => point.Reward,
                CheckpointCriterion.CriticalEntropy => point.CriticalEntropy,
                _ => -point.Loss,
            })).Where(pair => pair.Score is not null).Select(pair => (pair.Step, pair.Score!.Value)),
        ];
        return scored.Length == 0 ? null : scored.MaxBy(pair => pair.Score).Step;
    }

    /// <summary>What is not finite is never put in the place of what was saved before.</summary>
    private void CheckFinite()
    {
        if (PassRunner.FirstNotFinite(_chat.Model) is { } parameter)
        {
            throw new TrainingDivergedException(
                $"Optimizer step {_state.OptimizerSteps}: parameter '{parameter.Name}' is not finite after it. "
                + "It was not saved; resume from the last checkpoint with a lower learning rate.");
        }
    }

    private void Finish()
    {
        CheckFinite();
        if (_recipe.Checkpoints.Result == ResultCheckpoint.Best && _state.Best is null)
            _observer?.Note(
                $"No checkpoint has a {_recipe.Checkpoints.Best}, so none is the best: the result is that of the " +
                $"last step.");
        if (_recipe.Checkpoints.Result == ResultCheckpoint.Best && _state.Best is { } best && best != _state.Step)
            ModelCheckpoint.ReadInto(_chat.Model, _folder.CheckpointPath(best));
        ModelCheckpoint.Save(_chat.Model, _folder.Path, new CheckpointWriterOptions { Like = _state.Model },
            CancellationToken.None);
        _folder.WriteReport(_recipe, _state, _chat.Model, ResultStep());
        _state.IsComplete = true;
        _state.Log = _folder.Log.Lengths;
        // The optimizer's tensors are of no more use.
        _folder.Save(_state, []);
    }

    private int ResultStep() => _recipe.Checkpoints.Result == ResultCheckpoint.Best && _state.Best is { } best ? best
        : _state.Step;

    private RunResult Result()
    {
        EvaluationPoint? result = _state.Evaluations.Find(point => point.Step == ResultStep()),
            first = _state.Evaluations.Find(point => point.Step == 0);
        return new RunResult(
            _recipe.Name, _folder.Path, _state.Step, ResultStep(), result?.Accuracy, first?.Accuracy,
            _recipe.Method == TrainingMethod.Grpo ? _state.LogProbabilityDifference : null, _state.Seconds, _state.BadRows);
    }

    private void Save()
    {
        CheckFinite();
        _state.Log = _folder.Log.Lengths;
        List<TensorToWrite> tensors = [.. _chat.Model.Parameters.All.Concat(_trainer.OptimizerState)
            .Select(tensor => TensorToWrite.Float32(_chat.Model.Device, tensor))];
        if (_method is GrpoStep { KeptGroups.Count: > 0 } grpo)
        {
            using var buffer = new MemoryStream();
            RolloutGroups.Save(buffer, grpo.KeptGroups);
            byte[] bytes = buffer.ToArray();
            tensors.Add(TensorToWrite.UInt8(RunFolder.KeptGroupsName, new Tensors.Shape(bytes.Length), bytes));
        }

        _folder.Save(_state, tensors);
    }

    private void Restore()
    {
        if (_state.Step == 0 || _state.IsComplete)
            return;
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(_folder.StatePath);
        foreach (PersistentTensor tensor in _chat.Model.Parameters.All.Concat(_trainer.OptimizerState))
            checkpoint.ReadInto(_chat.Model.Device, tensor);
        _trainer.StepCount = _state.OptimizerSteps;
        _trainer.SkippedSteps = _state.SkippedSteps;
        if (_method is GrpoStep grpo && checkpoint.Tensors.Contains(RunFolder.KeptGroupsName))
            grpo.KeptGroups = RolloutGroups.Load(
                new MemoryStream(checkpoint.Tensors.Bytes(RunFolder.KeptGroupsName).ToArray()));
    }
}
