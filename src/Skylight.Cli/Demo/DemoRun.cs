using System.Runtime.InteropServices;
using Skylight.Checkpoints;
using Skylight.Cli.Demo.Report;
using Skylight.Cli.Train;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Training;
using Skylight.Training.Runs;

namespace Skylight.Cli.Demo;

/// <summary>
/// The paper in miniature: pre-training, cold start, GRPO, connector-only tuning, and GRPO with a frozen connector, run
/// as any recipes are. After each the held-out problems are answered. What has been done already is passed over.
/// </summary>
/// <param name="folder">Where everything lies.</param>
/// <param name="openDevice">Opens the device anew for every run and test.</param>
/// <param name="observer">Is told how the runs go.</param>
/// <param name="tested">Is told what a test gave; null for nobody.</param>
internal sealed class DemoRun(DemoFolder folder, Func<Device> openDevice, IRunObserver observer,
    Action<PhaseResult>? tested = null)
{
    private const int MostLogBytes = 1 << 30;

    /// <summary>Recipe keys that are set beside those of the preset: a test's way to a shorter run.</summary>
    public IReadOnlyList<string> Settings { get; init; } = [];

    /// <summary>Does what is left.</summary>
    /// <param name="device">The device in words.</param>
    /// <param name="command">The command that repeats the run.</param>
    /// <param name="cancellationToken">Stops after the step; what was done is kept.</param>
    public async Task<DemoResult> RunAsync(string device, string command, CancellationToken cancellationToken)
    {
        folder.Prepare(cancellationToken);
        DemoTest test = await DemoTest.OpenAsync(folder.Data, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<Recipe> recipes = DemoPhases.Recipes(folder, Settings);
        var phases = new List<PhaseResult>();
        IReadOnlyList<RunResult> runs = await TrainCommand.RunAllAsync(recipes, folder.Runs, resume: true, openDevice,
            observer, cancellationToken, async run =>
        {
            DemoPhase phase = DemoPhases.All[phases.Count];
            bool isNew = folder.State.Tests.Count == phases.Count;
            if (isNew)
                folder.Add(await test.RunAsync(phase.Key, run.Folder, DemoPhases.MaximumNewTokens(folder.State.Preset),
                    openDevice(), cancellationToken).ConfigureAwait(false));
            PhaseTest answers = folder.State.Tests[phases.Count];
            phases.Add(new PhaseResult(phase.Key, phase.Name, recipes[phases.Count].Description, answers.Correct,
                answers.Count, run.Seconds + answers.Seconds)
            {
                Report = $"{DemoFolder.RunsName}/{phase.Recipe}/{DemoFolder.ReportName}",
            });
            if (isNew)
                tested?.Invoke(phases[^1]);
        }).ConfigureAwait(false);

        RunResult grpo = runs.Single(run => run.Name == DemoPhases.Grpo);
        IReadOnlyList<StepFigures> figures = Figures(grpo);
        ModelConfiguration model = ModelConfiguration.Load(folder.Model);
        return new DemoResult
        {
            Phases = phases,
            Grpo = Steps(figures),
            FrozenConnector = Steps(Figures(runs.Single(run => run.Name == DemoPhases.FrozenConnector))),
            Checkpoints =
            [
                .. figures.Where(point => point.Kind == FigureKind.Evaluation && point.Step > 0)
                    .Select(point => new CheckpointScore(point.Step, point["critical_entropy"],
                        point["accuracy"] ?? double.NaN, point.Step == grpo.ResultStep)),
            ],
            Examples = await test.ExamplesAsync(ExamplesOf(PhaseResult.ColdStart), ExamplesOf(PhaseResult.Grpo),
                cancellationToken).ConfigureAwait(false),
            RolloutTrainMaxAbsLogprobDiff = runs.Max(run => run.LogProbabilityDifference ?? 0),
            Seconds = phases.Sum(phase => phase.Seconds),
            Seed = folder.State.Seed,
            Preset = folder.State.Preset,
            Device = device,
            Model = $"InternVL3 architecture, {KeyMap.For(model, CheckpointNaming.Original).Entries.Sum(entry => entry.Shape.ElementCount):N0} parameters: ViT {model.Vision.LayerCount}×{model.Vision.HiddenSize}, language model {model.Language.LayerCount}×{model.Language.HiddenSize}",
            Machine = $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}",
            Command = command,
        };
    }

    private IReadOnlyList<ExampleAnswer> ExamplesOf(string phase) =>
        folder.State.Tests.First(test => test.Phase == phase).Examples;

    private static IReadOnlyList<StepFigures> Figures(RunResult run) =>
        RunLog.ReadMetrics(Path.Combine(run.Folder, RunLog.MetricsName), MostLogBytes);

    private static TrainingStep[] Steps(IReadOnlyList<StepFigures> figures) =>
    [
        .. figures.Where(step => step.Kind == FigureKind.Step).Select(step => new TrainingStep(
            step.Step, step["reward"] ?? double.NaN, step["reward/answer"] ?? double.NaN, step["critical_entropy"],
            step["entropy"] ?? double.NaN,
            step["completion_tokens"] ?? double.NaN, step["rollout_tokens_per_second"] ?? double.NaN)),
    ];
}
