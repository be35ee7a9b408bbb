using System.CommandLine;
using System.Text.Json;
using Skylight.Cli;
using Skylight.Cli.Demo;

namespace Skylight.Tests.Cli.Demo;

/// <summary>Runs alone, because it reads what is printed.</summary>
[CollectionDefinition(nameof(ConsoleCollection), DisableParallelization = true)]
public sealed class ConsoleCollection;

[Collection(nameof(ConsoleCollection))]
public sealed class DemoCommandTests
{
    [Fact]
    public async Task The_last_line_of_a_run_with_json_is_the_result()
    {
        using var folder = new TemporaryFolder();
        (int code, string output, string error) = await InProcess(new RootCommand { DemoCommand.Create() },
            ["demo", "--tiny", "--seed", "9", "--json", "--out", folder["out"]]);
        Assert.True(code == 0, error);
        using JsonDocument json = JsonDocument.Parse(output.TrimEnd().Split('\n')[^1]);
        Assert.Equal(9, json.RootElement.GetProperty("seed").GetInt32());
        Assert.Equal(0, json.RootElement.GetProperty("rollout_train_max_abs_logprob_diff").GetDouble());
        Assert.InRange(json.RootElement.GetProperty("grpo").GetDouble(), 0, 1);
        Assert.Equal("cpu", json.RootElement.GetProperty("device").GetString());
        Assert.Contains("<html", File.ReadAllText(folder["out/report.html"]), StringComparison.OrdinalIgnoreCase);

        // Resuming what is finished prints the same result again.
        (code, output, error) = await InProcess(new RootCommand { DemoCommand.Create() },
            ["demo", "--json", "--resume", folder["out"]]);
        Assert.True(code == 0, error);
        using JsonDocument again = JsonDocument.Parse(output.TrimEnd().Split('\n')[^1]);
        Assert.Equal(json.RootElement.GetRawText(), again.RootElement.GetRawText());
    }

    private static async Task<(int Code, string Output, string Error)> InProcess(RootCommand root, string[] arguments)
    {
        TextWriter output = Console.Out, error = Console.Error;
        using StringWriter newOutput = new(), newError = new();
        Console.SetOut(newOutput);
        Console.SetError(newError);
        try
        {
            int code = await ErrorReporting.RunAsync(root, arguments);
            return (code, newOutput.ToString(), newError.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
        }
    }
}
