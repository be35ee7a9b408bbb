using System.Diagnostics;
using System.Globalization;
using Skylight.Cli.Chat;
using Skylight.Hub;

namespace Skylight.Cli;

/// <summary>
/// How far a download is: on a terminal one line that changes, elsewhere a line for each file, and one now and then for
/// files that take long.
/// </summary>
/// <param name="writer">Where to.</param>
/// <param name="isTerminal">Whether a line can be written over.</param>
internal sealed class PullDisplay(TextWriter writer, bool isTerminal) : IProgress<HubProgress>
{
    private const int Width = 78;

    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(10);

    private long _last = Stopwatch.GetTimestamp();

    public void Report(HubProgress value)
    {
        if (value.Note is { } note)
        {
            Line(AnswerPrinter.Printable(note));
            return;
        }

        string rate = value.BytesPerSecond > 0 ? $", {ByteText.Of(value.BytesPerSecond)}/s" : "";
        string total = string.Create(CultureInfo.InvariantCulture,
            $"{ByteText.Of(value.Bytes)} of {ByteText.Of(value.Length)} ({(value.Length == 0 ? 100 : 100 * value.Bytes / value.Length)} %{rate})");
        string file = AnswerPrinter.Printable(value.File ?? "");
        if (value.IsFileComplete)
        {
            Line($"  {file}  {ByteText.Of(value.FileLength)}, checked; {total}");
        }
        else if (isTerminal)
        {
            string line = $"  {file}  {ByteText.Of(value.FileBytes)} of {ByteText.Of(value.FileLength)}; {total}";
            writer.Write($"\r{(line.Length <= Width ? line.PadRight(Width) : line[..Width])}");
            writer.Flush();
        }
        else if (Stopwatch.GetElapsedTime(_last) >= s_pause)
        {
            Line($"  {file}  {ByteText.Of(value.FileBytes)} of {ByteText.Of(value.FileLength)}; {total}");
        }
    }

    private void Line(string text)
    {
        _last = Stopwatch.GetTimestamp();
        writer.WriteLine(isTerminal ? $"\r{text.PadRight(Width)}" : text);
    }
}
