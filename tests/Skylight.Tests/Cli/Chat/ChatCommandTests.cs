using System.Text.Json;
using Skylight.Models;
using Skylight.Tests.Chat;

namespace Skylight.Tests.Cli.Chat;

/// <summary><c>skylight generate</c> and <c>skylight chat</c> as a user starts them.</summary>
public sealed class ChatCommandTests(ChatCheckpoint checkpoint) : IClassFixture<ChatCheckpoint>
{
    private static readonly string[] s_drawn = ["--temperature", "1", "--seed", "3", "--max-tokens", "8"];

    [Fact]
    public async Task An_answer_goes_on_from_its_given_beginning()
    {
        string[] command = ["generate", checkpoint.Folder, "--prompt", "Hello", "--json", .. s_drawn];
        (_, string plain, _) = await SkylightProgram.RunAsync(command);
        (int code, string begun, string error) = await SkylightProgram.RunAsync([.. command, "--prefill", "The"]);
        Assert.True(code == 0, error);
        // "The" is one token, and behind it the model writes something else.
        Assert.Equal(PromptTokens(plain) + 1, PromptTokens(begun));
        Assert.NotEqual(Answer(plain), Answer(begun));

        static int PromptTokens(string json) => JsonDocument.Parse(json).RootElement.GetProperty("promptTokens").GetInt32();

        static string Answer(string json) => JsonDocument.Parse(json).RootElement.GetProperty("answer").GetString()!;
    }

    [Fact]
    public async Task Generate_writes_the_answer_and_JSON_tells_the_rest()
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "Hello", .. s_drawn]);
        Assert.True(code == 0, error);
        Assert.Equal("", error);
        (_, string json, _) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "-", "--json", .. s_drawn], "Hello");
        JsonElement result = JsonDocument.Parse(json).RootElement;
        Assert.Equal(output.TrimEnd('\r', '\n'), result.GetProperty("answer").GetString()!.TrimEnd('\r', '\n'));
        Assert.Equal("tiny-model", result.GetProperty("model").GetString());
        Assert.Equal("", result.GetProperty("thinking").GetString());
        Assert.InRange(result.GetProperty("completionTokens").GetInt32(), 1, 8);
        Assert.Equal(0, result.GetProperty("imageTokens").GetInt32());

        (code, json, error) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "What is this?", "--image", ChatCheckpoint.Picture("cat.png"),
                "--image", ChatCheckpoint.Picture("gray.jpg"), "--max-tiles", "1", "--system", "Be brief.", "--json",
                .. s_drawn]);
        Assert.True(code == 0, error);
        Assert.Equal(512, JsonDocument.Parse(json).RootElement.GetProperty("imageTokens").GetInt32());
    }

    [Fact]
    public async Task An_answer_has_the_form_that_is_named()
    {
        using var folder = new TemporaryFolder();
        string schema = folder.Write("a.schema.json", """
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["n"],
             "additionalProperties": false}
            """);
        string grammar = folder.Write("a.gbnf", "root ::= \"<\" [xy]{2} \">\"");
        string[] ask = ["generate", checkpoint.Folder, "--prompt", "Hello", "--seed", "3", "--temperature", "1"];
        foreach ((string[] form, string expected) in ((string[], string)[])[(["--choice", "yes", "--choice", "no"], "^(yes|no)$"),
            (["--regex", "[0-9]{4}"], "^[0-9]{4}$"), (["--grammar", grammar], "^<[xy]{2}>$"),
            (["--json-schema", schema, "--max-tokens", "120"], @"^\{\s*""n"": ?[1-9]\s*\}$")])
        {
            (int code, string output, string error) = await SkylightProgram.RunAsync([.. ask, .. form]);
            Assert.True(code == 0, error);
            Assert.Matches(expected, output.Trim());
        }

        foreach ((int expectedCode, string[] form, string expected) in ((int, string[], string)[])[
            (2, ["--choice", "yes", "--regex", "a"], "both give the answer a form"), (2, ["--regex", "("], "is not closed"),
            (2, ["--json-schema", grammar], "a.gbnf': The schema is not valid JSON"),
            (2, ["--grammar", schema], "a.schema.json': the grammar, line 1"), (1, ["--grammar", folder["none"]], "none")])
        {
            (int code, string output, string error) = await SkylightProgram.RunAsync([.. ask, .. form]);
            Assert.Equal((expectedCode, ""), (code, output));
            Assert.Contains(expected, error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Thinking_goes_to_the_error_stream_where_there_is_no_terminal()
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "Hello", "--think", "on", .. s_drawn]);
        Assert.Equal(0, code);
        Assert.Equal("", output.Trim());
        (_, string json, _) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "Hello", "--think", "on", "--json", .. s_drawn]);
        JsonElement result = JsonDocument.Parse(json).RootElement;
        string thinking = result.GetProperty("thinking").GetString()!;
        Assert.True(thinking.Length > 5);
        Assert.Equal(thinking.Trim(), error.Trim());
        Assert.Equal(result.GetProperty("completionTokens").GetInt32(), result.GetProperty("thinkingTokens").GetInt32());
    }

    [Theory]
    [InlineData("q8")]
    [InlineData("q4")]
    public async Task Weights_are_rounded_on_request(string type)
    {
        string[] command = ["generate", checkpoint.Folder, "--prompt", "Hello", .. s_drawn];
        (int code, string rounded, _) = await SkylightProgram.RunAsync([.. command, "--dtype", type]);
        Assert.Equal(0, code);
        (_, string exact, _) = await SkylightProgram.RunAsync(command);
        Assert.NotEqual("", rounded.Trim());
        Assert.NotEqual(exact, rounded);
    }

    [Theory]
    [InlineData("--image /nowhere/cat.png", "/nowhere/cat.png")]
    [InlineData("--temperature -1", "temperature")]
    [InlineData("--max-tokens 1000000", "exceeds the context")]
    [InlineData("--context 0", "--context")]
    [InlineData("--context 4", "and the context has 4: none is left for an answer.\n")]
    [InlineData("--cache-tokens 2147483647", "key-value cache of 2,147,483,648 tokens")]
    [InlineData("--max-tiles 0", "1 to 1024 tiles")]
    [InlineData("--device tpu", "no device 'tpu'")]
    [InlineData("--kv-cache-dtype int8", "multiple of 32; those of this model are 16 wide: leave the type out")]
    public async Task What_cannot_be_used_is_named(string arguments, string expected)
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "Hello", .. arguments.Split(' ')]);
        // What there is not, of files or of memory or in a model, is no fault of the command line.
        Assert.Equal(arguments.StartsWith("--image", StringComparison.Ordinal)
            || arguments.StartsWith("--cache-tokens", StringComparison.Ordinal)
            || arguments.StartsWith("--kv-cache-dtype", StringComparison.Ordinal) ? 1 : 2, code);
        Assert.Equal("", output);
        Assert.StartsWith("skylight: ", error, StringComparison.Ordinal);
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.Single(error.Trim().Split('\n'));
    }

    [Fact]
    public async Task Keys_and_values_are_kept_in_the_type_that_is_asked_for()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration tiny = ModelFamily.Configuration("tiny");
        TinyChatModel.WriteCheckpoint(folder["model"],
            tiny with { Language = tiny.Language with { HiddenSize = 128, HeadDimension = 32 } });
        string[] answer = ["generate", folder["model"], "--prompt", "Hello", "--temperature", "1", "--seed", "3", "--max-tokens",
            "24", "--json"];
        (_, string plain, _) = await SkylightProgram.RunAsync(answer);
        foreach (string type in (string[])["auto", "int8"])
        {
            (int code, string output, string error) = await SkylightProgram.RunAsync([.. answer, "--kv-cache-dtype", type]);
            Assert.True(code == 0, error);
            Assert.NotEqual("", Answer(output));
            if (type == "auto")
                Assert.Equal(Answer(plain), Answer(output));
        }

        (int done, string facts, _) = await SkylightProgram.RunAsync(["info", folder["model"], "--kv-cache-dtype", "int8",
            "--json", "--context", "1000", "--batch", "2", "--tiles", "1"]);
        Assert.Equal(0, done);
        JsonElement info = JsonDocument.Parse(facts).RootElement;
        // Two layers, two heads of keys and as many of values, each 32 codes and a scale.
        Assert.Equal(2 * 2 * 2 * 34, info.GetProperty("keyValueBytesPerToken").GetInt64());
        Assert.Equal(2 * 32 * 32 * 2 * 2 * 2 * 34,
            info.GetProperty("plans")[0].GetProperty("parts").GetProperty("keyValueCache").GetInt64());
        (done, _, string refused) = await SkylightProgram.RunAsync(["info", folder["model"], "--kv-cache-dtype", "int8",
            "--device", "sm_90a"]);
        Assert.NotEqual(0, done);
        Assert.Contains("keeps no keys and values in Int8: leave the type out", refused, StringComparison.Ordinal);

        static string Answer(string json) => JsonDocument.Parse(json).RootElement.GetProperty("answer").GetString()!;
    }

    [Fact]
    public async Task What_is_wrong_with_the_question_is_said_before_weights_are_read()
    {
        string absent = Path.Combine(checkpoint.Folder, "nothing");
        await Fails(["generate", absent, "--prompt", "Hello", "--max-tokens", "0"], "at least 1 new token");
        await Fails(["generate", absent, "--prompt", " "], "The question is empty");
        await Fails(["generate", absent, "--prompt", "-"], "The question is empty");
        await Fails(["chat", absent, "--top-p", "2"], "Top-p");
        await Fails(["generate", absent, "--prompt", " ", "--image", ChatCheckpoint.Picture("cat.png")], "config.json", 1);

        static async Task Fails(string[] arguments, string expected, int expectedCode = 2)
        {
            (int code, string output, string error) = await SkylightProgram.RunAsync(arguments);
            Assert.Equal((expectedCode, ""), (code, output));
            Assert.Contains(expected, Assert.Single(error.Trim().Split('\n')), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_folder_without_a_model_is_named()
    {
        string folder = Path.Combine(checkpoint.Folder, "nothing");
        foreach (string command in new[] { "generate", "chat", "serve" })
        {
            (int code, _, string error) = await SkylightProgram.RunAsync(
                [command, folder, .. command == "generate" ? new[] { "--prompt", "Hello" } : []]);
            Assert.Equal(1, code);
            Assert.StartsWith("skylight: ", error, StringComparison.Ordinal);
            Assert.Contains("nothing", error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_piped_chat_answers_line_by_line()
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["chat", checkpoint.Folder, .. s_drawn], "Hello\n/reset\nHello\n/exit\nnever asked\n");
        Assert.True(code == 0, error);
        (_, string alone, _) = await SkylightProgram.RunAsync(
            ["generate", checkpoint.Folder, "--prompt", "Hello", .. s_drawn]);
        Assert.Equal(alone + alone, output);

        (code, output, error) = await SkylightProgram.RunAsync(["chat", checkpoint.Folder, .. s_drawn],
            "/image /nowhere/cat.png\n/dance\nHello\n");
        Assert.Equal(1, code);
        Assert.Equal(alone, output);
        Assert.Contains("/nowhere/cat.png", error, StringComparison.Ordinal);
        Assert.Contains("no command '/dance'", error, StringComparison.Ordinal);
    }
}
