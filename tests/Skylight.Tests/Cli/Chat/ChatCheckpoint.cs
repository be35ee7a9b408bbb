using System.Diagnostics;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Text;

namespace Skylight.Tests.Cli.Chat;

/// <summary>A checkpoint of a small model with the real tokenizer, and the program that is started with it.</summary>
public sealed class ChatCheckpoint : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("skylight-cli-");

    public ChatCheckpoint()
    {
        Folder = Path.Combine(_folder.FullName, "tiny-model");
        RandomCheckpoint.Write(Folder, ModelFamily.Configuration("tiny"), StoredType.BFloat16, 1);
        File.WriteAllBytes(Path.Combine(Folder, "tokenizer.json"), TokenizerFixture.RealJson);
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder { get; }

    /// <summary>A sample picture.</summary>
    public static string Picture(string name) => Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", name);

    public void Dispose() => _folder.Delete(recursive: true);

    /// <summary>Starts the real program, or another one beside it, in a process of its own.</summary>
    internal static Process Start(string[] arguments, string assembly = "Skylight.Cli.dll")
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
    internal static async Task<(int Code, string Output, string Error)> RunAsync(string[] arguments, string input = "")
    {
        using Process process = Start(arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await EndsAsync(process);
        return (process.ExitCode, await output, await error);
    }

    internal static async Task EndsAsync(Process process)
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
