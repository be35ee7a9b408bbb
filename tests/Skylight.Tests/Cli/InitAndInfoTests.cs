using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cli;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Text;

namespace Skylight.Tests.Cli;

/// <summary><c>skylight init</c> and <c>skylight info</c>.</summary>
[Collection(nameof(ConsoleOutput))]
public class InitAndInfoTests
{
    [Fact]
    public async Task A_model_is_quantised_described_and_answers()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(0, (await ConsoleRun.RunAsync(["init", "--like", "demo", folder["demo"]])).Code);
        folder.Write("texts.jsonl", "{\"text\": \"Wait, the sum of digits\"}\n");
        (int code, string output, string error) = await ConsoleRun.RunAsync(["quantize", folder["demo"], "--output",
            folder["made"], "--type", "q4", "--format", "awq", "--calibrate", folder["texts.jsonl"], "--json"]);
        Assert.True(code == 0, error);
        using (JsonDocument json = JsonDocument.Parse(output))
            Assert.Equal(1, json.RootElement.GetProperty("calibrationSequences").GetInt32());
        (code, output, error) = await ConsoleRun.RunAsync(["quantize", folder["demo"], "--output", folder["q8"], "--type", "q8",
            "--vision", "q8"]);
        Assert.True(code == 0, error);
        Assert.Contains("down_proj", output, StringComparison.Ordinal);
        Assert.Contains("demo-Q8_0.gguf, mmproj-demo-Q8_0.gguf", output, StringComparison.Ordinal);
        foreach (string made in (string[])["made", "q8"])
        {
            (code, output, error) = await ConsoleRun.RunAsync(["info", folder[made]]);
            Assert.True(code == 0, error);
            Assert.Contains(made == "made" ? "AWQ 4-bit, group 128" : "Q8_0", output, StringComparison.Ordinal);
        }

        (code, output, error) = await ConsoleRun.RunAsync(["init", "--like", "demo", "--dtype", "q4", folder["q4"]]);
        Assert.True(code == 0, error);
        Assert.Contains("in q4", output, StringComparison.Ordinal);
        Assert.Equal(0, (await ConsoleRun.RunAsync(["info", folder["q4"]])).Code);

        (code, _, error) = await ConsoleRun.RunAsync(["quantize", folder["demo"], "--output", folder["x"], "--type", "q5"]);
        Assert.Equal(2, code);
        Assert.Contains("q4", error, StringComparison.Ordinal);
        (code, _, error) = await ConsoleRun.RunAsync(["quantize", folder["demo"], "--output", folder["x"], "--type", "q4",
            "--samples", "3"]);
        Assert.Equal(2, code);
        Assert.Contains("--calibrate", error, StringComparison.Ordinal);
        folder.Write("empty.jsonl", "{\"other\": 1}\n");
        (code, _, error) = await ConsoleRun.RunAsync(["quantize", folder["demo"], "--output", folder["x"], "--type", "q4",
            "--calibrate", folder["empty.jsonl"]]);
        Assert.Equal(1, code);
        Assert.Contains("empty.jsonl", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["x"]));
    }

    [Fact]
    public async Task ACheckpointIsMadeAndDescribed()
    {
        using var folder = new TemporaryFolder();
        folder.Write("the-tokenizer.json", TokenizerFixture.RealJson);
        (int code, string output) = await Run(InitCommand.Create(), "--like", "tiny", folder["model"], "--naming",
            "huggingface", "--shard-gb", "0.02", "--tokenizer", folder["the-tokenizer.json"], "--seed", "3");
        Assert.Equal(0, code);
        Assert.Contains("in the shape of tiny", output, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(folder["model"], "tokenizer.json")));

        (code, output) = await Run(InfoCommand.Create(), folder["model"]);
        Assert.Equal(0, code);
        // Of bfloat16 where the processor computes with that.
        using var device = new CpuDevice();
        int keyBytes = device.KeyValueType(DataType.BFloat16).Size();
        foreach (string part in (string[])["InternVLChatModel (internvl_chat)", "HuggingFace naming", "of bfloat16",
            "32768, RoPE base 1000000", "longer prompts are refused", "256 tokens each", "internvl2_5", "151645",
            $"{128 * keyBytes} bytes for each token", "which fits cpu"])
            Assert.Contains(part, output, StringComparison.Ordinal);

        (code, output) = await Run(InfoCommand.Create(), folder["model"], "--json", "--context", "1000", "--batch", "2",
            "--tiles", "1");
        Assert.Equal(0, code);
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement root = json.RootElement;
        Assert.Equal(root.GetProperty("bytes").GetInt64(), root.GetProperty("weights").GetProperty("bytes").GetInt64());
        Assert.Equal(root.GetProperty("parameters").GetInt64(),
            root.GetProperty("modules").EnumerateArray().Sum(module => module.GetProperty("parameters").GetInt64()));
        JsonElement inference = root.GetProperty("plans")[0];
        Assert.Contains("context 1000, batch 2, 1 tiles", inference.GetProperty("task").GetString(),
            StringComparison.Ordinal);
        Assert.True(inference.GetProperty("fits").GetBoolean());
        // 1000 tokens are 32 pages of 32 tokens for each of two sequences.
        Assert.Equal(2 * 32 * 32 * 128 * keyBytes, inference.GetProperty("parts").GetProperty("keyValueCache").GetInt64());

        (_, output) = await Run(InfoCommand.Create(), folder["model"], "--device", "sm_90a", "--memory-gb", "0.05",
            "--context", "4096");
        Assert.Contains("256 bytes for each token on sm_90a", output, StringComparison.Ordinal);
        Assert.Contains("which does not fit sm_90a (0.05 GB)", output, StringComparison.Ordinal);
        (_, output) = await Run(InfoCommand.Create(), folder["model"], "--device", "sm_80");
        Assert.DoesNotContain("fit", output, StringComparison.Ordinal);

        await Assert.ThrowsAsync<CheckpointException>(() => Run(InitCommand.Create(), "--like", "tiny", folder["model"]));
        foreach (string option in (string[])["--context", "--batch", "--tokens"])
            Assert.Contains($"{option} is 0",
                (await Assert.ThrowsAsync<ArgumentException>(
                    () => Run(InfoCommand.Create(), folder["model"], option, "0"))).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(() => Run(InfoCommand.Create(), folder["model"], "--context", "40000"));
        await Assert.ThrowsAsync<ArgumentException>(() => Run(InfoCommand.Create(), folder["model"], "--device", "tpu"));
        await Assert.ThrowsAsync<CheckpointException>(() => Run(InfoCommand.Create(), folder["absent"]));
    }

    [Fact]
    public void WithoutWeightsTheRestIsStillSaid()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("skywork-r1v3-38b");
        folder.Write("config.json", configuration.ToOriginalJson());
        using var device = new CpuDevice(long.MaxValue);
        CheckpointInfo info = CheckpointInfo.Of(folder.Path, device, 80_000_000_000, new InfoRequest());
        Assert.Contains("model.safetensors", info.Weights.Problem!, StringComparison.Ordinal);
        Assert.Equal("skywork_chat", info.ModelType);
        Assert.InRange(info.Bytes, 76.7e9, 76.9e9);
        Assert.InRange(info.Modules.Single(module => module.Name == "vision").Parameters, 5.5e9, 5.6e9);
        Assert.InRange(info.Modules.Single(module => module.Name == "connector").Parameters, 91.7e6, 91.9e6);
        Assert.Equal(131_072 * device.KeyValueType(DataType.BFloat16).Size(), info.KeyValueBytesPerToken);
        Assert.All(info.Plans, plan => Assert.Null(plan.Problem));
        Assert.All(info.Plans, plan => Assert.Equal(false, plan.Fits));
        Assert.All(info.Plans, plan => Assert.InRange(plan.PeakBytes, info.Bytes, 150e9));
        // Two moments, a master and a gradient of float32 for each of the connector's weights.
        Assert.InRange(info.Plans[1].Parts["gradientsAndOptimizer"], 16 * 91.7e6, 16 * 92e6);
        Assert.Contains("which does not fit cpu (80.00 GB)", InfoText.Format(info), StringComparison.Ordinal);

        long kept = CheckpointInfo.Of(folder.Path, device, 80_000_000_000, new InfoRequest(Recompute: false))
            .Plans[1].Parts["activations"];
        Assert.True(kept > 2 * info.Plans[1].Parts["activations"], $"{kept} bytes with all kept");
    }

    [Fact]
    public void WeightsThatDoNotFitAreAProblemAndNotAnError()
    {
        using var folder = new TemporaryFolder();
        RandomCheckpoint.Write(folder["model"], CheckpointFixture.Small(), StoredType.Float32, 1);
        ModelConfiguration other = CheckpointFixture.Small() with
        {
            Language = CheckpointFixture.Small().Language with { IntermediateSize = 44 },
        };
        File.WriteAllText(Path.Combine(folder["model"], "config.json"), other.ToJson());
        using var device = new CpuDevice(long.MaxValue);
        CheckpointInfo info = CheckpointInfo.Of(folder["model"], device, 1_000_000_000,
            new InfoRequest(TrainingTokens: 128, Tiles: 1));
        Assert.Contains("of another shape", info.Weights.Problem!, StringComparison.Ordinal);
        Assert.Equal(["float32"], info.Weights.DataTypes);
        Assert.Contains("cannot be loaded", InfoText.Format(info), StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output)> Run(System.CommandLine.Command command, params string[] arguments)
    {
        TextWriter before = Console.Out;
        using var output = new StringWriter();
        Console.SetOut(output);
        try
        {
            int code = await command.Parse(arguments)
                .InvokeAsync(new System.CommandLine.InvocationConfiguration { EnableDefaultExceptionHandler = false });
            return (code, output.ToString());
        }
        finally
        {
            Console.SetOut(before);
        }
    }
}

/// <summary>Tests that take over the console run one after the other.</summary>
[CollectionDefinition(nameof(ConsoleOutput), DisableParallelization = true)]
public sealed class ConsoleOutput;
