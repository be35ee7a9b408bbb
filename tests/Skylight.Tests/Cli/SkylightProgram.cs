using System.Diagnostics;
using System.Text;

namespace Skylight.Tests.Cli;

/// <summary>The program as a user starts it.</summary>
internal static class SkylightProgram
{
    /// <summary>Starts the real program, or another one beside it, in a process of its own.</summary>
    public static Process Start(string[] arguments, string assembly = "Skylight.Cli.dll")
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, assembly), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = Path.GetTempPath(),
        };
        start.Environment.Remove("SKYLIGHT_API_KEY");
        return Process.Start(start)!;
    }

    /// <summary>Runs the real program to its end.</summary>
    public static async Task<(int Code, string Output, string Error)> RunAsync(string[] arguments, string input = "")
    {
        using Process process = Start(arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await EndsAsync(process);
        return (process.ExitCode, await output, await error);
    }

    public static async Task EndsAsync(Process process)
    {
        using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(2));
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
}
