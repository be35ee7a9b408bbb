using System.CommandLine;
using System.Text.Json;
using System.Xml.Linq;
using Skylight.Checkpoints;
using Skylight.Cli;
using Skylight.Cli.Evaluation;
using Skylight.Tests.Chat;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cli.Evaluation;

/// <summary>The command, on a checkpoint of random weights with the real tokenizer.</summary>
public sealed class EvalCommandTests
{
    private const string Data = """
        {"id": "1", "question": "What is 2 + 2?", "answer": "4", "category": "Sums"}
        {"id": "2", "question": "Which?", "answer": "B", "options": ["left", "right"]}
        {"id": "3", "question": "Why?", "answer": "because"}
        """;

    [Fact]
    public async Task A_file_of_questions_becomes_a_report()
    {
        using var folder = new TemporaryFolder();
        string model = Checkpoint(folder), data = folder.Write("data.jsonl", Data), output = folder["out"];
        string[] arguments = [model, "--data", data, "--output", output, "--max-tokens", "5", "--seed", "7",
            "--samples", "2"];
        Assert.Equal(0, await Run([.. arguments, "--limit", "2"]));
        Assert.Equal(["report.html", "report.json", "results.jsonl", "settings.json"],
            Directory.GetFiles(output).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
        string[] first = await File.ReadAllLinesAsync(Path.Combine(output, "results.jsonl"),
            TestContext.Current.CancellationToken);
        Assert.Equal(4, first.Length);

        await Assert.ThrowsAsync<InvalidDataException>(() => Run(arguments));
        await Assert.ThrowsAsync<InvalidDataException>(() => Run([.. arguments, "--resume", "--temperature", "0.5"]));
        Assert.Equal(0, await Run([.. arguments, "--resume"]));
        string[] all = await File.ReadAllLinesAsync(Path.Combine(output, "results.jsonl"),
            TestContext.Current.CancellationToken);
        Assert.Equal(first, all[..4]);
        Assert.Equal(6, all.Length);
        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(output, "report.json"), TestContext.Current.CancellationToken));
        Assert.Equal(3, report.RootElement.GetProperty("accuracy").GetProperty("items").GetInt32());
        Assert.Equal(6, report.RootElement.GetProperty("accuracy").GetProperty("samples").GetInt32());
        Assert.InRange(report.RootElement.GetProperty("meanTokens").GetDouble(), 1, 5);
        Assert.Contains("of 3 questions", XDocument.Load(Path.Combine(output, "report.html")).Root!.Value,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Responses_to_options_are_held_to_their_letters()
    {
        using var folder = new TemporaryFolder();
        string model = Checkpoint(folder), data = folder.Write("data.jsonl", Data), output = folder["out"];
        string[] arguments = [model, "--data", data, "--output", output, "--max-tokens", "5", "--samples", "4"];
        Assert.Equal(0, await Run([.. arguments, "--choice"]));
        JsonElement[] results = [.. File.ReadLines(Path.Combine(output, "results.jsonl"))
            .Select(line => JsonDocument.Parse(line).RootElement)];
        foreach (JsonElement result in results)
        {
            if (result.GetProperty("id").GetString() == "2")
                Assert.Matches("^[AB]$", result.GetProperty("answer").GetString());
        }

        Assert.Contains(results, result => result.GetProperty("answer").GetString()!.Length > 1);
        // What was held and what was not are no samples of one thing.
        await Assert.ThrowsAsync<InvalidDataException>(() => Run([.. arguments, "--resume"]));
    }

    [Fact]
    public async Task Responses_that_fail_give_exit_code_1()
    {
        using var folder = new TemporaryFolder();
        string model = Checkpoint(folder), data = folder.Write("data.jsonl", Data);
        Assert.Equal(1,
            await Run([model, "--data", data, "--output", folder["out"], "--max-tokens", "5", "--context", "8"]));
        using JsonDocument report = JsonDocument.Parse(await File.ReadAllTextAsync(
            Path.Combine(folder["out"], "report.json"), TestContext.Current.CancellationToken));
        Assert.Equal(3, report.RootElement.GetProperty("failures").GetInt32());
        Assert.Equal(0, report.RootElement.GetProperty("wrong").GetInt32());
        await Assert.ThrowsAsync<ArgumentException>(
            () => Run([model, "--data", data, "--output", folder["other"], "--ban", " "]));
        await Assert.ThrowsAsync<ArgumentException>(
            () => Run([model, "--data", data, "--output", folder["other"], "--ban", "Waaaaaaait"]));
        Assert.False(Directory.Exists(folder["other"]));
    }

    [Fact]
    public async Task What_is_wrong_is_said_before_a_model_is_loaded()
    {
        using var folder = new TemporaryFolder();
        string data = folder.Write("data.jsonl", Data), wrong = folder.Write("wrong.jsonl", Data + "\n{}");
        Assert.Contains("line 4",
            (await Assert.ThrowsAsync<InvalidDataException>(() => Run([folder["absent"], "--data", wrong]))).Message,
            StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(() => Run([folder["absent"], "--data", data, "--samples", "0"]));
        await Assert.ThrowsAsync<ArgumentException>(() => Run([folder["absent"], "--data", data, "--limit", "0"]));
        await Assert.ThrowsAsync<ArgumentException>(() => Run([folder["absent"], "--data", data, "--cache-tokens", "0"]));
        await Assert.ThrowsAsync<ArgumentException>(() => Run([folder["absent"], "--data", data, "--device", "tpu"]));
        CheckpointException absent = await Assert.ThrowsAsync<CheckpointException>(
            () => Run([folder["absent"], "--data", data, "--output", folder["out"]]));
        Assert.Contains("absent", absent.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["out"]));
    }

    [Fact]
    public void Other_weights_of_the_same_shape_have_another_fingerprint()
    {
        using var folder = new TemporaryFolder();
        string model = Checkpoint(folder), before = ModelFingerprint.Of(model);
        Assert.Equal(before, ModelFingerprint.Of(model));
        string weights = Directory.GetFiles(model, "*.safetensors")[0];
        using (FileStream stream = File.OpenWrite(weights))
        {
            stream.Position = stream.Length - 10;
            stream.WriteByte(0x55);
        }

        Assert.NotEqual(before, ModelFingerprint.Of(model));
    }

    private static string Checkpoint(TemporaryFolder folder)
    {
        TinyChatModel.WriteCheckpoint(folder["model"]);
        return folder["model"];
    }

    private static Task<int> Run(string[] arguments) =>
        EvalCommand.Create().Parse(arguments)
            .InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false },
                TestContext.Current.CancellationToken);
}
