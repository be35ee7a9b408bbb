using System.Diagnostics;
using System.Globalization;
using Skylight.Training.Evaluation;
using Spectre.Console;

namespace Skylight.Cli.Evaluation;

/// <summary>
/// Shows how an evaluation goes: on a terminal in a line that is rewritten, elsewhere in a line now and then.
/// </summary>
internal sealed class EvalDisplay(IAnsiConsole console) : IProgress<EvaluationProgress>
{
    private static readonly TimeSpan s_lineInterval = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly bool _interactive = console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi;
    private long _lastLine = Stopwatch.GetTimestamp();

    /// <inheritdoc/>
    public void Report(EvaluationProgress value)
    {
        lock (_gate)
        {
            if (!_interactive && Stopwatch.GetElapsedTime(_lastLine) < s_lineInterval && value.Done < value.Total)
                return;
            _lastLine = Stopwatch.GetTimestamp();
            string line = Line(value);
            if (_interactive)
                console.Write(new ControlCode(
                    $"\r\u001b[2K{line[..Math.Min(line.Length, Math.Max(10, console.Profile.Width - 1))]}"));
            else
                console.WriteLine(line);
        }
    }

    /// <summary>Takes the line away.</summary>
    public void End()
    {
        if (_interactive)
            console.Write(new ControlCode("\r\u001b[2K"));
    }

    /// <summary>Shows what was measured.</summary>
    public void Show(EvaluationReport report)
    {
        if (report.Categories.Count > 0)
        {
            var table = new Table().Border(TableBorder.Simple).AddColumns("category", "items", "accuracy", "95 %", "tokens");
            foreach (int column in (int[])[1, 2, 3, 4])
                table.Columns[column].RightAligned();
            foreach (CategoryAccuracy category in report.Categories)
                table.AddRow(Markup.Escape(category.Name), Text($"{category.Accuracy.Items}"),
                    Text($"{category.Accuracy.Mean * 100:F1} %"),
                    Text($"{category.Accuracy.Low * 100:F1}–{category.Accuracy.High * 100:F1}"),
                    Text($"{category.MeanTokens:F0}"));
            console.Write(table);
        }

        AccuracyInterval accuracy = report.Accuracy;
        if (accuracy.Items == 0)
            console.MarkupLine(Text($"[bold red]accuracy unknown[/]: every response failed"));
        else
            console.MarkupLine(
                Text($"accuracy [bold green]{accuracy.Mean * 100:F1} %[/] [grey](95 %: {accuracy.Low * 100:F1}–{accuracy.High * 100:F1}; {accuracy.Items} items, {accuracy.Samples} responses)[/]"));
        console.WriteLine(
            Text($"{report.MeanTokens:F0} tokens a response, {report.TruncatedShare * 100:F1} % cut off, {report.UnansweredShare * 100:F1} % without an answer"));
        console.WriteLine(report.MeanCriticalEntropy is { } entropy
            ? Text($"critical-token entropy {entropy:F3} nats over {report.CriticalTokens} tokens")
            : "no critical token was written, so their entropy is unknown");
        if (report.ShortenedBudgets > 0)
            console.MarkupLine(
                Text($"[yellow]{report.ShortenedBudgets} responses had room for fewer tokens than asked for; see --cache-tokens[/]"));
        if (report.Failures > 0)
        {
            console.MarkupLine(
                Text($"[yellow]{report.Failures} responses failed and count neither as right nor as wrong ({report.Wrong} are wrong); --resume tries them again[/]"));
            foreach (string reason in report.FailureReasons)
                console.WriteLine("  " + reason);
        }
    }

    private static string Line(EvaluationProgress value)
    {
        string left = value.Remaining is { } remaining ? Text($"{(int)remaining.TotalHours}:{remaining:mm\\:ss} left") : "";
        string right = value.Done > value.Failed
            ? Text($"{100.0 * value.Right / (value.Done - value.Failed):F1} % right") : "";
        string failed = value.Failed > 0 ? Text($"  {value.Failed} failed") : "";
        return Text($"  {value.Done,5}/{value.Total}  {right}{failed}  {value.TokensPerSecond:F1} tokens/s  {left}");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
