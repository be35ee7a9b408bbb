using System.Diagnostics;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Chat;
using Skylight.Tests.Checkpoints;
using Skylight.Training.Evaluation;

namespace Skylight.Tests.Cli;

/// <summary>Ctrl-C and SIGTERM end the commands that write folders, and nothing half-written is left.</summary>
public sealed class InterruptedCommandTests
{
    [Theory]
    [InlineData("INT", "model")]
    [InlineData("TERM", "model")]
    [InlineData("INT", "new/folders/model")]
    [InlineData("TERM", "there")]
    public async Task Init_leaves_nothing(string signal, string target)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no such signals to send.");
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["there"]);
        (int code, string output, string error) = await InterruptAsync(
            ["init", folder[target], "--like", "internvl3-2b"], signal,
            () => Directory.EnumerateFileSystemEntries(folder.Path, ".*.tmp", SearchOption.AllDirectories).Any());
        Assert.Equal((signal == "TERM" ? 143 : 130, ""), (code, output));
        Assert.Contains("skylight: stopped.", error, StringComparison.Ordinal);
        Assert.Equal([folder["there"]], Directory.EnumerateFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public async Task Demo_leaves_what_can_be_gone_on_with(string signal)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no such signals to send.");
        using var folder = new TemporaryFolder();
        (int code, string output, string error) = await InterruptAsync(["demo", "--tiny", "--out", folder["demo"]],
            signal, () => Directory.Exists(folder["demo/data"]));
        Assert.True(code == (signal == "TERM" ? 143 : 130), error + output);
        Assert.Contains($"--resume {folder["demo"]}", output, StringComparison.Ordinal);
        AssertNothingTemporary(folder);
        (code, output, error) = await SkylightProgram.RunAsync(["demo", "--json", "--resume", folder["demo"]]);
        Assert.True(code == 0, error + output);
        Assert.Contains("\"preset\":\"tiny\"", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Eval_leaves_what_can_be_gone_on_with()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no such signals to send.");
        using var folder = new TemporaryFolder();
        TinyChatModel.WriteCheckpoint(folder["model"]);
        folder.Write("data.jsonl",
            string.Concat(Enumerable.Range(0, 400).Select(
                index => $"{{\"id\": \"q{index}\", \"question\": \"What is {index}?\", \"answer\": \"{index}\"}}\n")));
        string results = folder["out/results.jsonl"];
        (int code, string output, string error) = await InterruptAsync(
            ["eval", folder["model"], "--data", folder["data.jsonl"], "--output", folder["out"], "--max-tokens", "200"],
            "INT", () => File.Exists(results) && new FileInfo(results).Length > 0);
        Assert.True(code == 130, error + output);
        Assert.Contains("--resume", output, StringComparison.Ordinal);
        Assert.Equal(["results.jsonl", "settings.json"],
            Directory.EnumerateFiles(folder["out"]).Select(file => Path.GetFileName(file)).Order());
        Assert.EndsWith("\n", await File.ReadAllTextAsync(results, TestContext.Current.CancellationToken),
            StringComparison.Ordinal);
        Assert.InRange(File.ReadLines(results).Count(), 1, 399);
        AssertNothingTemporary(folder);
    }

    [Fact]
    public async Task Init_reads_the_tokenizer_before_it_writes()
    {
        using var folder = new TemporaryFolder();
        folder.Write("cat.jpg", File.ReadAllBytes(Golden.PathOf("faults/pictures/dconly.jpg")));
        folder.Write("empty.json", "{}");
        Directory.CreateDirectory(folder["nothing"]);
        foreach ((string tokenizer, string expected) in ((string, string)[])[("cat.jpg", "cat.jpg"),
            ("empty.json", "empty.json"), ("nothing", "tokenizer.json"), ("absent", "absent")])
        {
            (int code, string output, string error) = await SkylightProgram.RunAsync(
                ["init", folder["model"], "--like", "tiny", "--tokenizer", folder[tokenizer]]);
            Assert.Equal((1, ""), (code, output));
            Assert.StartsWith("skylight: ", error, StringComparison.Ordinal);
            Assert.Contains(expected, error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
            Assert.Equal(["cat.jpg", "empty.json", "nothing"], folder.Names());
        }
    }

    [Fact]
    public async Task What_the_checkpoint_asks_for_in_vain_is_said_once_on_the_error_stream()
    {
        using var folder = new TemporaryFolder();
        TinyChatModel.WriteCheckpoint(folder["model"],
            ModelFamily.Configuration("tiny") with
            {
                Generation = new GenerationDefaults { PaddingTokenId = -1, Ignored = [new("num_beams", "4")] },
            });
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["generate", folder["model"], "--prompt", "Hello", "--max-tokens", "2"]);
        Assert.True(code == 0, error);
        Assert.Equal(2, error.Split("skylight: generation_config.json says 'num_beams' is 4; that is not used").Length);
        Assert.DoesNotContain("num_beams", output, StringComparison.Ordinal);
        (_, output, _) = await SkylightProgram.RunAsync(["info", folder["model"]]);
        Assert.Contains("'num_beams' is 4; that is not used", output, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Error)> InterruptAsync(string[] arguments, string signal,
        Func<bool> hasBegun)
    {
        using Process process = SkylightProgram.Start(arguments);
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
            for (int attempt = 0; !hasBegun(); attempt++)
            {
                Assert.False(process.HasExited || attempt > 30_000, process.HasExited ? await output + await error
                    : "It does not begin.");
                await Task.Delay(10, TestContext.Current.CancellationToken);
            }

            using (Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]))
                await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
            await SkylightProgram.EndsAsync(process);
            return (process.ExitCode, await output, await error);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    private static void AssertNothingTemporary(TemporaryFolder folder) =>
        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories),
            entry => Path.GetFileName(entry) is var name
                && (name.StartsWith('.') || name.EndsWith(".tmp", StringComparison.Ordinal)));
}
