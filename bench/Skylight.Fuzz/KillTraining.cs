using System.Diagnostics;
using Skylight.Checkpoints;

namespace Skylight.Fuzz;

/// <summary>
/// Kills the demo's training at random moments and resumes it, until it is done; again and again, until it was killed
/// often enough. Every folder that it leaves must load, and at the end of each chain the weights, the optimizer's state
/// and the results must be those of a run that was never killed.
/// </summary>
internal static class KillTraining
{
    public static int Run(string[] args)
    {
        var options = new Options(args);
        int kills = options.Number("kills", 200), killed = 0, chains = 0, longest = 0;
        var random = new Random(options.Number("seed", 1));
        string program = options.First, folder = options.Text("folder")
            ?? Path.Combine(Path.GetTempPath(), $"skylight-kill-{Environment.ProcessId}");
        string whole = Path.Combine(folder, "whole");
        long start = Stopwatch.GetTimestamp();
        if (Demo(program, whole, Timeout.Infinite) != 0)
            throw new InvalidOperationException("The run that nobody kills failed.");
        int milliseconds = (int)Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        Console.WriteLine($"kill-training: a whole run takes {milliseconds / 1000.0:F1} s");
        while (killed < kills)
        {
            string run = Path.Combine(folder, $"chain-{chains++}");
            int before = killed;
            while (Demo(program, run, killed < kills ? random.Next(milliseconds) : Timeout.Infinite) is not 0 and var code)
            {
                if (code != Killed)
                    throw new InvalidDataException(
                        $"Chain {chains}, after {killed - before} kills: the resumed run failed with {code}; {run} is kept.");
                killed++;
                CheckFolders(run);
            }

            Compare(whole, run);
            longest = Math.Max(longest, killed - before);
            Directory.Delete(run, recursive: true);
        }

        Directory.Delete(folder, recursive: true);
        Console.WriteLine(
            $"kill-training: {killed} kills in {chains} chains of up to {longest}, 0 corrupt folders, every chain ended with the bytes of the run that nobody killed");
        return 0;
    }

    private const int Killed = -9;

    /// <summary>Runs the demo, or goes on with it, and kills it after a while.</summary>
    private static int Demo(string program, string run, int milliseconds)
    {
        bool resumes = File.Exists(Path.Combine(run, "demo.json"));
        var start = new ProcessStartInfo("dotnet",
            [program, "demo", .. resumes ? (string[])["--resume", run] : ["--tiny", "--seed", "1", "--out", run]])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        bool ended = process.WaitForExit(milliseconds);
        if (!ended)
        {
            process.Kill();
            process.WaitForExit();
        }

        // One that ended at the moment of the kill has not been killed.
        int code = process.ExitCode == 128 + 9 ? Killed : process.ExitCode;
        if (code is not (0 or Killed))
            Console.Error.WriteLine(output.Result + error.Result);
        return code;
    }

    /// <summary>
    /// Whatever has a checkpoint's name is one, whole: the model that all begins with, results that are there, and what
    /// was saved on the way.
    /// </summary>
    private static void CheckFolders(string demo)
    {
        Check(Path.Combine(demo, "model"));
        foreach (string run in Folders(Path.Combine(demo, "runs")))
        {
            if (Directory.Exists(Path.Combine(run, "state")) && TrainingCheckpoint.LatestIn(run) is null)
                throw new InvalidDataException($"The state in {run} cannot be read.");
            // Into the folder of a run the files of its result come one by one, the configuration last.
            if (File.Exists(Path.Combine(run, "config.json")))
                Check(run);
            foreach (string checkpoint in Folders(Path.Combine(run, "checkpoints")))
                Check(checkpoint);
        }

        static IEnumerable<string> Folders(string parent) =>
            Directory.Exists(parent) ? Directory.EnumerateDirectories(parent)
                .Where(folder => !Path.GetFileName(folder).StartsWith('.')) : [];

        static void Check(string checkpoint)
        {
            if (!Directory.Exists(checkpoint))
                return;
            using CheckpointReader reader = CheckpointReader.Open(checkpoint);
            reader.Verify(KeyMap.For(Models.ModelConfiguration.Load(checkpoint), reader.DetectNaming()));
        }
    }

    private static void Compare(string whole, string run)
    {
        string[] expected = Weights(whole), found = Weights(run);
        if (!expected.SequenceEqual(found))
            throw new InvalidDataException(
                $"{run} has {string.Join(", ", found)}, but {whole} has {string.Join(", ", expected)}.");
        foreach (string file in expected)
        {
            if (!File.ReadAllBytes(Path.Combine(whole, file)).AsSpan()
                .SequenceEqual(File.ReadAllBytes(Path.Combine(run, file))))
                throw new InvalidDataException(
                    $"{Path.Combine(run, file)} differs from that of the run that nobody killed.");
        }
    }

    /// <summary>
    /// All files of weights, optimizers, configurations, data and samples; not metrics, states and reports, which hold
    /// times and paths.
    /// </summary>
    private static string[] Weights(string run) =>
        [.. Directory.EnumerateFiles(run, "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(run, file))
            .Where(file => Path.GetExtension(file) is ".safetensors" or ".png"
                || Path.GetFileName(file) == "config.json"
                || (Path.GetExtension(file) == ".jsonl" && Path.GetFileName(file) != "metrics.jsonl"))
            .Where(file => !file.Split(Path.DirectorySeparatorChar).Any(part => part.StartsWith('.')))
            .Order(StringComparer.Ordinal)];
}
