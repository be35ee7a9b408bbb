using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;

namespace Skylight.Tests.Checkpoints;

/// <summary>Models with Qwen3 on disk: every naming, tied and untied heads.</summary>
public sealed class Qwen3CheckpointTests
{
    public static TheoryData<string, CheckpointNaming, bool> Saves => new(
        from source in (string[])["qwen3-style/hf", "qwen3-style/original"]
        from naming in CheckpointFixture.Namings
        from tied in (bool[])[false, true]
        select (source, naming, tied));

    [Theory]
    [MemberData(nameof(Saves))]
    public void What_is_saved_is_read_back_in_every_naming(string source, CheckpointNaming naming, bool tied)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice();
        using VisionLanguageModel model = tied ? Tied(Golden.PathOf(source), device)
            : ModelCheckpoint.Load(Golden.PathOf(source), device);
        ModelCheckpoint.Save(model, folder["saved"], new CheckpointWriterOptions { Naming = naming });
        using VisionLanguageModel read = ModelCheckpoint.Load(folder["saved"], device);
        Assert.Equal(model.Configuration.Language, read.Configuration.Language);
        Assert.Equal((LanguageModelKind.Qwen3, 24, tied),
            (read.Configuration.Language.Kind, read.Configuration.Language.HeadDimension,
                read.Configuration.Language.TieWordEmbeddings));
        Assert.Equal(model.Parameters.All.Select(parameter => parameter.Name),
            read.Parameters.All.Select(parameter => parameter.Name));
        Assert.All(model.Parameters.All, parameter =>
            Assert.Equal(PersistentTensors.Read(device, parameter),
                PersistentTensors.Read(device, read.Parameters[parameter.Name])));

        using CheckpointReader reader = CheckpointReader.Open(folder["saved"]);
        string[] names = [.. reader.Tensors.Select(tensor => tensor.Name)];
        Assert.Equal(tied ? 0 : 1, names.Count(name => name.EndsWith("lm_head.weight", StringComparison.Ordinal)));
        Assert.Equal(2 * 3,
            names.Count(name => name.EndsWith("self_attn.q_norm.weight", StringComparison.Ordinal)
                || name.EndsWith("self_attn.k_norm.weight", StringComparison.Ordinal)));
        Assert.DoesNotContain(names, name => name.EndsWith("self_attn.q_proj.bias", StringComparison.Ordinal));
    }

    [Fact]
    public void A_file_of_the_other_kind_does_not_fit()
    {
        using var folder = new TemporaryFolder();
        foreach (string file in Directory.EnumerateFiles(Golden.PathOf("qwen3-style/hf")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        string config = File.ReadAllText(folder["config.json"]);
        folder.Write("config.json", config.Replace("\"qwen3\"", "\"qwen2\"", StringComparison.Ordinal)
            .Replace("\"attention_bias\": false", "\"attention_bias\": true", StringComparison.Ordinal));
        using var device = new CpuDevice();
        string message = Assert.Throws<CheckpointException>(() => ModelCheckpoint.Load(folder.Path, device)).Message;
        Assert.Contains("self_attn.q_proj.bias", message, StringComparison.Ordinal);
        Assert.Contains("self_attn.q_norm.weight [24]", message, StringComparison.Ordinal);
    }

    /// <summary>The model with its embedding for a head.</summary>
    private static VisionLanguageModel Tied(string directory, CpuDevice device)
    {
        using VisionLanguageModel model = ModelCheckpoint.Load(directory, device);
        ModelConfiguration configuration =
            model.Configuration with { Language = model.Configuration.Language with { TieWordEmbeddings = true } };
        var tied = new VisionLanguageModel(configuration, device, model.ParameterType);
        tied.Allocate();
        foreach (PersistentTensor parameter in tied.Parameters.All)
            PersistentTensors.Write(device, parameter, PersistentTensors.Read(device, model.Parameters[parameter.Name]));
        return tied;
    }
}
