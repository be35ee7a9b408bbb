using System.Text.Json;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Quantization;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training.Data;

namespace Skylight.Tests.Quantization;

/// <summary>Checkpoints that are quantised here.</summary>
public sealed class ModelQuantizerTests
{
    private static readonly TokenSequence s_sequence = new([.. Enumerable.Range(0, 40).Select(index => index * 37 % 300)]);

    private static readonly TokenSequence[] s_calibration =
        [.. Enumerable.Range(0, 6).Select(text => new TokenSequence(
            [.. Enumerable.Range(0, 20 + text).Select(index => (index * 53 + text * 29) % 300)]))];

    [Theory]
    [InlineData(QuantizationType.Q4, QuantizationFormat.Awq, LanguageModelKind.Qwen2, CheckpointNaming.Original, 0.5)]
    [InlineData(QuantizationType.Q4, QuantizationFormat.Awq, LanguageModelKind.Qwen3, CheckpointNaming.HuggingFaceNested, 0.5)]
    [InlineData(QuantizationType.Q4, QuantizationFormat.Gguf, LanguageModelKind.Qwen2, CheckpointNaming.HuggingFace, 0.5)]
    [InlineData(QuantizationType.Q8, QuantizationFormat.Gguf, LanguageModelKind.Qwen3, CheckpointNaming.Original, 0.03)]
    public void A_quantised_checkpoint_loads_and_computes_nearly_the_same(QuantizationType type, QuantizationFormat format,
        LanguageModelKind kind, CheckpointNaming naming, double bound)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"], kind, naming);
        var units = new Units(null);
        QuantizationReport report = ModelQuantizer.Run(folder["base"], folder["made"],
            new QuantizerOptions { Type = type, Format = format, MaximumShardBytes = 200_000, Name = "small" }, units);
        Assert.Equal(["connector", "language", "layer 0", "layer 1", "layer 2", "vision"],
            units.Names.Order(StringComparer.Ordinal));
        Assert.Equal(["base", "made"], folder.Names());
        Assert.All(report.Files, file => Assert.True(File.Exists(Path.Combine(folder["made"], file))));
        Assert.Equal(report.Bytes, report.Files.Sum(file => new FileInfo(Path.Combine(folder["made"], file)).Length));
        Assert.True(report.Bytes < report.SourceBytes);
        Assert.Equal(7, report.Layers[2].Projections.Count);
        Assert.All(report.Layers.SelectMany(layer => layer.Projections), projection =>
            Assert.InRange(projection.Error, 0.001, 0.13));
        string text = File.ReadAllText(Path.Combine(folder["made"], QuantizationReport.FileName));
        using (JsonDocument json = JsonDocument.Parse(text))
            Assert.Equal(report.Layers[1].Projections[3].Error, json.RootElement.GetProperty("layers")[1]
                .GetProperty("projections")[3].GetProperty("error").GetDouble());
        Assert.Contains("down_proj", report.ToTable(), StringComparison.Ordinal);
        Assert.InRange(Difference(Logits(folder["base"]), Logits(folder["made"])), 1e-4, bound);
        using CheckpointReader reader = CheckpointReader.Open(folder["made"]), original = CheckpointReader.Open(folder["base"]);
        Assert.True(reader.IsQuantized);
        ModelConfiguration model = ModelConfiguration.Load(folder["base"]);
        KeyMapEntry written = reader.MapOf(model)["language.layers.1.mlp.down.weight"];
        float[] exact = new float[written.Shape.ElementCount], rounded = new float[exact.Length];
        reader.ReadParameter(written, rounded);
        original.ReadParameter(original.MapOf(model)[written.ParameterName], exact);
        Assert.Equal(report.Layers[1].Projections.Single(projection => projection.Name == "down_proj").Error,
            Difference(exact, rounded), 1e-6);
        if (format == QuantizationFormat.Gguf)
        {
            Assert.Equal([type == QuantizationType.Q4 ? "small-Q4_0.gguf" : "small-Q8_0.gguf", "mmproj-small-F16.gguf"],
                report.Files);
            text = "Wait, the sum and 12 <|im_end|>";
            BytePairTokenizer own = BytePairTokenizer.Load(folder["base"]),
                read = GgufTokenizer.Load(Path.Combine(folder["made"], report.Files[0]), CancellationToken.None);
            Assert.Equal(own.Encode(text, allowSpecial: true), read.Encode(text, allowSpecial: true));
            Assert.Equal(model.StopTokenIds, ModelConfiguration.Load(folder["made"]).StopTokenIds);
        }
        else
        {
            Assert.True(report.Files.Count > 1);
            Assert.Equal(naming, reader.DetectNaming());
            Assert.True(File.Exists(Path.Combine(folder["made"], "tokenizer.json")));
        }
    }

    [Theory]
    [InlineData(QuantizationType.F32, 0, 0)]
    [InlineData(QuantizationType.BF16, 0, 0)]
    [InlineData(QuantizationType.F16, 0, 1e-4)]
    public void Gguf_files_of_plain_numbers_compute_the_same_but_for_their_rounding(QuantizationType type, double least,
        double bound)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        var options = new QuantizerOptions { Type = type, Name = "small" };
        QuantizationReport report = ModelQuantizer.Run(folder["base"], folder["made"], options);
        Assert.Equal([$"small-{type}.gguf", $"mmproj-small-{type}.gguf"], report.Files);
        Assert.All(report.Layers.SelectMany(layer => layer.Projections), projection =>
            Assert.InRange(projection.Error, least, 0.003));
        using (CheckpointReader reader = CheckpointReader.Open(folder["made"]))
        {
            Assert.False(reader.IsQuantized);
            // llama.cpp convolves with no bfloat16.
            Assert.Equal(type == QuantizationType.F16 ? StoredType.Float16 : StoredType.Float32,
                reader["v.patch_embd.weight"].ElementType);
        }

        Assert.InRange(Difference(Logits(folder["base"]), Logits(folder["made"])), least, bound);
        Assert.Contains("nothing to calibrate", Assert.Throws<ArgumentException>(() => ModelQuantizer.Run(folder["base"],
            folder["again"], options with { Calibration = s_calibration })).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(QuantizationFormat.Awq)]
    [InlineData(QuantizationFormat.Gguf)]
    public void Scales_that_follow_activations_lower_the_error_where_channels_stand_out(QuantizationFormat format)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"], outliers: true);
        var options = new QuantizerOptions { Format = format };
        ModelQuantizer.Run(folder["base"], folder["nearest"], options);
        QuantizationReport report = ModelQuantizer.Run(folder["base"], folder["scaled"],
            options with { Calibration = s_calibration });
        ProjectionReport[] all = [.. report.Layers.SelectMany(layer => layer.Projections)];
        Assert.All(all, projection => Assert.True(projection.Error <= projection.NearestError));
        foreach (string name in (string[])["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"])
        {
            ProjectionReport[] own = [.. all.Where(projection => projection.Name == name)];
            Assert.True(own.Average(projection => projection.Error) < 0.75 * own.Average(projection => projection.NearestError));
        }

        float[] exact = Logits(folder["base"]);
        Assert.True(Difference(exact, Logits(folder["scaled"])) < 0.8 * Difference(exact, Logits(folder["nearest"])));
        Assert.Equal((6, 135L), (report.CalibrationSequences, report.CalibrationTokens));
        Assert.Contains("RTN", report.ToTable(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(LanguageModelKind.Qwen2)]
    [InlineData(LanguageModelKind.Qwen3)]
    public void Folded_scales_change_nothing_but_rounding(LanguageModelKind kind)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"], kind);
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder["base"], device, DataType.Float32);
        float[] before = Logits(model);
        LanguageConfiguration language = model.Configuration.Language;
        var random = new Random(5);
        using (CheckpointReader reader = CheckpointReader.Open(folder["base"]))
        {
            for (int layer = 0; layer < language.LayerCount; layer++)
            {
                var weights = LayerWeights.Read(reader, reader.MapOf(model.Configuration), layer, CancellationToken.None);
                float[] attention = Scales(language.HiddenSize);
                LayerQuantizer.Exact(attention, weights.InputNorm);
                weights.ScaleAttentionInputs(attention);
                // What is saved in bfloat16 loses nothing but the last bit of float32.
                Assert.All(weights.InputNorm, gain => Assert.Equal(1, (float)(BFloat16)gain / gain, 2e-7));
                float[] values = Scales(language.KeyValueSize), shared = new float[language.QuerySize];
                for (int channel = 0; channel < shared.Length; channel++)
                    shared[channel] = values[channel / language.HeadDimension / (language.HeadCount / language.KeyValueHeadCount)
                        * language.HeadDimension + channel % language.HeadDimension];
                weights.ScaleOutputInputs(shared, language);
                weights.ScaleMlpInputs(Scales(language.HiddenSize));
                weights.ScaleDownInputs(Scales(language.IntermediateSize));
                foreach ((string name, float[] elements) in weights.All)
                    PersistentTensors.Write(device, model.Parameters[LayerWeights.Prefix(layer) + name], elements);
            }
        }

        Assert.InRange(Difference(before, Logits(model)), 1e-9, 1e-5);

        float[] Scales(int count) => [.. Enumerable.Range(0, count).Select(_ => 0.25f + 4 * random.NextSingle())];
    }

    [Theory]
    [InlineData(QuantizationFormat.Awq)]
    [InlineData(QuantizationFormat.Gguf)]
    public void Who_was_stopped_goes_on_and_has_the_same_bytes(QuantizationFormat format)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        var options = new QuantizerOptions { Format = format, Calibration = s_calibration };
        QuantizationReport whole = ModelQuantizer.Run(folder["base"], folder["whole"], options);
        using var source = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => ModelQuantizer.Run(folder["base"], folder["made"], options,
            new Units(unit => unit == "layer 0", source), source.Token));
        Assert.Equal([".made.unfinished", "base", "whole"], folder.Names());

        Assert.Contains("--resume", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["base"], folder["made"], options)).Message, StringComparison.Ordinal);
        Assert.Contains("calibration was", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["base"], folder["made"], options with { Calibration = [], Resume = true })).Message,
            StringComparison.Ordinal);

        QuantizationReport resumed = ModelQuantizer.Run(folder["base"], folder["made"], options with { Resume = true });
        Assert.Equal(["base", "made", "whole"], folder.Names());
        Assert.Equal(whole.ToJson(), resumed.ToJson());
        foreach (string file in Directory.EnumerateFiles(folder["whole"]).Select(file => Path.GetFileName(file)))
            Assert.Equal(File.ReadAllBytes(Path.Combine(folder["whole"], file)),
                File.ReadAllBytes(Path.Combine(folder["made"], file)));
        Assert.Equal(Directory.GetFiles(folder["whole"]).Length, Directory.GetFiles(folder["made"]).Length);
    }

    [Fact]
    public void Layers_that_are_done_are_not_done_again()
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        var options = new QuantizerOptions { Format = QuantizationFormat.Awq };
        using var source = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => ModelQuantizer.Run(folder["base"], folder["made"], options,
            new Units(unit => unit == "layer 1", source), source.Token));
        string begun = Path.Combine(folder[".made.unfinished"], "model.safetensors");
        SafetensorsEntry mark, other;
        using (SafetensorsFile file = SafetensorsFile.Open(begun))
        {
            mark = file.Entries.First(entry => entry.Name.EndsWith("layers.1.mlp.down_proj.scales", StringComparison.Ordinal));
            other = file.Entries.First(entry => entry.Name.EndsWith("layers.2.mlp.down_proj.scales", StringComparison.Ordinal));
        }

        using (FileStream stream = File.OpenWrite(begun))
        {
            foreach (SafetensorsEntry entry in (SafetensorsEntry[])[mark, other])
            {
                stream.Position = entry.ByteOffset;
                stream.Write([0x11, 0x22]);
            }
        }

        ModelQuantizer.Run(folder["base"], folder["made"], options with { Resume = true });
        using SafetensorsFile made = SafetensorsFile.Open(Path.Combine(folder["made"], "model.safetensors"));
        Assert.Equal([0x11, 0x22], made.Bytes(mark, 0, 2).ToArray());
        Assert.NotEqual([0x11, 0x22], made.Bytes(other, 0, 2).ToArray());
    }

    [Fact]
    public void Pictures_may_be_calibrated_with()
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        ModelConfiguration configuration = ModelConfiguration.Load(folder["base"]);
        var random = new Random(1);
        ImageTile Tile() => new([.. Enumerable.Range(0, 3 * 28 * 28).Select(_ => random.NextSingle())], 28, 28);
        int[] tokens = [5, .. Enumerable.Repeat(309, configuration.TokensPerTile), 7, 8];
        var options = new QuantizerOptions { Format = QuantizationFormat.Awq };
        QuantizationReport one = ModelQuantizer.Run(folder["base"], folder["one"],
            options with { Calibration = [new TokenSequence(tokens, [Tile()]), s_sequence] });
        QuantizationReport other = ModelQuantizer.Run(folder["base"], folder["other"],
            options with { Calibration = [new TokenSequence(tokens, [Tile()]), s_sequence] });
        // The features count, not the tokens that stand for them.
        Assert.NotEqual(one.Layers[0].Projections[0].Error, other.Layers[0].Projections[0].Error);
    }

    [Fact]
    public void What_cannot_be_done_is_refused_and_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        var options = new QuantizerOptions { Format = QuantizationFormat.Awq };
        Assert.Contains("4 bits", Assert.Throws<ArgumentException>(() => ModelQuantizer.Run(folder["base"], folder["made"],
            options with { Type = QuantizationType.Q8 })).Message, StringComparison.Ordinal);
        Assert.Contains("would be written, but the disk has", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["base"], folder["made"], options with { FreeBytes = _ => 1000 })).Message,
            StringComparison.Ordinal);
        Assert.Contains("tokens", Assert.Throws<ArgumentException>(() => ModelQuantizer.Run(folder["base"], folder["made"],
            options with { Calibration = [new TokenSequence([400])] })).Message, StringComparison.Ordinal);
        folder.Write("full/x", "x");
        Assert.Contains("not empty", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["base"], folder["full"], options)).Message, StringComparison.Ordinal);
        ModelQuantizer.Run(folder["base"], folder["made"], options);
        Assert.Contains("quantised already", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["made"], folder["again"], options)).Message, StringComparison.Ordinal);
        ModelQuantizer.Run(folder["base"], folder["gguf"], new QuantizerOptions());
        Assert.Contains("GGUF", Assert.Throws<CheckpointException>(
            () => ModelQuantizer.Run(folder["gguf"], folder["again"], options)).Message, StringComparison.Ordinal);
        Assert.Equal(["base", "full", "gguf", "made"], folder.Names());
    }

    [Fact]
    public void A_random_checkpoint_is_written_in_4_bits()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("demo");
        var options = new CheckpointWriterOptions { MaximumShardBytes = 100_000 };
        RandomCheckpoint.Write(folder["plain"], configuration, StoredType.BFloat16, 3);
        RandomCheckpoint.WriteQuantized(folder["made"], configuration, 3, options);
        string[] files = Directory.GetFiles(folder["made"], "*.safetensors");
        Assert.True(files.Length > 1);
        Assert.Equal(RandomCheckpoint.QuantizedBytes(configuration, options), files.Sum(file => new FileInfo(file).Length));
        using (CheckpointReader reader = CheckpointReader.Open(folder["made"]))
        {
            // All but the convolution, positions and vectors; also those whose outputs are no eights (313).
            Assert.All(reader.Tensors.Where(tensor => tensor.Shape.Rank == 2), tensor => Assert.NotNull(tensor.Format));
            Assert.Equal(CodeType.Int4, reader.Tensors.First(tensor => tensor.Shape[0] == 313).Format!.Codes);
        }

        Assert.InRange(Difference(Logits(folder["plain"]), Logits(folder["made"])), 1e-3, 0.6);
        // Loaded as it is.
        Assert.InRange(Difference(Logits(folder["plain"]), Logits(folder["made"], null)), 1e-3, 0.6);
        Assert.Throws<CheckpointException>(() => RandomCheckpoint.WriteQuantized(folder["made"], configuration, 3));
    }

    [Theory]
    [InlineData("""{"text": "Wait, the sum"}""", 1)]
    [InlineData("""{"messages": [{"role": "user", "content": "sum and"}, {"role": "assistant", "content": "12"}]}""", 1)]
    [InlineData("""{"question": "sum and", "answer": "3"}""", 1)]
    [InlineData("""{"text": ""}""", 0)]
    [InlineData("""{"text": 5}""", 0)]
    [InlineData("""{"id": "a"}""", 0)]
    public async Task Calibration_rows_are_texts_or_messages(string row, int expected)
    {
        using var folder = new TemporaryFolder();
        WriteBase(folder["base"]);
        string file = folder.Write("rows.jsonl", $"{row}\n");
        Task<IReadOnlyList<TokenSequence>> Load(int most) => CalibrationData.LoadAsync(file,
            ModelConfiguration.Load(folder["base"]), BytePairTokenizer.Load(folder["base"]), 8, most);
        if (expected == 0)
        {
            Assert.Contains("rows.jsonl", (await Assert.ThrowsAsync<BadRowException>(() => Load(512))).Message,
                StringComparison.Ordinal);
            return;
        }

        Assert.True((await Load(512))[0].Tokens.Length > 2);
        Assert.Equal(2, (await Load(2))[0].Tokens.Length);
    }

    private static void WriteBase(string directory, LanguageModelKind kind = LanguageModelKind.Qwen2,
        CheckpointNaming naming = CheckpointNaming.HuggingFaceNested, bool outliers = false)
    {
        ModelConfiguration configuration = ModelFamily.Configuration("demo");
        configuration = configuration with { Language = configuration.Language with { Kind = kind } };
        using var device = new CpuDevice();
        using var model = new VisionLanguageModel(configuration, device, DataType.BFloat16);
        model.Initialize(3);
        if (outliers)
        {
            foreach (PersistentTensor norm in model.Parameters.All.Where(parameter =>
                parameter.Name.StartsWith("language.layers.", StringComparison.Ordinal)
                && parameter.Name.EndsWith("put_norm.weight", StringComparison.Ordinal)))
                PersistentTensors.Write(device, norm,
                    [.. Enumerable.Range(0, norm.Type.Shape[0]).Select(channel => channel % 37 == 5 ? 24f : 0.5f)]);
        }

        ModelCheckpoint.Save(model, directory,
            new CheckpointWriterOptions { Naming = naming, TextFiles = DemoTokenizer.Files() });
    }

    private static float[] Logits(string directory, DataType? type = DataType.Float32)
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(directory, device, type);
        return Logits(model);
    }

    private static float[] Logits(VisionLanguageModel model)
    {
        var batch = PackedBatch.Pack([s_sequence], model.Configuration with { ImageTokenId = 309 });
        var graph = new Graph();
        PackedForward forward = model.Forward(graph, batch.Shape);
        Value logits = model.Language.Logits(graph, forward.Hidden);
        graph.Output("logits", logits);
        using var workspace = new Workspace(model.Device);
        var executor = new Executor(Planner.Plan(graph, model.Device), workspace);
        forward.Write(executor, batch);
        executor.Run(CancellationToken.None);
        return executor.Read<float>(logits);
    }

    private static double Difference(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual, (left, right) => ((double)left - right) * ((double)left - right)).Sum()
            / expected.Sum(value => (double)value * value));

    private sealed class Units(Func<string, bool>? stopsAt, CancellationTokenSource? source = null)
        : IProgress<QuantizationProgress>
    {
        public List<string> Names { get; } = [];

        public void Report(QuantizationProgress value)
        {
            Names.Add(value.Unit);
            if (stopsAt?.Invoke(value.Unit) == true)
                source!.Cancel();
        }
    }
}
