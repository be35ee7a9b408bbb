using System.Diagnostics;
using System.Text.RegularExpressions;
using Skylight.Models;
using Skylight.Tests.Chat;

namespace Skylight.Tests.Cli;

/// <summary>The program on a terminal, which <c>script</c> of util-linux gives it.</summary>
public sealed partial class TerminalTests
{
    [Fact]
    public async Task Colours_are_for_those_who_want_them()
    {
        using var folder = new TemporaryFolder();
        TinyChatModel.WriteCheckpoint(folder["model"],
            ModelFamily.Configuration("tiny") with { ModelType = "skywork_chat", Architecture = "SkyworkR1VChatModel" });
        string losses = folder.Write("losses.json", File.ReadAllText(Golden.PathOf("losses/losses.json"))
            .Replace("0.04765741564314504", "0.04766", StringComparison.Ordinal));
        // What does not hold is red, and thinking is dimmed.
        (int Code, string[] Arguments)[] commands = [(1, ["verify", "--losses", losses]),
            (0, ["generate", folder["model"], "--prompt", "Hello", "--max-tokens", "4"])];
        foreach ((int code, string[] arguments) in commands)
        {
            Assert.Matches(Colour(), await OnTerminalAsync("", code, arguments));
            string plain = await OnTerminalAsync("1", code, arguments);
            Assert.DoesNotMatch(Colour(), plain);
            Assert.True(plain.Length > 20, plain);
        }
    }

    [GeneratedRegex("\u001b\\[[0-9;]*m")]
    private static partial Regex Colour();

    private static async Task<string> OnTerminalAsync(string noColour, int code, string[] arguments)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists("/usr/bin/script"), "there is no script(1)");
        string command = string.Join(' ',
            ((string[])["dotnet", Path.Combine(AppContext.BaseDirectory, "Skylight.Cli.dll"), .. arguments])
                .Select(word => $"'{word}'"));
        var start = new ProcessStartInfo("/usr/bin/script",
            ["-qec", command, "/dev/null"])
        { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment["TERM"] = "xterm-256color";
        // Empty is as if it were not set.
        start.Environment["NO_COLOR"] = noColour;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await SkylightProgram.EndsAsync(process);
        Assert.True(process.ExitCode == code, await output);
        return await output;
    }
}
