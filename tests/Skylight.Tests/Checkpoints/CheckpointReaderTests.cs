using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

public class CheckpointReaderTests
{
    public static TheoryData<CheckpointNaming, bool, StoredType> Written => new(
        from naming in CheckpointFixture.Namings
        from tied in (bool[])[false, true]
        from type in (StoredType[])[StoredType.Float32, StoredType.BFloat16]
        select (naming, tied, type));

    [Theory]
    [MemberData(nameof(Written))]
    public void WrittenModelReadsBackTheSame(CheckpointNaming naming, bool tied, StoredType type)
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = CheckpointFixture.Small(tied, tied ? NormKind.RmsNorm : NormKind.LayerNorm);
        Dictionary<string, float[]> values = Write(folder["model"], configuration, naming, type);

        ModelConfiguration read = ModelConfiguration.Load(folder["model"]);
        Assert.Equal(configuration, read);
        using CheckpointReader reader = CheckpointReader.Open(folder["model"]);
        Assert.Equal(naming, reader.DetectNaming());
        KeyMap map = KeyMap.For(read, naming);
        reader.Verify(map);
        foreach (KeyMapEntry entry in map.Entries)
        {
            float[] expected = [
                .. values[entry.ParameterName].Select(value => type == StoredType.BFloat16 ? (BFloat16)value : value)];
            float[] destination = new float[expected.Length];
            reader.ReadParameter(entry, destination);
            Assert.Equal(expected, destination);
            var bits = new BFloat16[expected.Length];
            reader.ReadParameterBits(entry, bits);
            Assert.Equal(expected.Select(value => ((BFloat16)value).Bits), bits.Select(value => value.Bits));
        }

        Assert.Equal(["config.json", "model.safetensors"],
            Directory.EnumerateFiles(folder["model"]).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void MissingExtraAndMisshapenTensorsAreReportedTogether()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = CheckpointFixture.Small();
        KeyMap map = KeyMap.For(configuration, CheckpointNaming.HuggingFaceNested);
        List<TensorToWrite> tensors = Tensors(map);
        tensors.RemoveAll(
            tensor => tensor.Name is "lm_head.weight" or "model.vision_tower.encoder.layer.1.attention.k_proj.bias");
        Replace("model.multi_modal_projector.linear_1.weight",
            TensorToWrite.Float32("model.multi_modal_projector.linear_1.weight", new Shape(48, 24), new float[48 * 24]));
        Replace("model.language_model.norm.weight",
            TensorToWrite.Int32("model.language_model.norm.weight", new Shape(24), new int[24]));
        tensors.Add(TensorToWrite.Float32("model.language_model.layers.3.input_layernorm.weight", new Shape(24),
            new float[24]));
        tensors.Add(TensorToWrite.Float32("model.language_model.layers.0.self_attn.rotary_emb.inv_freq", new Shape(3),
            new float[3]));
        SafetensorsWriter.Write(folder["model.safetensors"], tensors);

        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        string message = Assert.Throws<CheckpointException>(() => reader.Verify(map)).Message;
        Assert.Contains("missing (2)", message);
        Assert.Contains("lm_head.weight [50, 24]", message);
        Assert.Contains("k_proj.bias", message);
        Assert.Contains("of another shape (1)", message);
        Assert.Contains("[48, 24] in model.safetensors, the configuration makes it [24, 48]", message);
        Assert.Contains("not floating-point (1)", message);
        Assert.Contains("not part of the model (1)", message);
        Assert.Contains("layers.3.input_layernorm.weight", message);
        Assert.DoesNotContain("inv_freq", message);

        Assert.Equal("model.multi_modal_projector.linear_1.weight",
            Assert.Throws<CheckpointException>(
                () => reader.ReadParameter(map["connector.linear1.weight"], new float[48 * 24])).Tensor);
        Assert.Equal("lm_head.weight",
            Assert.Throws<CheckpointException>(
                () => reader.ReadParameter(map["language.head.weight"], new float[50 * 24])).Tensor);
        Assert.Throws<ArgumentException>(() => reader.ReadParameter(map["language.embedding.weight"], new float[3]));

        void Replace(string name, TensorToWrite tensor) => tensors[tensors.FindIndex(old => old.Name == name)] = tensor;
    }

    [Fact]
    public void TiedHeadMayBeRepeatedButNotDiffer()
    {
        using var folder = new TemporaryFolder();
        KeyMap map = KeyMap.For(CheckpointFixture.Small(tied: true), CheckpointNaming.Original);
        float[] embedding = new float[50 * 24];
        List<TensorToWrite> tensors = Tensors(map);
        SafetensorsWriter.Write(folder["model.safetensors"],
            [.. tensors, TensorToWrite.Float32("language_model.lm_head.weight", new Shape(50, 24), embedding)]);
        using (CheckpointReader reader = CheckpointReader.Open(folder.Path))
            reader.Verify(map);

        embedding[^1] = 1;
        SafetensorsWriter.Write(folder["model.safetensors"],
            [.. tensors, TensorToWrite.Float32("language_model.lm_head.weight", new Shape(50, 24), embedding)]);
        using (CheckpointReader reader = CheckpointReader.Open(folder.Path))
            Assert.Contains("tie_word_embeddings", Assert.Throws<CheckpointException>(() => reader.Verify(map)).Message);
    }

    [Fact]
    public void ShardsAreReadThroughTheirIndex()
    {
        using var folder = new TemporaryFolder();
        WriteShards(folder, index => index);
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.Equal(2, reader.Files.Count);
        Assert.Equal(["a", "b", "c"], reader.Tensors.Select(tensor => tensor.Name).Order());
        float[] value = new float[1];
        reader["b"].ReadFloat32(0, value);
        Assert.Equal([2f], value);
        Assert.True(reader.Contains("c"));
        Assert.False(reader.Contains("d"));
    }

    [Theory]
    [InlineData("{\"a\": \"1.safetensors\", \"b\": \"2.safetensors\", \"c\": \"3.safetensors\"}", "3.safetensors")]
    [InlineData(
        "{\"a\": \"1.safetensors\", \"b\": \"2.safetensors\", \"c\": \"2.safetensors\", \"d\": \"2.safetensors\"}", "'d'")]
    [InlineData("{\"a\": \"2.safetensors\", \"b\": \"1.safetensors\", \"c\": \"2.safetensors\"}", "but is in")]
    [InlineData("{\"a\": \"1.safetensors\", \"b\": \"2.safetensors\"}", "'c'")]
    [InlineData("{\"a\": \"../1.safetensors\"}", "same folder")]
    [InlineData("{\"a\": \"/etc/passwd\"}", "same folder")]
    [InlineData("{\"a\": \"..\"}", "same folder")]
    [InlineData("{\"a\": 3}", "not a file name")]
    [InlineData("{}", "empty")]
    [InlineData("[]", "weight_map")]
    [InlineData("null", "weight_map")]
    [InlineData("{\"a\": \"\\ud800\"}", "not valid JSON")]
    [InlineData("{\"a\": \"1.safetensors\", \"a\": \"1.safetensors\"}", "not valid JSON")]
    [InlineData("{\"a\": ", "not valid JSON")]
    public void IndexThatDoesNotFitItsShardsIsRefused(string weightMap, string expected)
    {
        using var folder = new TemporaryFolder();
        WriteShards(folder, _ => weightMap);
        CheckpointException error = Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Path));
        Assert.Contains("model.safetensors.index.json", error.Message);
        Assert.Contains(expected, error.Message);
    }

    [Fact]
    public void TensorInTwoShardsIsRefused()
    {
        using var folder = new TemporaryFolder();
        WriteShards(folder, index => index);
        SafetensorsWriter.Write(folder["2.safetensors"], [Scalar("a", 1), Scalar("b", 2), Scalar("c", 3)]);
        CheckpointException error = Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Path));
        Assert.Contains("is also in 1.safetensors", error.Message);
        Assert.Equal("a", error.Tensor);
    }

    [Fact]
    public void DamagedShardIsNamed()
    {
        using var folder = new TemporaryFolder();
        WriteShards(folder, index => index);
        byte[] shard = File.ReadAllBytes(folder["2.safetensors"]);
        File.WriteAllBytes(folder["2.safetensors"], shard[..^1]);
        Assert.Equal(folder["2.safetensors"],
            Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Path)).File);
    }

    [Fact]
    public void FolderWithoutACheckpointSaysWhatItHolds()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("no such folder",
            Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder["missing"])).Message);
        Assert.Contains("Files there: none",
            Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Path)).Message);
        string file = folder.Write("pytorch_model.bin", "x");
        Assert.Contains("convert them to safetensors",
            Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Path)).Message);
        Assert.Contains("is a file", Assert.Throws<CheckpointException>(() => CheckpointReader.Open(file)).Message);
    }

    [Fact]
    public void ModelIsNotWrittenWhereItCannotBe()
    {
        using var folder = new TemporaryFolder();
        folder.Write("file", "not a folder");
        Assert.Contains("file",
            Assert.Throws<CheckpointException>(() => Write(Path.Combine(folder["file"], "model"),
                CheckpointFixture.Small(), CheckpointNaming.Original, StoredType.Float32)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(
            () => Write(folder["model"], CheckpointFixture.Small(), CheckpointNaming.Original, StoredType.Int32));
    }

    private static Dictionary<string, float[]> Write(string directory, ModelConfiguration configuration,
        CheckpointNaming naming, StoredType type)
    {
        var random = new Random(11);
        var values = new Dictionary<string, float[]>();
        CheckpointWriter.Write(directory, configuration, naming, type, (entry, destination) =>
        {
            for (int i = 0; i < destination.Length; i++)
                destination[i] = (float)(random.NextDouble() - 0.5);
            // Added once: a parameter is asked for once, however many tensors it becomes.
            values.Add(entry.ParameterName, destination.ToArray());
        });
        return values;
    }

    private static List<TensorToWrite> Tensors(KeyMap map) =>
        [.. map.Entries.SelectMany(entry => entry.Pieces)
            .Select(piece =>
                TensorToWrite.Float32(piece.TensorName, piece.OnDiskShape, new float[piece.OnDiskShape.ElementCount]))];

    private static TensorToWrite Scalar(string name, float value) =>
        TensorToWrite.Float32(name, new Shape(1), new[] { value });

    private static void WriteShards(TemporaryFolder folder, Func<string, string> weightMap)
    {
        SafetensorsWriter.Write(folder["1.safetensors"], [Scalar("a", 1)]);
        SafetensorsWriter.Write(folder["2.safetensors"], [Scalar("b", 2), Scalar("c", 3)]);
        string index = new JsonObject
        {
            ["a"] = "1.safetensors",
            ["b"] = "2.safetensors",
            ["c"] = "2.safetensors",
        }.ToJsonString();
        folder.Write("model.safetensors.index.json",
            $$"""{ "metadata": { "total_size": 12 }, "weight_map": {{weightMap(index)}} }""");
    }
}
