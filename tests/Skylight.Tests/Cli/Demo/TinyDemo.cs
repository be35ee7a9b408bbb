using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Report;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Training.Runs;

namespace Skylight.Tests.Cli.Demo;

/// <summary>The demo's tiny run within this process.</summary>
internal static class TinyDemo
{
    /// <summary>
    /// Begins it in a new folder, or goes on with what is there, until it ends; null if the user stopped it.
    /// </summary>
    public static async Task<DemoResult?> RunAsync(string folder, ulong seed = 7, ScriptedUser? user = null,
        Func<Device>? openDevice = null, params string[] settings)
    {
        DemoFolder demo = File.Exists(Path.Combine(folder, DemoFolder.StateName)) ? DemoFolder.Open(folder)
            : DemoFolder.Create(folder, new DemoState { Seed = seed, Preset = DemoPreset.Tiny });
        user ??= new ScriptedUser();
        var run = new DemoRun(demo, openDevice ?? (() => new CpuDevice()), user, user.Test) { Settings = settings };
        try
        {
            return await run.RunAsync("cpu", "demo", user.Cancellation.Token);
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }
}

/// <summary>Counts what a run reports, and presses Ctrl-C after so many reports.</summary>
internal sealed class ScriptedUser(int? cancelAfter = null) : IRunObserver
{
    private int _reports;

    public CancellationTokenSource Cancellation { get; } = new();

    public List<string> Begun { get; } = [];

    public void Begin(Recipe recipe, int step, int steps) => Begun.Add(recipe.Name);

    public void Report(StepFigures figures, int steps) => Count();

    public void Note(string text)
    {
        // Says nothing that the figures do not.
    }

    public void End(RunResult result) => Count();

    public void Test(PhaseResult result) => Count();

    private void Count()
    {
        if (++_reports == cancelAfter)
            Cancellation.Cancel();
    }
}
