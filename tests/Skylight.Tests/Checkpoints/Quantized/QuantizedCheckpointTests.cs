using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>Whole quantised checkpoints: namings, types in memory, several files, training and saving.</summary>
public sealed class QuantizedCheckpointTests
{
    [Theory]
    [InlineData("awq", "llm_config")]
    [InlineData("gptq", "")]
    [InlineData("fp8", "both")]
    public void The_original_naming_is_read_too_whichever_part_of_the_configuration_says_so(string form, string part)
    {
        using var folder = new TemporaryFolder();
        string source = Golden.PathOf($"quant/{form}");
        using var device = new CpuDevice();
        using VisionLanguageModel expected = ModelCheckpoint.Load(source, device, DataType.Float32);
        WriteOriginal(source, folder.Path, part);
        using (VisionLanguageModel asStored = ModelCheckpoint.Load(folder.Path, device))
            Assert.Equal((DataType.Float32, true), (asStored.ParameterType, asStored.IsQuantized));
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device, DataType.Float32);
        AssertSame(expected, model);
        Assert.Equal(form == "fp8" ? 1 : 0, model.Configuration.Warnings.Length);
    }

    [Fact]
    public void Weights_are_bfloat16_in_memory_unless_those_that_are_not_quantised_are_float32()
    {
        using var folder = new TemporaryFolder();
        string source = Golden.PathOf("quant/awq");
        using var device = new CpuDevice();
        Assert.Equal(DataType.Float32, ModelCheckpoint.ParameterTypeOf(source, device));
        RawTensors tensors = RawTensors.Load(Path.Combine(source, "model.safetensors"));
        foreach ((string name, RawTensor tensor) in tensors.Where(pair => pair.Value.Type == "F32").ToArray())
            tensors[name] = new RawTensor("F16", tensor.Shape, [.. Enumerable.Range(0, tensor.Bytes.Length / 4)
                .SelectMany(i => BitConverter.GetBytes((Half)BitConverter.ToSingle(tensor.Bytes, 4 * i)))]);
        Save(tensors, File.ReadAllText(Path.Combine(source, "config.json")), folder.Path);
        Assert.Equal(DataType.BFloat16, ModelCheckpoint.ParameterTypeOf(folder.Path, device));
        using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device, DataType.BFloat16),
            wide = ModelCheckpoint.Load(folder.Path, device, DataType.Float32);
        foreach (PersistentTensor parameter in wide.Parameters.All)
            Assert.Equal(PersistentTensors.Read(device, parameter).Select(value => (float)(BFloat16)value),
                PersistentTensors.Read(device, model.Parameters[parameter.Name]));
    }

    [Fact]
    public void A_part_of_the_checkpoint_may_be_of_other_files()
    {
        using var device = new CpuDevice();
        using VisionLanguageModel expected = ModelCheckpoint.Load(Golden.PathOf("quant/gptq"), device, DataType.Float32);
        ModelConfiguration configuration = ModelConfiguration.Load(Golden.PathOf("quant/gptq"));
        CheckpointReader language = CheckpointReader.Open(Golden.PathOf("quant/gptq")),
            rest = CheckpointReader.Open(Golden.PathOf("quant/float"));
        using var reader = new CheckpointReader("joined", [.. language.Files, .. rest.Files],
            [.. language.Tensors.Where(tensor => tensor.Name.StartsWith("language_model.", StringComparison.Ordinal)),
                .. rest.Tensors.Where(tensor => !tensor.Name.StartsWith("language_model.", StringComparison.Ordinal))],
            [language, rest]);
        using VisionLanguageModel model = ModelCheckpoint.Load(configuration, reader, device, DataType.Float32);
        AssertSame(expected, model);
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            new CheckpointReader("joined", [], [.. language.Tensors, .. rest.Tensors], []));
        Assert.Contains("is also in", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_connector_is_trained_beside_quantised_weights_and_what_is_saved_is_a_plain_checkpoint()
    {
        using var folder = new TemporaryFolder();
        string source = folder["source"];
        Directory.CreateDirectory(source);
        foreach (string file in Directory.EnumerateFiles(Golden.PathOf("quant/fp8")))
            File.Copy(file, Path.Combine(source, Path.GetFileName(file)));
        File.WriteAllText(Path.Combine(source, "quantize_config.json"), "{\"bits\": 4}");
        File.WriteAllText(Path.Combine(source, "tokenizer_config.json"), "{}");
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(source, device, DataType.Float32);
        float[] before = PersistentTensors.Read(device, model.Parameters["connector.linear1.weight"]),
            frozen = PersistentTensors.Read(device, model.Parameters["language.layers.0.mlp.down.weight"]);
        int imageToken = model.Configuration.ImageTokenId!.Value;
        var sequence = new TokenSequence([5, .. Enumerable.Repeat(imageToken, 4), 7, 9, 11],
            [new ImageTile([.. Enumerable.Range(0, 3 * 56 * 56).Select(i => i % 17 / 17f)], 56, 56)]);
        using (var trainer = new ModelTrainer(model, TrainableModules.Connector, new OptimizerOptions()))
        {
            trainer.AccumulateGradients([new TrainingSample(sequence, 6, [0.5f, 0.5f])], new CrossEntropyObjective(),
                TestContext.Current.CancellationToken);
            Assert.True(trainer.Step(1e-3f) > 0);
        }

        Assert.NotEqual(before, PersistentTensors.Read(device, model.Parameters["connector.linear1.weight"]));
        Assert.Equal(frozen, PersistentTensors.Read(device, model.Parameters["language.layers.0.mlp.down.weight"]));
        ModelCheckpoint.Save(model, folder["saved"], new CheckpointWriterOptions { Like = source },
            TestContext.Current.CancellationToken);
        Assert.Equal(["config.json", "model.safetensors", "tokenizer_config.json"],
            Directory.EnumerateFiles(folder["saved"]).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
        Assert.DoesNotContain("quant", File.ReadAllText(folder["saved/config.json"]), StringComparison.OrdinalIgnoreCase);
        using (CheckpointReader reader = CheckpointReader.Open(folder["saved"]))
            Assert.All(reader.Tensors, tensor => Assert.Equal(StoredType.Float32, tensor.ElementType));
        using VisionLanguageModel read = ModelCheckpoint.Load(folder["saved"], device);
        AssertSame(model, read);
        Assert.Empty(read.Configuration.Warnings);
    }

    [Fact]
    public void What_the_configuration_does_not_say_is_said_by_the_error()
    {
        using var folder = new TemporaryFolder();
        string source = Golden.PathOf("quant/awq");
        var config = (JsonObject)JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!;
        RawTensors tensors = RawTensors.Load(Path.Combine(source, "model.safetensors"));
        var quantization = (JsonObject)config["quantization_config"]!;
        config.Remove("quantization_config");
        Save(tensors, config.ToJsonString(), folder.Path);
        string message = Message();
        Assert.Contains("config.json has no quantization_config", message, StringComparison.Ordinal);
        Assert.Contains("q_proj.qweight [256, 32]", message, StringComparison.Ordinal);

        config["quantization_config"] = quantization.DeepClone();
        quantization["group_size"] = 64;
        config["text_config"]!["quantization_config"] = quantization.DeepClone();
        Save(tensors, config.ToJsonString(), folder.Path);
        Assert.Contains("'text_config.quantization_config' and 'quantization_config' say different things", Message(),
            StringComparison.Ordinal);

        // A weight that is quantised in other sizes than the configuration has.
        config["text_config"]!.AsObject().Remove("quantization_config");
        config["text_config"]!["intermediate_size"] = 384;
        Save(tensors, config.ToJsonString(), folder.Path);
        Assert.Contains("mlp.down_proj.weight is [256, 512] in model.safetensors, the configuration makes it [256, 384]",
            Message(), StringComparison.Ordinal);

        string Message() => Assert.Throws<CheckpointException>(() => ModelCheckpoint.Load(folder.Path, new CpuDevice())).Message;
    }

    [Theory]
    [InlineData(0f, true)]
    [InlineData(1f, false)]
    public void A_bias_that_the_model_does_not_have_may_be_there_if_it_is_zero(float value, bool fits)
    {
        using var folder = new TemporaryFolder();
        string source = Golden.PathOf("quant/gptq");
        RawTensors tensors = RawTensors.Load(Path.Combine(source, "model.safetensors"));
        tensors.Add("language_model.model.layers.1.mlp.down_proj.bias",
            new RawTensor("F32", [256], [.. Enumerable.Repeat(BitConverter.GetBytes(value), 256).SelectMany(bytes => bytes)]));
        Save(tensors, File.ReadAllText(Path.Combine(source, "config.json")), folder.Path);
        using var device = new CpuDevice();
        if (fits)
            ModelCheckpoint.Load(folder.Path, device).Dispose();
        else
            Assert.Contains("down_proj.bias [256]",
                Assert.Throws<CheckpointException>(() => ModelCheckpoint.Load(folder.Path, device)).Message,
                StringComparison.Ordinal);
    }

    [Fact]
    public void A_quantised_tensor_that_fails_while_a_model_is_loaded_is_named()
    {
        using var folder = new TemporaryFolder();
        string source = Golden.PathOf("quant/awq");
        RawTensors tensors = RawTensors.Load(Path.Combine(source, "model.safetensors"));
        const string Name = "language_model.model.layers.1.mlp.up_proj.scales";
        BitConverter.TryWriteBytes(tensors[Name].Bytes.AsSpan(2 * 700), Half.NaN);
        Save(tensors, File.ReadAllText(Path.Combine(source, "config.json")), folder.Path);
        CheckpointException error = Assert.Throws<CheckpointException>(() => ModelCheckpoint.Load(folder.Path, new CpuDevice()));
        Assert.Equal(Name, error.Tensor);
        Assert.Contains("its scale of output 188, block 1 is NaN", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("awq", "mlp.up_proj.qweight")]
    [InlineData("fp8", "mlp.up_proj.weight")]
    public void A_file_that_shrinks_while_it_is_read_is_an_error(string form, string tensor)
    {
        using var folder = new TemporaryFolder();
        foreach (string file in Directory.EnumerateFiles(Golden.PathOf($"quant/{form}")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        using (var stream = new FileStream(folder["model.safetensors"], FileMode.Open, FileAccess.Write,
            FileShare.ReadWrite | FileShare.Delete))
            stream.SetLength(10_000);
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            reader["language_model.model.layers.0.mlp.up_proj.weight"].ReadFloat32(0, new float[512 * 256]));
        Assert.Contains("became shorter", error.Message, StringComparison.Ordinal);
        Assert.EndsWith(tensor, error.Tensor, StringComparison.Ordinal);
    }

    [Fact]
    public void Neighbours_of_one_format_are_one_part_of_a_weight()
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(Golden.PathOf("quant/model-Q4_K_M.gguf"), device,
            vision: Golden.PathOf("quant/float"));
        // Queries and keys are Q4_K; values of the layers that llama.cpp takes for sensitive are Q6_K, of the others Q4_K.
        string[] weights = [.. model.Parameters.All.Select(parameter => parameter.Name)
            .Where(name => name.Contains("attention.qkv.weight", StringComparison.Ordinal)
                && name.StartsWith("language.", StringComparison.Ordinal))];
        Assert.Contains(weights, name => name.EndsWith(".part1", StringComparison.Ordinal));
        Assert.DoesNotContain(weights, name => name.EndsWith(".part2", StringComparison.Ordinal));
        foreach (string first in weights.Where(name => name.EndsWith(".part0", StringComparison.Ordinal)))
        {
            PersistentTensor queriesAndKeys = model.Parameters[first], values = model.Parameters[first[..^1] + "1"];
            LanguageConfiguration language = model.Configuration.Language;
            Assert.Equal((CodeType.UInt4, (language.HeadCount + language.KeyValueHeadCount) * language.HeadDimension),
                (queriesAndKeys.Type.Format!.Codes, queriesAndKeys.Type.Shape[0]));
            Assert.Equal((CodeType.Int6, language.KeyValueHeadCount * language.HeadDimension),
                (values.Type.Format!.Codes, values.Type.Shape[0]));
            Assert.Equal(queriesAndKeys.Type.Shape[0],
                model.Parameters[first.Replace(".weight", ".bias", StringComparison.Ordinal)].Type.Shape[0]);
        }
    }

    [Fact]
    public void Several_weights_may_be_read_at_once()
    {
        using CheckpointReader reader = CheckpointReader.Open(Golden.PathOf("quant/gptq"));
        CheckpointTensor[] weights = [.. reader.Tensors.Where(tensor => tensor.Format is not null)];
        float[][] expected = [.. weights.Select(weight => Values(weight, 0, weight.Shape[0]))];
        Parallel.For(0, 400, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            CheckpointTensor weight = weights[i % weights.Length];
            int first = i % 5 * 16, rows = 32;
            Assert.True(expected[i % weights.Length].AsSpan(first * weight.Shape[1], rows * weight.Shape[1])
                .SequenceEqual(Values(weight, first, rows)), weight.Name);
        });

        static float[] Values(CheckpointTensor weight, int first, int rows)
        {
            float[] values = new float[rows * weight.Shape[1]];
            weight.ReadFloat32((long)first * weight.Shape[1], values);
            return values;
        }
    }

    private static void AssertSame(VisionLanguageModel expected, VisionLanguageModel found) =>
        Assert.All(expected.Parameters.All, parameter =>
            Assert.Equal(PersistentTensors.Read(expected.Device, parameter),
                PersistentTensors.Read(found.Device, found.Parameters[parameter.Name])));

    private static void Save(RawTensors tensors, string config, string folder)
    {
        tensors.Save(Path.Combine(folder, "model.safetensors"));
        File.WriteAllText(Path.Combine(folder, "config.json"), config);
    }

    private static void WriteOriginal(string source, string target, string part)
    {
        var quantization = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!["quantization_config"]!;
        var config = (JsonObject)JsonNode.Parse(ModelConfiguration.Load(source).ToOriginalJson())!;
        if (part is "" or "both")
            config["quantization_config"] = quantization.DeepClone();
        if (part is "llm_config" or "both")
            config["llm_config"]!["quantization_config"] = quantization.DeepClone();
        RawTensors tensors = GoldenFolders.ToOriginalNaming(RawTensors.Load(Path.Combine(source, "model.safetensors")));
        Save(tensors, config.ToJsonString(), target);
    }
}
