using System.Diagnostics;
using System.Globalization;
using System.Runtime;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Chat;

/// <summary>
/// A host that closes a model gets its memory back. Measured in a process of its own, where nothing else takes or keeps
/// memory.
/// </summary>
public sealed class MemoryReturnTests
{
    private const int Times = 4;
    private const double Megabyte = 1e6;
    private const string ResultFile = "SKYLIGHT_TEST_MEMORY_FILE";

    /// <summary>
    /// Starts itself again, alone; there it loads and closes, and leaves three figures for the outer process.
    /// </summary>
    [Fact]
    public async Task Loading_and_closing_again_and_again_leaves_the_process_as_small_as_it_was()
    {
        if (Environment.GetEnvironmentVariable(ResultFile) is { } file)
        {
            await MeasureAsync(file);
            return;
        }

        using var folder = new TemporaryFolder();
        var start = new ProcessStartInfo("dotnet",
            [Path.Combine(AppContext.BaseDirectory, "Skylight.Tests.dll"), "-noColor", "-class",
                typeof(MemoryReturnTests).FullName!])
        {
            RedirectStandardOutput = true,
        };
        start.Environment[ResultFile] = folder["result"];
        using Process child = Process.Start(start)!;
        string output = await child.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await child.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(child.ExitCode == 0, output);
        double[] megabytes = [.. File.ReadAllText(folder["result"]).Split(' ')
            .Select(number => double.Parse(number, CultureInfo.InvariantCulture))];
        (double before, double open, double after) = (megabytes[0], megabytes[1], megabytes[2]);
        // While it is open it is there, or nothing would be measured.
        Assert.True(open > before + 150, $"{before:F0} MB before, {open:F0} MB with the model open");
        Assert.True(after < before + 10 * Times,
            $"{before:F0} MB before, {after:F0} MB after {Times} times of loading and closing");
    }

    private static async Task MeasureAsync(string file)
    {
        using var folder = new TemporaryFolder();
        // Matrices of 8 MB each: what the C library would keep. 200 MB in all.
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        configuration = configuration with
        {
            Language = configuration.Language with
            {
                HiddenSize = 128,
                HeadDimension = 32,
                IntermediateSize = 32768,
                LayerCount = 5,
            },
        };
        TinyChatModel.WriteCheckpoint(folder.Path, configuration);
        // The first time brings code and threads, which stay; after it ten megabytes a time are too many.
        double open = await LoadAnswerCloseAsync(folder.Path), before = Resident();
        for (int time = 0; time < Times; time++)
            open = Math.Max(open, await LoadAnswerCloseAsync(folder.Path));
        File.WriteAllText(file, string.Create(CultureInfo.InvariantCulture, $"{before:F1} {open:F1} {Resident():F1}"));
    }

    private static async Task<double> LoadAnswerCloseAsync(string folder)
    {
        using var device = new CpuDevice();
        await using ChatModel model = await ChatModel.LoadAsync(folder,
            new ChatModelOptions { Device = device, CacheTokens = 1024 });
        await model.CompleteAsync([Message.User("What is this?", ImagePart.FromRgb(TinyChatModel.Picture(1)))],
            new GenerationOptions { MaxOutputTokens = 4 });
        return Resident();
    }

    /// <summary>What the process holds without what the garbage collector would give back.</summary>
    private static double Resident()
    {
        GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64 / Megabyte;
    }
}
