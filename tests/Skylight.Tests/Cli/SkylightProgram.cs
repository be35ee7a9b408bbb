using System.Diagnostics;
using System.Text;

namespace Skylight.Tests.Cli;

/// <summary>The program as a user starts it.</summary>
internal static class SkylightProgram
{
    // Shells start what runs in the background with Ctrl-C ignored, and everything that it starts inherits that.
    private static readonly string[] s_interruptible = IgnoresInterrupts() ? ["env", "--default-signal=INT"] : [];

    /// <summary>.NET's host, by its place, because a test may give the program another PATH.</summary>
    public static string Dotnet { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(
        Path.PathSeparator).Select(folder => Path.Combine(folder, "dotnet")).FirstOrDefault(File.Exists) ?? "dotnet";

    /// <summary>Starts the real program, or another one beside it, in a process of its own.</summary>
    /// <param name="arguments">What it is given.</param>
    /// <param name="assembly">Another program's file, or the path of a copy.</param>
    /// <param name="environment">Variables that are set for it.</param>
    public static Process Start(string[] arguments, string assembly = "Skylight.Cli.dll",
        params (string Name, string Value)[] environment)
    {
        ProcessStartInfo start = Prepare(arguments, assembly);
        foreach ((string name, string value) in environment)
            start.Environment[name] = value;
        return Process.Start(start)!;
    }

    private static ProcessStartInfo Prepare(string[] arguments, string assembly)
    {
        string[] command = [.. s_interruptible, Dotnet, Path.Combine(AppContext.BaseDirectory, assembly), .. arguments];
        var start = new ProcessStartInfo(command[0], command[1..])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = Path.GetTempPath(),
        };
        start.Environment.Remove("SKYLIGHT_API_KEY");
        return start;
    }

    /// <summary>Starts the real program in a folder, as a user does who has gone there.</summary>
    public static Process StartIn(string folder, string[] arguments, string assembly = "Skylight.Cli.dll")
    {
        ProcessStartInfo start = Prepare(arguments, assembly);
        start.WorkingDirectory = folder;
        return Process.Start(start)!;
    }

    /// <summary>Runs the real program to its end.</summary>
    public static Task<(int Code, string Output, string Error)> RunAsync(string[] arguments, string input = "") =>
        RunAsync(Start(arguments), input);

    /// <summary>Lets a started program run to its end.</summary>
    public static async Task<(int Code, string Output, string Error)> RunAsync(Process started, string input = "")
    {
        using Process process = started;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await EndsAsync(process);
        return (process.ExitCode, await output, await error);
    }

    public static async Task EndsAsync(Process process)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(5));
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    private static bool IgnoresInterrupts()
    {
        const int Interrupt = 2;
        string? line = OperatingSystem.IsLinux() ? File.ReadLines("/proc/self/status")
            .FirstOrDefault(line => line.StartsWith("SigIgn:", StringComparison.Ordinal)) : null;
        return line is not null && (Convert.ToUInt64(line["SigIgn:".Length..].Trim(), 16) >> (Interrupt - 1) & 1) == 1;
    }
}
