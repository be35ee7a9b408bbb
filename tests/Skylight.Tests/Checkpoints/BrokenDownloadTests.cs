using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Models;

namespace Skylight.Tests.Checkpoints;

/// <summary>What downloads leave behind: the error says which file, what is wrong with it and what to do.</summary>
public class BrokenDownloadTests
{
    private const string Pointer =
        "version https://git-lfs.github.com/spec/v1\noid " +
        "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 4995628912\n";
    private const string Second = "model-00002-of-00002.safetensors";

    [Fact]
    public void MissingShardIsNamedAndUnfinishedDownloadsAreToo()
    {
        using TemporaryFolder folder = Sharded();
        File.Delete(folder[Second]);
        AssertRefused(folder, "names 1 of 2 files", Second);
        folder.Write(Second + ".incomplete", "abc");
        Directory.CreateDirectory(folder[".cache/huggingface/download"]);
        folder.Write(".cache/huggingface/download/4d7a.incomplete", "abcde");
        AssertRefused(folder, Second, $"{Second}.incomplete (3 bytes)", "4d7a.incomplete (5 bytes)", "Start it again");
    }

    [Fact]
    public void HalfDownloadedShardSaysExpectedAndFoundBytes()
    {
        using TemporaryFolder folder = Sharded();
        long whole = new FileInfo(folder[Second]).Length;
        using (FileStream file = File.OpenWrite(folder[Second]))
            file.SetLength(whole / 2);
        AssertRefused(folder, Second, $"has {whole} bytes, but {whole / 2} are there", "download it again");
        using (FileStream file = File.OpenWrite(folder[Second]))
            file.SetLength(100);
        AssertRefused(folder, Second, "truncated");
        File.WriteAllBytes(folder[Second], []);
        AssertRefused(folder, Second, "empty");
    }

    [Theory]
    [InlineData(Second)]
    [InlineData("config.json")]
    [InlineData("model.safetensors.index.json")]
    [InlineData("generation_config.json")]
    [InlineData("preprocessor_config.json")]
    public void GitLfsPointerIsToldFromTheFile(string name)
    {
        using TemporaryFolder folder = Sharded();
        folder.Write(name, Pointer);
        AssertRefused(folder, name, "git-lfs pointer", "git lfs pull");
    }

    [Fact]
    public void OtherReadersCanAskAboutAFile()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("of 4995628912 bytes",
            Assert.Throws<CheckpointException>(() => FileFaults.Check(folder.Write("tokenizer.json", Pointer))).Message);
        Assert.Contains("empty",
            Assert.Throws<CheckpointException>(() => FileFaults.Check(folder.Write("tokenizer.json", ""))).Message);
        Assert.Contains("missing",
            Assert.Throws<CheckpointException>(() => FileFaults.Check(folder["absent.json"])).Message);
        FileFaults.Check(folder.Write("tokenizer.json", "{}"));
    }

    [Fact]
    public void TensorOfTheIndexThatIsInNoShardIsNamed()
    {
        using TemporaryFolder folder = Sharded();
        string index = File.ReadAllText(folder["model.safetensors.index.json"]);
        folder.Write("model.safetensors.index.json",
            index.Replace("\"weight_map\": {", $"\"weight_map\": {{ \"extra.weight\": \"{Second}\",",
                StringComparison.Ordinal));
        AssertRefused(folder, "'extra.weight'", $"should be in {Second}");
    }

    [Fact]
    public void MissingOrEmptyConfigurationAndOtherFormatsAreNamed()
    {
        using TemporaryFolder folder = Sharded();
        folder.Write("config.json", "");
        AssertRefused(folder, "config.json", "empty");
        File.Delete(folder["config.json"]);
        AssertRefused(folder, "config.json", "missing");

        using var pytorch = new TemporaryFolder();
        pytorch.Write("config.json", ModelFamily.Configuration("tiny").ToJson());
        pytorch.Write("pytorch_model.bin", "PK");
        AssertRefused(pytorch, "pytorch_model.bin", "safetensors");
    }

    [Fact]
    public void ShapesAreCheckedBeforeMemoryIsReserved()
    {
        using TemporaryFolder folder = Sharded();
        ModelConfiguration configuration = ModelConfiguration.Load(folder.Path);
        // Would not fit any machine, were it reserved before the check.
        folder.Write("config.json",
            (configuration with
            {
                Language = configuration.Language with { IntermediateSize = 1 << 24, HiddenSize = 1 << 20 },
            }).ToOriginalJson());
        AssertRefused(folder, "of another shape", "does not fit its configuration");
    }

    [Fact]
    public void AFileThatShrinksWhileItIsReadIsAnError()
    {
        using TemporaryFolder folder = Sharded();
        ModelConfiguration configuration = ModelConfiguration.Load(folder.Path);
        using var device = new CpuDevice();
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        KeyMap map = KeyMap.For(configuration, reader.DetectNaming());
        using var model = new VisionLanguageModel(configuration, device);
        model.Allocate();
        foreach (string file in reader.Files)
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Write,
                FileShare.ReadWrite | FileShare.Delete);
            stream.SetLength(1000);
        }

        KeyMapEntry head = map["language.head.weight"];
        Assert.Contains("became shorter", Assert.Throws<CheckpointException>(() =>
            new ParameterTransfer(device)
                .Load(reader, head, model.Parameters["language.head.weight"].Tensor, _ => { }, default)).Message);
    }

    private static TemporaryFolder Sharded()
    {
        var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        configuration = configuration with
        {
            Language = configuration.Language with { VocabularySize = 1000 },
            ImageTokenId = 900,
            StopTokenIds = [],
        };
        long total = KeyMap.For(configuration, CheckpointNaming.Original).Entries.Sum(entry => entry.Shape.ElementCount) * 2;
        // The order of the tensors decides where a file ends: a little more than half makes two.
        RandomCheckpoint.Write(folder["model"], configuration, StoredType.BFloat16, 1,
            new CheckpointWriterOptions { MaximumShardBytes = total * 6 / 10 });
        foreach (string file in Directory.EnumerateFiles(folder["model"]))
            File.Move(file, folder[Path.GetFileName(file)]);
        Directory.Delete(folder["model"]);
        Assert.Contains(Second, folder.Names());
        return folder;
    }

    private static void AssertRefused(TemporaryFolder folder, params string[] parts)
    {
        using var device = new CpuDevice();
        CheckpointException error = Assert.Throws<CheckpointException>(
            () => ModelCheckpoint.Load(folder.Path, device).Dispose());
        Assert.All(parts, part => Assert.Contains(part, error.Message, StringComparison.Ordinal));
    }
}
