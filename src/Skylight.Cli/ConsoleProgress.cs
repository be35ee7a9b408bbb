using System.Globalization;

namespace Skylight.Cli;

/// <summary>A line on standard error that says how far something is; silent where that is not a terminal.</summary>
/// <param name="title">What is done.</param>
/// <param name="totalBytes">All of it.</param>
internal sealed class ConsoleProgress(string title, long totalBytes) : IProgress<float>
{
    private int _shown = -1;

    public void Report(float value)
    {
        int percent = (int)(value * 100);
        if (Console.IsErrorRedirected || Interlocked.Exchange(ref _shown, percent) == percent)
            return;
        Console.Error.Write(
            string.Create(CultureInfo.InvariantCulture,
                $"\r{title} {value * totalBytes / 1e9:F2} of {totalBytes / 1e9:F2} GB ({percent} %){(percent == 100 ? "\n" : "")}"));
    }
}
