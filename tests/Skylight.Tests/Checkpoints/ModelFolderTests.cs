using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Execution;
using Skylight.Tests.Models;

namespace Skylight.Tests.Checkpoints;

/// <summary>Loading and saving whole folders: shards, atomicity, progress, what lies beside the weights.</summary>
public class ModelFolderTests
{
    public static TheoryData<CheckpointNaming> Namings => [.. CheckpointFixture.Namings];

    [Theory]
    [MemberData(nameof(Namings))]
    public void TinyOfTheFamilyLoadsToTheWeightsOfItsSeedInEveryNaming(CheckpointNaming naming)
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = ModelFamily.Configuration("tiny");
        RandomCheckpoint.Write(folder["model"], configuration, StoredType.BFloat16, 7,
            new CheckpointWriterOptions { Naming = naming, MaximumShardBytes = 15_000_000 });
        using (CheckpointReader reader = CheckpointReader.Open(folder["model"]))
        {
            Assert.Equal(naming, reader.DetectNaming());
            Assert.True(reader.Files.Count > 1);
        }

        using var device = new CpuDevice();
        using VisionLanguageModel model = ModelCheckpoint.Load(folder["model"], device);
        using var expected = new VisionLanguageModel(configuration, device, DataType.BFloat16);
        expected.Initialize(7);
        Assert.Equal(configuration, model.Configuration);
        Assert.Equal(DataType.BFloat16, model.ParameterType);
        AssertSameWeights(expected, model);
    }

    [Theory]
    [InlineData("internvl3-1b", 938e6, 12_288)]
    [InlineData("internvl3-2b", 2.089e9, 28_672)]
    [InlineData("internvl3-8b", 7.944e9, 57_344)]
    [InlineData("internvl3-14b", 15.12e9, 196_608)]
    [InlineData("internvl3-38b", 38.39e9, 262_144)]
    [InlineData("skywork-r1v3-38b", 38.39e9, 262_144)]
    public void MembersOfTheFamilyHaveTheirPublishedSizes(string name, double parameters, long cacheBytesPerToken)
    {
        ModelConfiguration configuration = ModelFamily.Configuration(name);
        Assert.InRange(KeyMap.For(configuration, CheckpointNaming.Original)
            .Entries.Sum(entry => entry.Shape.ElementCount), 0.9985 * parameters, 1.0015 * parameters);
        Assert.Equal(cacheBytesPerToken, 2L * configuration.Language.LayerCount * configuration.Language.KeyValueSize * 2);
        Assert.Contains("internvl3-1b",
            Assert.Throws<ArgumentException>(() => ModelFamily.Configuration("internvl3-9b")).Message);
    }

    [Theory]
    [InlineData(StoredType.Float32, DataType.Float32)]
    [InlineData(StoredType.Float32, DataType.BFloat16)]
    [InlineData(StoredType.BFloat16, DataType.Float32)]
    [InlineData(StoredType.Float16, DataType.Float32)]
    [InlineData(StoredType.Float16, DataType.BFloat16)]
    public void EveryStoredTypeIsRoundedOnce(StoredType stored, DataType wanted)
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = TinyModel.Configuration;
        var written = new Dictionary<string, float[]>();
        var random = new Random(3);
        TensorToWrite[] tensors = [.. KeyMap.For(configuration, CheckpointNaming.Original).Entries.SelectMany(entry =>
        {
            float[] values = [.. Enumerable.Range(0, (int)entry.Shape.ElementCount)
                .Select(_ => Stored((float)(random.NextDouble() - 0.5) * 3, stored))];
            written.Add(entry.ParameterName, values);
            return entry.Pieces.Select(piece => new TensorToWrite(piece.TensorName, stored, piece.OnDiskShape,
                stream => stream.Write(Bytes(piece.Of<float>(values), stored))));
        })];
        SafetensorsWriter.Write(folder["model.safetensors"], tensors);
        folder.Write("config.json", configuration.ToOriginalJson());

        foreach (Device device in (Device[])[new CpuDevice(), new RoundingDevice(DataType.Float32)])
        {
            using VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device, wanted);
            foreach (PersistentTensor parameter in model.Parameters.All)
                Assert.Equal(written[parameter.Name].Select(value => wanted == DataType.BFloat16 ? (BFloat16)value
                    : value), PersistentTensors.Read(device, parameter));
            device.Dispose();
        }
    }

    [Fact]
    public void ParametersOfManyBlocksArriveWhole()
    {
        // Gate and up together are larger than a block, and begin and end within one.
        ModelConfiguration configuration = CheckpointFixture.Small();
        configuration = configuration with
        {
            Language = configuration.Language with { IntermediateSize = 100_001, LayerCount = 1 },
        };
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice();
        using var model = new VisionLanguageModel(configuration, device, DataType.Float32);
        model.Initialize(5);
        ModelCheckpoint.Save(model, folder["model"]);
        var steps = new List<float>();
        using VisionLanguageModel loaded = ModelCheckpoint.Load(folder["model"], device, progress: new Recorder(steps));
        AssertSameWeights(model, loaded);
        Assert.Equal(1f, steps[^1], 5);
        Assert.Equal(steps.Order(), steps);
        Assert.True(steps.Count > model.Parameters.All.Count);
    }

    [Fact]
    public void LoadingIsCancelledWithinAParameter()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = CheckpointFixture.Small();
        configuration = configuration with { Language = configuration.Language with { VocabularySize = 400_000 } };
        RandomCheckpoint.Write(folder["model"], configuration, StoredType.Float32, 1);
        using var cancellation = new CancellationTokenSource();
        using var device = new CpuDevice();
        float seen = 0;
        Assert.Throws<OperationCanceledException>(() => ModelCheckpoint.Load(
            folder["model"], device, progress: new Callback(value =>
            {
                seen = value;
                if (value > 0.1f)
                    cancellation.Cancel();
            }), cancellationToken: cancellation.Token));
        // The embedding alone is half of the model.
        Assert.InRange(seen, 0.1f, 0.45f);
    }

    [Fact]
    public void WhatAChatNeedsSurvivesLoadingAndSaving()
    {
        using var folder = new TemporaryFolder();
        ModelConfiguration configuration = TinyModel.Configuration with
        {
            ModelType = "skywork_chat",
            Architecture = "SkyworkR1VChatModel",
            WeightType = "bfloat16",
            Template = "internvl2_5",
            SystemMessage = "Du bist \"knapp\".",
            Preprocessing = new ImagePreprocessing
            {
                IsTiled = false,
                MinimumTiles = 2,
                MaximumTiles = 6,
                HasThumbnail = false,
                Mean = new(0.5, 0.5, 0.5),
                Deviation = new(0.25, 0.5, 1),
            },
            Generation = new GenerationDefaults
            {
                StopTokenIds = [TinyModel.StopToken],
                Sample = true,
                Temperature = 0.6,
                TopP = 0.95,
                TopK = 20,
                RepetitionPenalty = 1.05,
                MaxOutputTokens = 64000,
                BeginTokenId = 1,
                PaddingTokenId = 2,
            },
            Language = TinyModel.Configuration.Language with
            {
                RopeScaling = new RopeScaling(RopeScalingKind.Yarn, 2, 128)
                {
                    MScale = 0.5,
                    MScaleAllDimensions = 1,
                    BetaFast = 16,
                    BetaSlow = 2,
                    Truncate = false,
                },
            },
        };
        folder.Write("tokenizer.json", "{}");
        folder.Write("unrelated.txt", "x");
        using var device = new CpuDevice();
        foreach (CheckpointNaming naming in CheckpointFixture.Namings)
        {
            using var model = new VisionLanguageModel(configuration, device, DataType.BFloat16);
            model.Initialize(2);
            string directory = folder[$"{naming}"];
            ModelCheckpoint.Save(model, directory, new CheckpointWriterOptions { Naming = naming, CopyFrom = folder.Path });
            using VisionLanguageModel loaded = ModelCheckpoint.Load(directory, device);
            Assert.Equal(configuration, loaded.Configuration);
            ModelCheckpoint.Save(loaded, directory, new CheckpointWriterOptions { CopyFrom = directory });
            Assert.Equal(configuration, ModelConfiguration.Load(directory));
            Assert.Equal(["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"], Names(directory));
        }
    }

    [Fact]
    public void ShardsReplaceOneFileAndTheOtherWayRound()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice();
        using VisionLanguageModel model = TinyModel.Create();
        ModelCheckpoint.Save(model, folder["model"]);
        ModelCheckpoint.Save(model, folder["model"], new CheckpointWriterOptions { MaximumShardBytes = 10_000 });
        string[] names = Names(folder["model"]);
        Assert.DoesNotContain("model.safetensors", names);
        Assert.Contains("model.safetensors.index.json", names);
        int shards = names.Count(name => name.EndsWith(".safetensors", StringComparison.Ordinal));
        Assert.Contains($"model-00001-of-{shards:D5}.safetensors", names);
        Assert.All(names.Where(name => name.EndsWith(".safetensors", StringComparison.Ordinal)), name =>
        {
            using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(folder["model"], name));
            Assert.True(file.Entries.Count == 1 || file.Entries.Sum(entry => entry.ByteCount) <= 10_000);
        });
        using (VisionLanguageModel loaded = ModelCheckpoint.Load(folder["model"], device))
            AssertSameWeights(model, loaded);
        ModelCheckpoint.Save(model, folder["model"], new CheckpointWriterOptions { MaximumShardBytes = 20_000 });
        using (VisionLanguageModel loaded = ModelCheckpoint.Load(folder["model"], device))
            AssertSameWeights(model, loaded);
        ModelCheckpoint.Save(model, folder["model"]);
        Assert.Equal(["config.json", "model.safetensors"], Names(folder["model"]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AWriteThatFailsLeavesWhatWasThere(bool existed)
    {
        using var folder = new TemporaryFolder();
        using VisionLanguageModel model = TinyModel.Create();
        if (existed)
            ModelCheckpoint.Save(model, folder["model"]);
        string[] before = existed ? Names(folder["model"]) : folder.Names();
        using var cancellation = new CancellationTokenSource();
        var options = new CheckpointWriterOptions
        {
            MaximumShardBytes = 10_000,
            Progress = new Callback(value => { if (value > 0.5f) cancellation.Cancel(); })
        };
        Assert.Throws<OperationCanceledException>(
            () => ModelCheckpoint.Save(model, folder["model"], options, cancellation.Token));
        Assert.Throws<CheckpointException>(() =>
            ModelCheckpoint.Save(model, folder["model"], new CheckpointWriterOptions { CopyFrom = folder["absent"] }));
        Assert.Equal(before, existed ? Names(folder["model"]) : folder.Names());
        if (existed)
        {
            using var device = new CpuDevice();
            using VisionLanguageModel loaded = ModelCheckpoint.Load(folder["model"], device);
            AssertSameWeights(model, loaded);
        }
    }

    [Fact]
    public void AFullDiskIsRefusedBeforeAnythingIsWritten()
    {
        using var folder = new TemporaryFolder();
        var options = new CheckpointWriterOptions { FreeBytes = _ => 70_000_000_000 };
        string message = Assert.Throws<CheckpointException>(() =>
            RandomCheckpoint.Write(folder["a/b"], ModelFamily.Configuration("internvl3-38b"), StoredType.BFloat16, 1,
                options)).Message;
        Assert.Contains("76.78 GB would be written", message);
        Assert.Contains("70.00 GB free", message);
        Assert.Empty(folder.Names());
        folder.Write("something", "x");
        Assert.Contains("not empty",
            Assert.Throws<CheckpointException>(() =>
                RandomCheckpoint.Write(folder.Path, ModelFamily.Configuration("tiny"), StoredType.BFloat16, 1)).Message);
        Assert.Equal(["something"], folder.Names());
    }

    private static void AssertSameWeights(VisionLanguageModel expected, VisionLanguageModel found)
    {
        foreach (PersistentTensor parameter in expected.Parameters.All)
            Assert.True(PersistentTensors.Read(expected.Device, parameter).AsSpan()
                .SequenceEqual(PersistentTensors.Read(found.Device, found.Parameters[parameter.Name])), parameter.Name);
    }

    private static string[] Names(string directory) =>
        [.. Directory.EnumerateFileSystemEntries(directory).Select(entry => Path.GetFileName(entry))
            .Order(StringComparer.Ordinal)];

    private static float Stored(float value, StoredType type) =>
        type switch { StoredType.BFloat16 => (BFloat16)value, StoredType.Float16 => (float)(Half)value, _ => value };

    private static byte[] Bytes(ReadOnlySpan<float> values, StoredType type) => type switch
    {
        StoredType.BFloat16 => [.. values.ToArray().SelectMany(value => BitConverter.GetBytes(((BFloat16)value).Bits))],
        StoredType.Float16 => [.. values.ToArray().SelectMany(value => BitConverter.GetBytes((Half)value))],
        _ => [.. values.ToArray().SelectMany(BitConverter.GetBytes)],
    };

    private sealed class Recorder(List<float> values) : IProgress<float>
    {
        public void Report(float value) => values.Add(value);
    }

    private sealed class Callback(Action<float> action) : IProgress<float>
    {
        public void Report(float value) => action(value);
    }
}
