using System.CommandLine;
using System.Diagnostics;
using System.Text;
using Skylight.Cli;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cli;

/// <summary>What goes wrong on the command line is said in the words of the command line.</summary>
[Collection(nameof(ConsoleOutput))]
public sealed class PlainCommandLineTests
{
    private static readonly string[] _values = ["", " ", "maybe,1", "1,5", "NaN", "1e999", "-1", "99999999999999999999",
        "\u0001", "{}"];

    [Fact]
    public void Every_option_refuses_every_value_in_plain_words()
    {
        int refused = 0;
        foreach ((string[] path, Command command) in Commands(SkylightCommand.Create(), []))
        {
            foreach (Option option in command.Options)
            {
                foreach (string[] argument in (string[][])[.. _values.Select(
                    value => (string[])[$"{option.Name}={value}"]), [option.Name], [option.Name, "1", "2", "3"]])
                {
                    string[] errors = [.. SkylightCommand.Create().Parse([.. path, .. argument])
                        .Errors.Select(error => error.Message)];
                    Assert.All(errors, PlainWords.Check);
                    refused += errors.Length;
                }

                if (option.ValueType != typeof(string) && option.ValueType != typeof(string[])
                    && option.ValueType != typeof(bool) && option.Name is not ("--help" or "--version"))
                    Assert.Contains(SkylightCommand.Create().Parse([.. path, $"{option.Name}=maybe,1"]).Errors,
                        error => error.Message.StartsWith($"{option.Name} takes ", StringComparison.Ordinal));
            }
        }

        Assert.True(refused > 500, $"{refused} refused");
    }

    [Theory]
    [InlineData("--json")]
    [InlineData("--json=true")]
    [InlineData("--json true")]
    public async Task A_switch_is_on_with_and_without_a_word(string json)
    {
        (int code, string output, _) = await ConsoleRun.RunAsync(["devices", .. json.Split(' ')]);
        Assert.Equal(0, code);
        Assert.StartsWith("{", output, StringComparison.Ordinal);
    }

    // What could be meant, and does not work with the files that there are; every other line is refused as one.
    private static readonly string[] _failures =
    [
        "info DIR", "info DIR --context 40000000", "info MODEL --device cuda:99", "generate DIR --prompt x",
        "generate MODEL --prompt x", "generate MODEL --prompt x --image DIR",
        "generate MODEL --prompt x --image absent.png", "eval DIR --data DIR", "eval DIR --data absent.jsonl",
        "verify MODEL absent.safetensors", "verify MODEL DIR", "verify DIR DIR",
        "demo --resume DIR", "demo --digits DIR", "kernels compile --budget DIR", "kernels compile --budget absent",
        "kernels analyze --table DIR", "kernels analyze --disassembler absent", "kernels diff absent absent",
        "kernels bits DIR",
        "init DIR/new --like tiny --tokenizer absent",
    ];

    public static TheoryData<string> Lines =>
    [
        "", "nonsense", "info", "info DIR", "info DIR --json=maybe", "info DIR --context 40000000",
        "info MODEL --context 40000", "info MODEL --tiles 100000", "info MODEL --tokens 2 --tiles 50",
        "info MODEL --batch 0", "info MODEL --tokens 2147483647", "info MODEL --tiles 2147483647",
        "info MODEL --memory-gb 0", "info MODEL --device tpu", "info MODEL --device sm_1",
        "info MODEL --device cuda:99", "generate DIR --prompt x", "generate MODEL --prompt x",
        "generate MODEL --prompt x --image DIR", "generate MODEL --prompt x --image absent.png",
        "generate MODEL --prompt x --temperature -1", "generate MODEL --prompt x --top-p 7",
        "generate MODEL --prompt x --max-tokens 0", "generate MODEL --prompt x --dtype int3",
        "chat MODEL --cache-tokens 0", "chat MODEL --kv-cache-dtype q8_0", "info MODEL --kv-cache-dtype fp8", "serve MODEL --port 99999999", "serve MODEL --host 300.1.1.1",
        "serve MODEL --max-body 0", "eval DIR --data DIR", "eval DIR --data absent.jsonl",
        "eval DIR --data DIR --samples 0", "eval MODEL --data absent --limit 0", "verify MODEL absent.safetensors",
        "verify MODEL DIR", "verify DIR DIR", "demo --resume DIR", "demo --digits DIR", "demo --quick --tiny",
        "demo --seed 1.5", "kernels", "kernels compile --budget DIR", "kernels compile --budget absent",
        "kernels analyze --table DIR", "kernels analyze --disassembler absent", "kernels analyze --arch sm_1",
        "kernels diff", "kernels diff absent absent", "kernels diff DIR --budget x",
        "kernels bits DIR", "kernels bits MODEL --tokens 0", "kernels bits MODEL --tokens 1000000", "kernels bits MODEL --device tpu",
        "kernels check --filter nothing-has-this-name", "init", "init DIR --like nothing",
        "init DIR/new --like tiny --shard-gb 0", "init DIR/new --like tiny --tokenizer absent",
        "init DIR/new --like tiny --seed x",
    ];

    [Theory]
    [MemberData(nameof(Lines))]
    public async Task A_command_line_that_cannot_work_is_refused_in_plain_words(string line)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["empty"]);
        string[] arguments = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(word => word.Replace("DIR", folder["empty"], StringComparison.Ordinal)
                .Replace("MODEL", Golden.PathOf("vit300m-style/hf"), StringComparison.Ordinal))];
        (int code, string output, string error) = await ConsoleRun.RunAsync(arguments);
        bool meant = _failures.Contains(line);
        Assert.True(code == (meant ? ErrorReporting.Failed : ErrorReporting.Usage), $"{code}\n{output}\n{error}");
        PlainWords.Check(output);
        PlainWords.Check(error);
        Assert.True(error.StartsWith("skylight: ", StringComparison.Ordinal) && error.Trim().Split('\n').Length < 12
            || output.Length > 0, error);
        Assert.Equal(["empty"], folder.Names());
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["empty"]));
    }

    [Theory]
    [InlineData("generate", "Latin-1")]
    [InlineData("generate", "UTF-16")]
    [InlineData("chat", "Latin-1")]
    [InlineData("chat", "UTF-16")]
    public async Task Text_on_standard_input_in_another_encoding_is_refused(string command, string encoding)
    {
        using var folder = new TemporaryFolder();
        Skylight.Tests.Chat.TinyChatModel.WriteCheckpoint(folder["model"]);
        string[] arguments = command == "generate" ? ["generate", folder["model"], "--prompt", "-"]
            : ["chat", folder["model"], "--max-tokens", "2"];
        using Process process = SkylightProgram.Start(arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken),
            error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.StandardInput.BaseStream.WriteAsync(encoding == "UTF-16"
            ? Encoding.Unicode.GetBytes("Où est-il?\n") : Encoding.Latin1.GetBytes("Où est-il?\n"),
            TestContext.Current.CancellationToken);
        process.StandardInput.Close();
        await SkylightProgram.EndsAsync(process);
        Assert.Equal((1, ""), (process.ExitCode, (await output).Trim()));
        Assert.StartsWith("skylight: Standard input cannot be read: ", await error, StringComparison.Ordinal);
        Assert.Contains("UTF-8", await error, StringComparison.Ordinal);
        PlainWords.Check(await error);
    }

    private static IEnumerable<(string[] Path, Command Command)> Commands(Command command, string[] path)
    {
        yield return (path, command);
        foreach (Command child in command.Subcommands)
        {
            foreach ((string[] Path, Command Command) below in Commands(child, [.. path, child.Name]))
                yield return below;
        }
    }
}
