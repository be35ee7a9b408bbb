using System.CommandLine;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cli;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Images;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Tests.Cli;

/// <summary><c>skylight init --like demo</c>.</summary>
[Collection(nameof(ConsoleOutput))]
public sealed class InitDemoTests
{
    private static readonly string[] s_tokenizerFiles = ["chat_template.jinja", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json"];

    [Theory]
    [InlineData(null, null, CheckpointNaming.HuggingFaceNested, StoredType.Float32)]
    [InlineData("original", "bfloat16", CheckpointNaming.Original, StoredType.BFloat16)]
    [InlineData("huggingface", "float32", CheckpointNaming.HuggingFace, StoredType.Float32)]
    public async Task It_is_a_whole_checkpoint_that_is_read_back_equal(string? naming, string? type,
        CheckpointNaming expectedNaming, StoredType expectedType)
    {
        using var folder = new TemporaryFolder();
        await Init(folder["model"],
            [.. naming is null ? [] : (string[])["--naming", naming], .. type is null ? [] : (string[])["--dtype", type]]);
        string[] processor = naming == "original" ? [] : ["preprocessor_config.json", "processor_config.json"];
        Assert.Equal(
            [.. s_tokenizerFiles.Concat(processor)
                .Concat(["config.json", "generation_config.json", "model.safetensors"]).Order(StringComparer.Ordinal)],
            Directory.EnumerateFiles(folder["model"]).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));

        string weightType = expectedType == StoredType.Float32 ? "float32" : "bfloat16";
        Assert.Equal(ModelFamily.Configuration("demo") with { WeightType = weightType },
            ModelConfiguration.Load(folder["model"]));
        using (CheckpointReader reader = CheckpointReader.Open(folder["model"]))
            Assert.Equal(expectedNaming, reader.DetectNaming());

        // The preprocessor's own file says all that config.json says.
        if (processor.Length > 0)
        {
            using JsonDocument file = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder["model"], processor[0])));
            Assert.Equal((2, 28),
                (file.RootElement.GetProperty("max_patches").GetInt32(),
                    file.RootElement.GetProperty("size").GetProperty("width").GetInt32()));
            Assert.Equal([0.1307, 0.1307, 0.1307],
                file.RootElement.GetProperty("image_mean").EnumerateArray().Select(number => number.GetDouble()));
        }

        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder["model"], device, DataType.Float32);
        using var seeded = new VisionLanguageModel(model.Configuration, device, DataType.Float32);
        seeded.Initialize(4);
        foreach (PersistentTensor parameter in model.Parameters.All)
        {
            float[] expected = PersistentTensors.Read(device, seeded.Parameters[parameter.Name]);
            Assert.Equal(expectedType == StoredType.Float32 ? expected
                : [.. expected.Select(value => (float)(BFloat16)value)], PersistentTensors.Read(device, parameter));
        }
    }

    [Fact]
    public async Task A_chat_reads_what_transformers_would_and_answers()
    {
        using var folder = new TemporaryFolder();
        await Init(folder["model"]);
        using ChatModel model = await ChatModel.LoadAsync(folder["model"],
            cancellationToken: TestContext.Current.CancellationToken);
        byte[] picture = PngEncoder.EncodeGray([.. Enumerable.Range(0, 56 * 28).Select(index => (byte)index)], 56, 28);
        Message[] messages = [new(ChatRole.User, [ImagePart.FromBytes(picture), new TextPart("sum?")])];
        PreparedPrompt prompt = await model.PrepareAsync(messages, cancellationToken: TestContext.Current.CancellationToken);

        // A tile for each half and a thumbnail, of four tokens each.
        Assert.Equal((12, 3), (prompt.ImageTokens, prompt.Sequence.Images.Count));
        string text =
            $"<|im_start|>user\n<img>{string.Concat(Enumerable.Repeat("<IMG_CONTEXT>", 12))}</img>\nsum?<|im_end|>\n<|im_start|>assistant\n";
        Assert.Equal(model.Tokenizer.Encode(text, allowSpecial: true), prompt.Sequence.Tokens);

        ChatAnswer answer = await model.CompleteAsync(messages,
            new GenerationOptions { MaxOutputTokens = 6, Temperature = 0 }, TestContext.Current.CancellationToken);
        Assert.InRange(answer.Usage.CompletionTokens, 1, 6);
        Assert.Equal(prompt.Sequence.Tokens.Length, answer.Usage.PromptTokens);
    }

    [Fact]
    public async Task Its_own_tokenizer_may_be_given_and_another_is_refused()
    {
        using var folder = new TemporaryFolder();
        await Init(folder["model"]);
        await Init(folder["again"], "--tokenizer", folder["model"]);
        foreach (string name in s_tokenizerFiles)
            Assert.Equal(File.ReadAllText(Path.Combine(folder["model"], name)),
                File.ReadAllText(Path.Combine(folder["again"], name)));
        await Assert.ThrowsAsync<TokenizerException>(
            () => Init(folder["other"], "--tokenizer", Golden.PathOf("tokenizer/tokenizer.json")));
        Assert.False(Directory.Exists(folder["other"]));
    }

    private static async Task Init(string directory, params string[] arguments)
    {
        TextWriter before = Console.Out;
        using var output = new StringWriter();
        Console.SetOut(output);
        try
        {
            Assert.Equal(0, await InitCommand.Create().Parse([directory, "--like", "demo", "--seed", "4", .. arguments])
                .InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false }));
            Assert.Contains("million parameters", output.ToString(), StringComparison.Ordinal);
        }
        finally
        {
            Console.SetOut(before);
        }
    }
}
