using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using Skylight.Cpu;

namespace Skylight.Bench;

/// <summary>A file of results in bench/results, which opens with where and how they were measured.</summary>
internal static class BenchmarkReport
{
    /// <summary>Writes the file; <paramref name="writeResults"/> adds its own members to the root object.</summary>
    /// <param name="name">The file's name in bench/results.</param>
    /// <param name="verb">The benchmark, as it is named on the command line.</param>
    /// <param name="writeResults">Adds members to the root object.</param>
    /// <param name="output">Another path for the file. With it, and the commit in SKYLIGHT_COMMIT, no checkout is
    /// needed.</param>
    /// <param name="announce">Whether to print where the results are.</param>
    /// <returns>The file's path.</returns>
    public static string Write(string name, string verb, Action<Utf8JsonWriter> writeResults, string? output = null,
        bool announce = true)
    {
        string? given = Environment.GetEnvironmentVariable("SKYLIGHT_COMMIT");
        string root = output is not null && given is { Length: > 0 } ? "" : RepositoryRoot();
        string path = Path.GetFullPath(output ?? Path.Combine(root, "bench", "results", name));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        using (FileStream file = File.Create(path))
        using (var json = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("command", $"dotnet run -c Release --project bench/Skylight.Bench -- {verb}");
            json.WriteString("commit", given is { Length: > 0 } ? given : Git(root, "rev-parse HEAD"));
            if (root.Length > 0)
                json.WriteBoolean("uncommitted_changes",
                    Git(root, "status --porcelain -- src kernels bench/Skylight.Bench").Length > 0);
            json.WriteString("measured_utc", DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm'Z'", null));
            json.WriteString("cpu", CpuModel());
            json.WriteNumber("cores", Environment.ProcessorCount);
            json.WriteNumber("threads", CpuParallel.ThreadCount);
            json.WriteNumber("vector_bits", CpuVectors.Bits);
            json.WriteString("load_average", LoadAverage());
            json.WriteString("runtime", RuntimeInformation.FrameworkDescription);
            json.WriteString("system", RuntimeInformation.RuntimeIdentifier);
            writeResults(json);
            json.WriteEndObject();
        }
        File.AppendAllText(path, "\n");
        if (announce)
            Console.WriteLine($"written: {(root.Length > 0 ? Path.GetRelativePath(root, path) : path)}");
        return path;
    }

    /// <summary>The folder of this checkout.</summary>
    public static string RepositoryRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Runtime.sln")))
                return folder.FullName;
        }
        throw new InvalidOperationException(
            "The benchmark writes into bench/results beside Runtime.sln: run it from a checkout.");
    }

    private static string Git(string root, string arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("git", arguments)
            {
                WorkingDirectory = root,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return output.Trim();
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }

    private static string CpuModel()
    {
        const string Source = "/proc/cpuinfo";
        if (!File.Exists(Source))
            return RuntimeInformation.ProcessArchitecture.ToString();
        string[] lines = File.ReadAllLines(Source);
        string Field(string name) =>
            Array.Find(lines, line => line.StartsWith(name + "\t", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "?";
        return $"{Field("model name")}, family {Field("cpu family")}, model {Field("model")}";
    }

    private static string LoadAverage() =>
        File.Exists("/proc/loadavg") ? string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ')[..3]) : "?";
}
