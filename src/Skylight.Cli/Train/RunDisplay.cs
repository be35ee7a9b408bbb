using System.Diagnostics;
using System.Globalization;
using Skylight.Training.Runs;
using Spectre.Console;

namespace Skylight.Cli.Train;

/// <summary>
/// Shows how a run goes: on a terminal one line that is rewritten at every step, with an estimate of the time left;
/// elsewhere a line now and then.
/// </summary>
internal sealed class RunDisplay(IAnsiConsole console) : IRunObserver
{
    private const int LongestLine = 10_000;

    private static readonly TimeSpan s_lineInterval = TimeSpan.FromSeconds(5);

    /// <summary>What a line shows, with its name there; docs/training.md says what each is.</summary>
    internal static IReadOnlyList<(string Name, string Shown, string Format)> Columns { get; } =
    [
        ("loss", "loss", "F3"), ("reward", "reward", "F3"), ("accepted", "accepted", "P0"),
        ("active_groups", "active", "P0"), ("completion_tokens", "length", "F1"), ("entropy", "entropy", "F3"),
        ("critical_entropy", "critical", "F2"), ("kl", "kl", "F4"), ("clipped_share", "clipped", "P1"),
        ("gradient_norm", "norm", "F2"), ("rollout_tokens_per_second", "rollout t/s", "N0"),
        ("update_tokens_per_second", "update t/s", "N0"),
    ];

    private int _firstStep;
    private long _start;
    private long _lastLine;

    private bool IsInteractive => console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi;

    public void Begin(Recipe recipe, int step, int steps)
    {
        _firstStep = step;
        _start = _lastLine = Stopwatch.GetTimestamp();
        Line($"[bold]{recipe.Name}[/]  [grey]{recipe.Description}{(step > 0 ? $" (goes on after step {step})" : "")}[/]");
    }

    public void Report(StepFigures figures, int steps)
    {
        if (figures.Kind == FigureKind.Evaluation)
        {
            Clear();
            string[] values = [.. new[]
            {
                ("accuracy", "accuracy", "P1"), ("reward", "reward", "F3"),
                ("critical_entropy", "critical entropy", "F3"), ("loss", "loss", "F4"),
            }
                .Where(value => figures[value.Item1] is not null)
                .Select(value =>
                    string.Create(CultureInfo.InvariantCulture,
                        $"{value.Item2} {figures[value.Item1]!.Value.ToString(value.Item3, CultureInfo.InvariantCulture)}"))];
            Line($"  step {figures.Step}, held out ({figures["items"]:F0} items): [green]{string.Join("  ", values)}[/]");
            return;
        }

        if (!IsInteractive && Stopwatch.GetElapsedTime(_lastLine) < s_lineInterval && figures.Step < steps)
            return;
        _lastLine = Stopwatch.GetTimestamp();
        double left = Stopwatch.GetElapsedTime(_start).TotalSeconds / (figures.Step - _firstStep) * (steps - figures.Step);
        IEnumerable<string> components = figures.Values.Where(
            value => value.Name.StartsWith("reward/", StringComparison.Ordinal) && double.IsFinite(value.Value))
            .Select(value => $"{value.Name["reward/".Length..]} {value.Value.ToString("F2", CultureInfo.InvariantCulture)}");
        IEnumerable<string> shown = Columns.Where(value => figures[value.Name] is not null)
            .Select(value =>
                $"{value.Shown} {figures[value.Name]!.Value.ToString(value.Format, CultureInfo.InvariantCulture)}");
        string line = string.Create(CultureInfo.InvariantCulture,
            $"  {figures.Step,4}/{steps}  {string.Join("  ", shown.Take(2).Concat(components).Concat(shown.Skip(2)))}  {Environment.WorkingSet / 1e9:F1} GB  {left:F0} s left");
        if (IsInteractive)
        {
            int width = Math.Max(10, console.Profile.Width - 1);
            console.Write(new ControlCode($"\r\u001b[2K{(line.Length > width ? line[..width] : line)}"));
        }
        else
        {
            console.Profile.Out.Writer.WriteLine(line);
        }
    }

    public void Note(string text)
    {
        Clear();
        Line($"  [grey]{text}[/]");
    }

    public void End(RunResult result)
    {
        Clear();
        string accuracy = result.Accuracy is { } share
            ? string.Create(CultureInfo.InvariantCulture,
                $", held-out accuracy {share:P1}{(result.FirstAccuracy is { } before ? $" ({before:P1} before)" : "")}")
                    : "";
        Line($"  [bold green]{result.Steps} steps in {result.Seconds:F0} s[/]{accuracy}: {result.Folder}");
    }

    /// <summary>Elsewhere than on a terminal a line stays one, however long it is.</summary>
    private void Line(FormattableString text)
    {
        int width = console.Profile.Width;
        if (!IsInteractive)
            console.Profile.Width = LongestLine;
        console.MarkupLineInterpolated(text);
        console.Profile.Width = width;
    }

    private void Clear()
    {
        if (IsInteractive)
            console.Write(new ControlCode("\r\u001b[2K"));
    }
}
