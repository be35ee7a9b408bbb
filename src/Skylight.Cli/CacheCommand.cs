using System.CommandLine;
using System.Globalization;
using System.Text;
using Skylight.Checkpoints;

namespace Skylight.Cli;

/// <summary><c>skylight cache</c>: what is kept between starts, and to remove it.</summary>
internal static class CacheCommand
{
    private const string Weights = "weights", Kernels = "kernels", Everything = "all";

    public static Command Create()
    {
        var command = new Command("cache",
            "Show what is kept between starts: packed weights of --dtype q8 and q4, compiled CUDA kernels.");
        command.SetAction((_, _) => Task.FromResult(Show()));
        var what = new Argument<string>("what")
        {
            Description = $"{Weights}, {Kernels} or {Everything}.",
            DefaultValueFactory = _ => Everything,
        };
        what.AcceptOnlyFromAmong(Weights, Kernels, Everything);
        var clear = new Command("clear", "Remove what is kept; the next start makes it again.") { what };
        clear.SetAction((parse, _) => Task.FromResult(Clear(parse.GetRequiredValue(what))));
        command.Add(clear);
        return command;
    }

    private static int Show()
    {
        WeightCacheOptions options = WeightCacheOptions.FromEnvironment();
        IReadOnlyList<WeightCacheEntry> entries = new WeightCache(options).Entries();
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture,
            $"Packed weights in {options.Folder}: {Size(entries.Sum(entry => entry.Bytes))} of at most {Size(options.LimitBytes)}");
        foreach (WeightCacheEntry entry in entries)
            text.AppendLine(CultureInfo.InvariantCulture,
                $"  {Size(entry.Bytes)}, last used {entry.LastUsed.ToLocalTime():yyyy-MM-dd HH:mm}: {entry.Label}");
        FileInfo[] kernels = KernelFiles();
        text.AppendLine(CultureInfo.InvariantCulture,
            $"Compiled kernels in {CacheFolder.Of(Kernels)}: {Size(kernels.Sum(file => file.Length))} in {kernels.Length} files");
        Console.Write(text);
        return 0;
    }

    private static int Clear(string what)
    {
        long freed = what == Kernels ? 0 : new WeightCache(WeightCacheOptions.FromEnvironment()).Clear();
        if (what != Weights)
            foreach (FileInfo file in KernelFiles())
            {
                freed += file.Length;
                file.Delete();
            }

        Console.WriteLine($"{Size(freed)} freed.");
        return 0;
    }

    // What the runtime writes, and nothing that somebody else may have put there.
    private static FileInfo[] KernelFiles() => Directory.Exists(CacheFolder.Of(Kernels))
        ? [.. new DirectoryInfo(CacheFolder.Of(Kernels)).EnumerateFiles().Where(file => file.Extension is ".cubin" or ".ptx")]
        : [];

    private static string Size(long bytes) => bytes >= 1e8
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F2} MB");
}
