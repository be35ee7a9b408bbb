using System.Text;
using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Text;

namespace Skylight.Tests.Cli;

/// <summary>
/// Every kind of damage in every file, through every command that reads it: exit code 1, plain words that name the
/// file, and nothing written.
/// </summary>
[Collection(nameof(ConsoleOutput))]
public sealed class DamagedFilesTests(DamagedCheckpoint checkpoint) : IClassFixture<DamagedCheckpoint>
{
    private const string IndexName = "model.safetensors.index.json";

    private static readonly string[] _loading = ["generate", "chat", "serve", "eval"];

    public static TheoryData<string, string> Files => new(
        from name in (string[])["config.json", "generation_config.json", "preprocessor_config.json", IndexName,
            "tokenizer.json"]
        from kind in DamagedJson.Kinds
        select (name, kind));

    public static TheoryData<string> Kinds => [.. DamagedJson.Kinds];

    [Fact]
    public async Task The_folder_works_as_long_as_nothing_is_damaged()
    {
        (int code, _, string error) = await ConsoleRun.RunAsync(checkpoint.CommandLine("info"));
        Assert.True(code == 0, error);
        (code, _, error) = await ConsoleRun.RunAsync(checkpoint.CommandLine("generate"));
        Assert.True(code == 0, error);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task Damaged_JSON_is_named(string name, string kind)
    {
        // The text of the real tokenizer is long; that of a small one goes wrong in the same ways.
        string json = name == "tokenizer.json" ? TokenizerFixture.Small().ToJsonString()
            : await File.ReadAllTextAsync(Path.Combine(checkpoint.Folder, name), TestContext.Current.CancellationToken);
        byte[] damaged = DamagedJson.Damage(kind, json);
        await checkpoint.WithAsync(name, file => File.WriteAllBytes(file, damaged), async () =>
        {
            foreach (string command in _loading)
                await ConsoleRun.FailsAsync(checkpoint.CommandLine(command), name);
            if (name == "tokenizer.json")
                return;
            await InfoFails(name);
            await ConsoleRun.FailsAsync(checkpoint.CommandLine("verify"), name);
        });
    }

    [Theory]
    [InlineData("config-gbk.json", "config.json")]
    [InlineData("config-gbk.json", "generation_config.json")]
    [InlineData("config-gbk.json", "preprocessor_config.json")]
    [InlineData("surrogate-key.jsonl", "config.json")]
    [InlineData("surrogate-question.jsonl", "tokenizer.json")]
    public async Task What_went_wrong_for_somebody_is_named(string fault, string name) => await checkpoint.WithAsync(
        name, file => File.Copy(Golden.PathOf("faults/" + fault), file),
        () => ConsoleRun.FailsAsync(checkpoint.CommandLine("generate"), name));

    [Theory]
    [InlineData("surrogate-key.jsonl")]
    [InlineData("surrogate-question.jsonl")]
    public Task Data_that_went_wrong_for_somebody_are_named(string fault) => ConsoleRun.FailsAsync(
        ["eval", checkpoint.Folder, "--data", Golden.PathOf("faults/" + fault), "--output", checkpoint.Output], fault,
        "line 1", "surrogate");

    // Names come out of files, and files from anywhere: none may write to the terminal what is not meant to be read.
    [Fact]
    public async Task No_message_has_escapes_for_the_terminal()
    {
        using var folder = new TemporaryFolder();
        string data = folder.Write("data.jsonl",
            "{\"id\": \"\\u001b[31mred\\u0007\", \"question\": \"q\", \"answer\": \"a\"}\n{\"id\": " +
            "\"\\u001b[31mred\\u0007\", \"question\": \"q\", \"answer\": \"a\"}\n");
        string error = await ConsoleRun.FailsAsync(
            ["eval", checkpoint.Folder, "--data", data, "--output", folder["out"]], "line 2", "red");
        Assert.DoesNotContain(error, character => char.IsControl(character) && character is not ('\n' or '\r'));
    }

    [Theory]
    [InlineData("config.json", "hidden_size", "1e400")]
    [InlineData("config.json", "hidden_size", "-1e999")]
    [InlineData("config.json", "hidden_size", "3000000000")]
    [InlineData("config.json", "hidden_size", "\"64\"")]
    [InlineData("config.json", "rope_theta", "1e999")]
    [InlineData("config.json", "rms_norm_eps", "[]")]
    [InlineData("config.json", "architectures", "[{}]")]
    [InlineData("config.json", "architectures", "{}")]
    [InlineData("config.json", "model_type", "7")]
    [InlineData("generation_config.json", "eos_token_id", "1e400")]
    [InlineData("generation_config.json", "eos_token_id", "[1, 2.5]")]
    public async Task A_value_out_of_range_is_named_with_its_field(string name, string field, string value)
    {
        string json = await File.ReadAllTextAsync(Path.Combine(checkpoint.Folder, name),
            TestContext.Current.CancellationToken);
        string changed = System.Text.RegularExpressions.Regex.Replace(json,
            $"\"{field}\":\\s*(\\[[^\\]]*\\]|[^,\\n}}]+)", $"\"{field}\": {value}");
        Assert.NotEqual(json, changed);
        await checkpoint.WithAsync(name, file => File.WriteAllText(file, changed), async () =>
        {
            await ConsoleRun.FailsAsync(checkpoint.CommandLine("info"), name, field);
            await ConsoleRun.FailsAsync(checkpoint.CommandLine("generate"), name, field);
        });
    }

    public static TheoryData<string> Names =>
        ["config.json", "generation_config.json", "preprocessor_config.json", IndexName, "tokenizer.json"];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task What_never_ends_is_named(string name)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Linux has a device without end.");
        await checkpoint.WithAsync(name, file => File.CreateSymbolicLink(file, "/dev/zero"),
            () => ConsoleRun.FailsAsync(checkpoint.CommandLine("generate"), name, "more than the"));
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("tokenizer.json")]
    [InlineData("model-00001-of-00004.safetensors")]
    public async Task A_folder_in_the_place_of_a_file_is_named(string name)
    {
        Assert.True(File.Exists(Path.Combine(checkpoint.Folder, name)), "There are other shards.");
        await checkpoint.WithAsync(name, file => Directory.CreateDirectory(file),
            () => ConsoleRun.FailsAsync(checkpoint.CommandLine("generate"), name));
    }

    public static TheoryData<string> ShardFaults => ["empty", "cut in the header", "cut in the data", "one byte more",
        "wrong dtype", "wrong rank", "a picture", "missing", "half a pair in a name", "deep"];

    [Theory]
    [MemberData(nameof(ShardFaults))]
    public async Task A_damaged_shard_is_named(string fault)
    {
        string shard = Path.GetFileName(
            Directory.GetFiles(checkpoint.Folder, "model-*.safetensors").Order(StringComparer.Ordinal).First());
        byte[] bytes = await File.ReadAllBytesAsync(Path.Combine(checkpoint.Folder, shard),
            TestContext.Current.CancellationToken);
        int header = BitConverter.ToInt32(bytes, 0);
        string json = Encoding.UTF8.GetString(bytes, 8, header);
        byte[]? damaged = fault switch
        {
            "empty" => [],
            "cut in the header" => bytes[..(8 + header / 2)],
            "cut in the data" => bytes[..(bytes.Length - 1000)],
            "one byte more" => [.. bytes, 0],
            "wrong dtype" =>
                With(json.Replace("\"BF16\"", "\"F16\"", StringComparison.Ordinal)
                    .Replace("\"F16\"", "\"I16\"", StringComparison.Ordinal)),
            "wrong rank" => With(json.Replace("\"shape\":[", "\"shape\":[1,", StringComparison.Ordinal)),
            "a picture" => await File.ReadAllBytesAsync(Chat.ChatCheckpoint.Picture("cat.png"),
                TestContext.Current.CancellationToken),
            "half a pair in a name" =>
                With("{\"\\ud800\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}," + json[1..]),
            "deep" => With("{\"x\":" + new string('[', 10_000) + new string(']', 10_000) + "," + json[1..]),
            _ => null,
        };
        await checkpoint.WithAsync(
            shard,
            file =>
            {
                if (damaged is not null)
                    File.WriteAllBytes(file, damaged);
            },
            async () =>
            {
                foreach (string command in _loading)
                    await ConsoleRun.FailsAsync(checkpoint.CommandLine(command), shard);
                await InfoFails(shard);
                await ConsoleRun.FailsAsync(checkpoint.CommandLine("verify"), shard);
            });

        byte[] With(string other) => [.. BitConverter.GetBytes((long)Encoding.UTF8.GetByteCount(other)),
            .. Encoding.UTF8.GetBytes(other), .. bytes[(8 + header)..]];
    }

    // The configuration is printed all the same; that the weights are not there, or cannot be loaded, is said among the
    // rest, and by the exit code.
    [Fact]
    public async Task Info_of_a_configuration_without_weights_prints_it_and_gives_exit_code_1()
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(checkpoint.Folder, "config.json"), folder["config.json"]);
        (int code, string output, string error) = await ConsoleRun.RunAsync("info", folder.Path);
        Assert.Equal((1, ""), (code, error));
        foreach (string part in (string[])["InternVLChatModel", "cannot be loaded",
            "holds neither model.safetensors nor", "inference: "])
            Assert.Contains(part, output, StringComparison.Ordinal);
        PlainWords.Check(output);
        (code, output, _) = await ConsoleRun.RunAsync("info", folder.Path, "--json");
        Assert.Equal(1, code);
        Assert.Contains("holds neither", JsonNode.Parse(output)!["weights"]!["problem"]!.GetValue<string>(),
            StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Damaged_evaluation_data_are_named_with_their_line(string kind)
    {
        using var folder = new TemporaryFolder();
        byte[] good = "{\"id\": \"0\", \"question\": \"q\", \"answer\": \"a\"}\n"u8.ToArray(),
            bad = DamagedJson.Damage(kind, """{"id": "1", "question": "q", "answer": "a"}""");
        string data = folder.Write("data.jsonl", kind is "empty" or "blank" ? bad : [.. good, .. bad]);
        string[] arguments = ["eval", checkpoint.Folder, "--data", data, "--output", folder["out"]];
        string error = await ConsoleRun.FailsAsync(arguments, "data.jsonl");
        Assert.True(kind is "empty" or "blank" || error.Contains("line 2", StringComparison.Ordinal), error);
        Assert.False(Directory.Exists(folder["out"]));
    }

    [Theory]
    [InlineData("UTF-16")]
    [InlineData("UTF-32")]
    [InlineData("Latin-1")]
    public async Task Evaluation_data_in_another_encoding_are_refused(string encoding)
    {
        using var folder = new TemporaryFolder();
        const string Text =
            "{\"id\": \"0\", \"question\": \"q\", \"answer\": \"a\"}\r\n{\"id\": \"1\", \"question\": \"Où?\", " +
            "\"answer\": \"a\"}\r\n";
        byte[] bytes = encoding switch
        {
            "UTF-16" => Encoding.Unicode.GetBytes(Text),
            "UTF-32" => Encoding.UTF32.GetBytes(Text),
            _ => Encoding.Latin1.GetBytes(Text),
        };
        await ConsoleRun.FailsAsync(
            ["eval", checkpoint.Folder, "--data", folder.Write("data.jsonl", bytes), "--output", folder["out"]],
            "data.jsonl", encoding == "Latin-1" ? "line 2: " : "line 1", encoding == "Latin-1" ? "byte 27 is 0xF9" : "",
            "UTF-8");
    }

    public static TheoryData<string> Results => [.. DamagedJson.Kinds.Except(["empty", "blank"]), "{}",
        "{\"id\":\"1\"}", "{\"id\":null,\"sample\":0}", "{\"id\":\"1\",\"sample\":1e400}",
        "{\"id\":\"1\",\"sample\":0,\"rule\":77}", "{\"id\":\"1\",\"sample\":0,\"end\":\"Never\"}",
        "{\"id\":\"1\",\"sample\":0,\"entropy\":null}", "{\"id\":\"1\",\"sample\":0,\"answer\":null}",
        "{\"id\":\"1\",\"sample\":0,\"entropy\":{}}", "[null]"];

    [Theory]
    [MemberData(nameof(Results))]
    public async Task A_damaged_line_of_results_is_named_on_resuming(string kind)
    {
        string[] arguments = [.. checkpoint.CommandLine("eval"), "--resume"];
        await Begun(async () =>
        {
            string file = Path.Combine(checkpoint.Output, "results.jsonl");
            byte[] bad = kind[0] is '{' or '[' ? Encoding.UTF8.GetBytes(kind)
                : DamagedJson.Damage(kind, "{\"id\":\"1\",\"sample\":0}");
            byte[] damaged = [.. await File.ReadAllBytesAsync(file), .. bad, (byte)'\n'];
            await File.WriteAllBytesAsync(file, damaged);
            await ConsoleRun.FailsAsync(arguments, "results.jsonl", "line 2");
            Assert.Equal(damaged, await File.ReadAllBytesAsync(file));
        });
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Damaged_settings_are_named_on_resuming(string kind) => await Begun(async () =>
    {
        string file = Path.Combine(checkpoint.Output, "settings.json");
        byte[] damaged = DamagedJson.Damage(kind, await File.ReadAllTextAsync(file));
        await File.WriteAllBytesAsync(file, damaged);
        await ConsoleRun.FailsAsync([.. checkpoint.CommandLine("eval"), "--resume"], "settings.json");
        Assert.Equal(damaged, await File.ReadAllBytesAsync(file));
    });

    [Fact]
    public async Task Settings_that_went_wrong_for_somebody_are_named() => await Begun(async () =>
    {
        File.Copy(Golden.PathOf("faults/eval-settings-damaged.json"), Path.Combine(checkpoint.Output, "settings.json"),
            overwrite: true);
        await ConsoleRun.FailsAsync([.. checkpoint.CommandLine("eval"), "--resume"], "settings.json");
        await File.WriteAllTextAsync(Path.Combine(checkpoint.Output, "settings.json"),
            "{\"seed\": 1e999, \"temperature\": \"" + new string('x', 5000) + "\"}");
        await ConsoleRun.FailsAsync([.. checkpoint.CommandLine("eval"), "--resume"], "another");
    });

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_damaged_state_of_a_demo_is_named(string kind)
    {
        using var folder = new TemporaryFolder();
        folder.Write("run/demo.json", DamagedJson.Damage(kind, """{"Seed": 3}"""));
        await ConsoleRun.FailsAsync(["demo", "--resume", folder["run"]], "demo.json");
    }

    [Theory]
    [InlineData("{\"Seed\": 1e999}", "'Seed'")]
    [InlineData("{\"Preset\": 77}", "'Preset'")]
    [InlineData("{\"Preset\": \"Slow\"}", "'Preset'")]
    [InlineData("{\"Tests\": [null]}", "null")]
    [InlineData("{\"Tests\": null}", "'Tests'")]
    [InlineData("{\"Tests\": [{}]}", "'Tests[0]' lacks")]
    [InlineData(
        "{\"Tests\": [{\"Phase\": \"pretrained\", \"Correct\": 3, \"Count\": 2, \"Seconds\": 1, \"Examples\": []}]}",
        "3 of 2")]
    [InlineData(
        "{\"Tests\": [{\"Phase\": \"pretrained\", \"Correct\": 1, \"Count\": 2, \"Seconds\": 1, \"Examples\": [{}]}]}",
        "lacks")]
    public async Task A_state_that_no_demo_has_is_named(string state, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("run/demo.json", state);
        await ConsoleRun.FailsAsync(["demo", "--resume", folder["run"]], "demo.json", expected);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_damaged_table_of_kernels_is_named(string kind)
    {
        using var folder = new TemporaryFolder();
        // An object is no table, damaged or not; a list of what is damaged is one for the rest.
        byte[] damaged = DamagedJson.Damage(kind, "{}");
        await ConsoleRun.FailsAsync(["kernels", "compile", "--budget", folder.Write("budget.json", damaged)], "budget.json");
        foreach (string row in (string[])["null", "{}", "{\"kernel\":null}",
            "{\"kernel\":\"k\",\"architecture\":\"sm_80\",\"registers\":1e400,\"spillBytes\":0,\"stackBytes\":0,\"sharedBytes\":0,\"threads\":1}"])
            await ConsoleRun.FailsAsync(["kernels", "compile", "--budget", folder.Write("budget.json", $"[{row}]")],
                "budget.json");
    }

    private async Task InfoFails(string name)
    {
        (int code, string output, string error) = await ConsoleRun.RunAsync(checkpoint.CommandLine("info"));
        Assert.True(code == 1, output + error);
        Assert.True((output + error).Contains(name, StringComparison.Ordinal), output + error);
        PlainWords.Check(output);
        PlainWords.Check(error);
    }

    /// <summary>An evaluation that is complete, for what goes wrong when it is gone on with.</summary>
    private async Task Begun(Func<Task> run)
    {
        try
        {
            (int code, _, string error) = await ConsoleRun.RunAsync(checkpoint.CommandLine("eval"));
            Assert.True(code == 0, error);
            await run();
        }
        finally
        {
            if (Directory.Exists(checkpoint.Output))
                Directory.Delete(checkpoint.Output, recursive: true);
        }
    }
}
