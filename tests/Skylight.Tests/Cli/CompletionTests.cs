using System.CommandLine;
using System.Diagnostics;
using Skylight.Cli;

namespace Skylight.Tests.Cli;

/// <summary>What shells offer while a command line is typed.</summary>
public sealed class CompletionTests
{
    [Theory]
    [InlineData("skylight de", "demo devices")]
    [InlineData("/usr/bin/skylight kernels ", "analyze bits check compile diff")]
    [InlineData("skylight chat --de", "--device")]
    [InlineData("skylight chat DIR --device ", "cpu cuda:0 simt")]
    [InlineData("skylight chat DIR --device cuda:", "cuda:0")]
    [InlineData("skylight chat DIR --device=c", "--device=cpu --device=cuda:0")]
    [InlineData("skylight generate DIR --prompt x --dtype b", "bfloat16")]
    [InlineData("skylight completion ", "bash fish pwsh zsh")]
    [InlineData("skylight chat ", "")]
    [InlineData("sky", "")]
    [InlineData("", "")]
    public void What_may_follow_is_offered(string line, string expected) =>
        Assert.Equal(expected, string.Join(' ', CompletionCommand.Complete(line)));

    [Fact]
    public void Every_command_and_option_is_offered_and_the_hidden_command_is_not()
    {
        Command root = SkylightCommand.Create();
        Assert.Equal(root.Subcommands.Where(command => !command.Hidden).Select(command => command.Name)
            .Order(StringComparer.Ordinal), CompletionCommand.Complete("skylight "));
        foreach (Command command in root.Subcommands)
        {
            IReadOnlyList<string> offered = CompletionCommand.Complete($"skylight {command.Name} --");
            Assert.All(command.Options, option => Assert.Contains(option.Name, offered));
            // A value may be anything, and the cursor may be anywhere in it.
            foreach (Option option in command.Options)
                Assert.All(["=", "=x", " ", " x", " \"", "=:", "==", " -"],
                    typed => CompletionCommand.Complete($"skylight {command.Name} {option.Name}{typed}"));
        }
    }

    [Theory]
    [InlineData("bash")]
    [InlineData("zsh")]
    [InlineData("fish")]
    [InlineData("pwsh")]
    public async Task The_script_is_one_of_the_shell(string shell)
    {
        string script = await ScriptAsync(shell);
        Assert.Contains("skylight complete -- ", script, StringComparison.Ordinal);
        string[] check = shell switch
        {
            "bash" or "zsh" => ["-n", "-c", script],
            "fish" => ["--no-execute", "-c", script],
            _ => ["-NoProfile", "-Command", $"[scriptblock]::Create(@'\n{script}\n'@) | Out-Null"],
        };
        Assert.SkipUnless(OnPath(shell), $"there is no {shell}");
        (int code, string output) = await RunAsync(shell, check);
        Assert.True(code == 0, output);
    }

    [Fact]
    public async Task Bash_completes()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && OnPath("bash"), "there is no bash");
        // What bash does with the two variables; a colon and an equals sign end a word for it.
        string test = $$$"""
            skylight() { dotnet "{{{Path.Combine(AppContext.BaseDirectory, "Skylight.Cli.dll")}}}" "$@"; }
            {{{await ScriptAsync("bash")}}}
            complete -p skylight
            try() { COMP_LINE=$1; COMP_POINT=${2:-${#1}}; _skylight; echo "[${COMPREPLY[*]}]"; }
            try "skylight de"
            try "skylight chat DIR --device cuda:"
            try "skylight chat DIR --device=s"
            try "skylight chat DIR"
            try "skylight devices --json" 13
            """;
        (int code, string output) = await RunAsync("bash", ["-c", test]);
        Assert.True(code == 0, output);
        Assert.Equal(["complete -o default -F _skylight skylight", "[demo devices]", "[0]", "[simt]", "[]",
            "[devices]"], output.Trim().Split('\n'));
    }

    private static async Task<string> ScriptAsync(string shell)
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(["completion", shell]);
        Assert.True(code == 0, error);
        return output;
    }

    private static bool OnPath(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program)));

    private static async Task<(int Code, string Output)> RunAsync(string program, string[] arguments)
    {
        using Process process = Process.Start(
            new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken),
            error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await SkylightProgram.EndsAsync(process);
        return (process.ExitCode, await output + await error);
    }
}
