using System.Diagnostics;
using System.Globalization;
using Skylight.Cli.Demo.Report;
using Spectre.Console;

namespace Skylight.Cli.Demo;

/// <summary>Shows how a demo run goes.</summary>
internal interface IDemoDisplay
{
    void Begin(string phase, string description, int steps);

    void Step(int step, string figures);

    void End(PhaseResult result);
}

/// <summary>
/// On a terminal one line that is rewritten at every step, with an estimate of the time left; elsewhere a line now and then.
/// </summary>
internal sealed class DemoDisplay(IAnsiConsole console) : IDemoDisplay
{
    private static readonly TimeSpan s_lineInterval = TimeSpan.FromSeconds(5);

    private string _phase = "";
    private int _steps;
    private int _firstStep = -1;
    private long _start;
    private long _lastLine;

    public void Begin(string phase, string description, int steps)
    {
        (_phase, _steps, _firstStep) = (phase, steps, -1);
        _start = _lastLine = Stopwatch.GetTimestamp();
        console.MarkupLineInterpolated($"[bold]{phase}[/]  [grey]{description}[/]");
    }

    public void Step(int step, string figures)
    {
        bool interactive = console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi;
        if (_firstStep < 0)
            _firstStep = step;
        if (!interactive && Stopwatch.GetElapsedTime(_lastLine) < s_lineInterval && step < _steps)
            return;
        _lastLine = Stopwatch.GetTimestamp();
        int done = step - _firstStep + 1;
        double left = Stopwatch.GetElapsedTime(_start).TotalSeconds / done * (_steps - step);
        string line = string.Create(CultureInfo.InvariantCulture, $"  {step,4}/{_steps}  {figures}  {left:F0} s left");
        if (interactive)
        {
            int width = Math.Max(10, console.Profile.Width - 1);
            console.Write(new ControlCode($"\r\u001b[2K{(line.Length > width ? line[..width] : line)}"));
        }
        else
        {
            console.WriteLine(line);
        }
    }

    public void End(PhaseResult result)
    {
        if (console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi)
            console.Write(new ControlCode("\r\u001b[2K"));
        (double low, double high) = result.Interval;
        console.MarkupLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  held-out accuracy [bold green]{result.Accuracy * 100:F1} %[/] [grey](95 %: {low * 100:F1}–{high * 100:F1}; {result.Count} problems; {result.Seconds:F0} s)[/]"));
    }
}
