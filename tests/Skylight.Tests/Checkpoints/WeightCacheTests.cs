using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Cli;

namespace Skylight.Tests.Checkpoints;

/// <summary>Packed weights that are kept: the same bits as without them, whatever has happened to the files.</summary>
public sealed class WeightCacheTests : IDisposable
{
    // Embedding and head are beyond a megabyte, so that they are mapped; the rest is copied.
    private static readonly ModelConfiguration s_configuration = CheckpointFixture.Small() with
    {
        Language = CheckpointFixture.Small().Language with { HiddenSize = 256, HeadDimension = 64, VocabularySize = 6000 },
    };

    private readonly TemporaryFolder _folder = new();
    private readonly ConcurrentQueue<string> _notices = new();

    public WeightCacheTests() =>
        RandomCheckpoint.Write(Checkpoint, s_configuration, StoredType.BFloat16, 5);

    private string Checkpoint => _folder["model"];

    private WeightCacheOptions Options => new()
    {
        Folder = _folder["cache"],
        SmallestBytes = 0,
        Notice = _notices.Enqueue,
    };

    private string[] Kept => Directory.Exists(Options.Folder)
        ? [.. Directory.EnumerateFiles(Options.Folder).Order(StringComparer.Ordinal)] : [];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("q8")]
    [InlineData("q4")]
    [InlineData("all")]
    public void The_second_start_maps_the_bits_of_the_first(string what)
    {
        QuantizedFormat? format = FormatOf(what);
        WeightCacheOptions options = Options with { Keeps = format is null ? KeptWeights.All : KeptWeights.Rounded };
        ulong[] expected = Weights(Checkpoint, format, null);
        Assert.Equal(expected, Weights(Checkpoint, format, options));
        Assert.Contains("are kept in", Assert.Single(_notices), StringComparison.Ordinal);
        string file = Assert.Single(Kept);
        // Only the file can say what the weights were: some of the checkpoint's are gone, between what is looked at.
        string weights = Path.Combine(Checkpoint, "model.safetensors");
        long step = (new FileInfo(weights).Length - (1 << 16)) / 16;
        Overwrite(weights, (8 * step) + 70_000, 100_000);
        Assert.Equal(expected, Weights(Checkpoint, format, options));
        Assert.NotEqual(expected, Weights(Checkpoint, format, null));
        Assert.Single(_notices);
        Assert.Equal([file], Kept);
    }

    [Fact]
    public void What_is_reserved_is_the_weights_and_is_given_back()
    {
        for (int start = 0; start < 2; start++)
        {
            using var device = new CpuDevice();
            using (VisionLanguageModel model = Load(device, Checkpoint, QuantizedFormat.Q4, Options))
                Assert.Equal(model.Parameters.All.Sum(parameter => Math.Max(1, device.StorageBytes(parameter.Type))),
                    device.ReservedPeakBytes);
            Assert.Equal(0, device.ReservedBytes);
        }
    }

    /// <summary>One that has mapped the file keeps it, whatever becomes of its name, and changes nothing in it.</summary>
    [Fact]
    public void A_model_writes_to_its_own_memory_and_outlives_the_file()
    {
        WeightCacheOptions options = Options with { Keeps = KeptWeights.All };
        ulong[] expected = Weights(Checkpoint, null, options);
        using (var device = new CpuDevice())
        using (VisionLanguageModel model = Load(device, Checkpoint, null, options))
        {
            PersistentTensor embedding = model.Parameters["language.embedding.weight"];
            PersistentTensors.Write(device, embedding, new float[embedding.Type.Shape.ElementCount]);
            Assert.Equal(expected, Weights(Checkpoint, null, options));
            new WeightCache(options).Clear();
            Assert.Empty(Kept);
            Assert.Contains(Checksum(device, model.Parameters["language.head.weight"]), expected);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    [InlineData(28)]
    [InlineData(100)]
    [InlineData(1500)]
    [InlineData(WeightsStart)]
    [InlineData(WeightsStart + 1_000_000)]
    [InlineData(-1)]
    public void A_byte_that_changed_is_found_and_the_file_made_again(int place)
    {
        ulong[] expected = Weights(Checkpoint, QuantizedFormat.Q8, Options);
        byte[] whole = File.ReadAllBytes(Kept[0]), spoilt = [.. whole];
        spoilt[place < 0 ? ^-place : place] ^= 4;
        File.WriteAllBytes(Kept[0], spoilt);
        DemandRenewal(expected, whole);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    [InlineData(5000)]
    [InlineData(WeightsStart + 7)]
    [InlineData(-1)]
    [InlineData(-70_000)]
    public void A_file_that_is_not_whole_is_found_and_made_again(int length)
    {
        ulong[] expected = Weights(Checkpoint, QuantizedFormat.Q8, Options);
        byte[] whole = File.ReadAllBytes(Kept[0]);
        using (FileStream stream = File.OpenWrite(Kept[0]))
            stream.SetLength(length < 0 ? whole.Length + length : length);
        DemandRenewal(expected, whole);
    }

    [Fact]
    public void Another_file_of_that_name_is_found_and_made_again()
    {
        ulong[] expected = Weights(Checkpoint, QuantizedFormat.Q8, Options);
        byte[] whole = File.ReadAllBytes(Kept[0]);
        RandomCheckpoint.Write(_folder["other"], s_configuration, StoredType.BFloat16, 6);
        WeightCacheOptions elsewhere = Options with { Folder = _folder["elsewhere"] };
        Weights(_folder["other"], QuantizedFormat.Q8, elsewhere);
        _notices.Clear();
        _notices.Enqueue("");
        File.Copy(Directory.GetFiles(elsewhere.Folder)[0], Kept[0], overwrite: true);
        DemandRenewal(expected, whole);
    }

    /// <summary>Same names, sizes and times: only content tells them apart.</summary>
    [Fact]
    public void Another_checkpoint_in_the_same_place_has_weights_of_its_own()
    {
        string file = Path.Combine(Checkpoint, "model.safetensors");
        DateTime time = File.GetLastWriteTimeUtc(file);
        ulong[] first = Weights(Checkpoint, QuantizedFormat.Q8, Options);
        RandomCheckpoint.Write(_folder["other"], s_configuration, StoredType.BFloat16, 6);
        File.Copy(Path.Combine(_folder["other"], "model.safetensors"), file, overwrite: true);
        File.SetLastWriteTimeUtc(file, time);
        ulong[] second = Weights(Checkpoint, QuantizedFormat.Q8, Options);
        Assert.NotEqual(first, second);
        Assert.Equal(Weights(_folder["other"], QuantizedFormat.Q8, null), second);
        Assert.Equal(2, Kept.Length);
    }

    [Fact]
    public void Every_form_has_a_file_of_its_own()
    {
        foreach (QuantizedFormat format in (QuantizedFormat[])[QuantizedFormat.Q4, QuantizedFormat.Q8])
            Weights(Checkpoint, format, Options);
        Weights(Checkpoint, null, Options with { Keeps = KeptWeights.All });
        Assert.Equal(3, Kept.Length);
        string[] labels = [.. new WeightCache(Options).Entries().Select(entry => entry.Label)];
        Assert.Equal(3, labels.Distinct().Count());
        Assert.All(labels, label => Assert.StartsWith(Checkpoint, label, StringComparison.Ordinal));
    }

    /// <summary>Two commits of a repository that have the same weights.</summary>
    [Fact]
    public void Files_of_the_hubs_cache_are_known_by_their_content()
    {
        string blob = _folder.Write($"blobs/{new string('a', 64)}", File.ReadAllBytes(Path.Combine(Checkpoint, "model.safetensors")));
        string config = _folder.Write($"blobs/{new string('b', 40)}", File.ReadAllBytes(Path.Combine(Checkpoint, "config.json")));
        foreach (string commit in (string[])["one", "two"])
        {
            Directory.CreateDirectory(_folder[$"snapshots/{commit}"]);
            File.CreateSymbolicLink(_folder[$"snapshots/{commit}/model.safetensors"], blob);
            File.CreateSymbolicLink(_folder[$"snapshots/{commit}/config.json"], config);
        }

        ulong[] first = Weights(_folder["snapshots/one"], QuantizedFormat.Q8, Options);
        File.SetLastWriteTimeUtc(blob, DateTime.UtcNow.AddDays(-3));
        Assert.Equal(first, Weights(_folder["snapshots/two"], QuantizedFormat.Q8, Options));
        Assert.Single(Kept);
        Assert.Single(_notices);
    }

    [Fact]
    public void A_start_that_is_cancelled_leaves_nothing()
    {
        using var stop = new CancellationTokenSource();
        using var device = new CpuDevice();
        Assert.ThrowsAny<OperationCanceledException>(() => ModelCheckpoint.Load(Checkpoint, device,
            progress: new Told(fraction =>
            {
                if (fraction > 0.5f)
                    stop.Cancel();
            }), cancellationToken: stop.Token, quantization: QuantizedFormat.Q8, weightCache: Options));
        Assert.True(Directory.Exists(Options.Folder));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Options.Folder));
        Assert.Equal(0, device.ReservedBytes);
        Weights(Checkpoint, QuantizedFormat.Q8, Options);
        stop.Dispose();
        using var second = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => ModelCheckpoint.Load(Checkpoint, device,
            progress: new Told(_ => second.Cancel()), cancellationToken: second.Token, quantization: QuantizedFormat.Q8,
            weightCache: Options with { Keeps = KeptWeights.None }));
        Assert.Single(Kept);
    }

    [Fact]
    public void Those_used_longest_ago_go_when_there_are_too_many_bytes()
    {
        Weights(Checkpoint, QuantizedFormat.Q8, Options);
        string old = Kept[0];
        long bytes = new FileInfo(old).Length;
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddDays(-2));
        Weights(Checkpoint, QuantizedFormat.Q4, Options);
        string recent = Kept.Single(file => file != old);
        File.SetLastWriteTimeUtc(recent, DateTime.UtcNow.AddDays(-1));
        string abandoned = Path.Combine(Options.Folder, ".x.weights.1.2.tmp"), begun = Path.Combine(Options.Folder, ".y.weights.1.2.tmp");
        File.WriteAllText(abandoned, "left by a process that was killed");
        File.SetLastWriteTimeUtc(abandoned, DateTime.UtcNow.AddDays(-2));
        File.WriteAllText(begun, "being written by another process");
        // To be used again makes the old one young.
        Weights(Checkpoint, QuantizedFormat.Q8, Options);
        Weights(Checkpoint, null, Options with { Keeps = KeptWeights.All, LimitBytes = 3 * bytes });
        Assert.Contains(old, Kept);
        Assert.DoesNotContain(recent, Kept);
        Assert.False(File.Exists(abandoned));
        Assert.True(File.Exists(begun));
    }

    [Fact]
    public void What_cannot_be_kept_is_said_and_the_model_is_read()
    {
        ulong[] expected = Weights(Checkpoint, QuantizedFormat.Q8, null);
        Assert.Equal(expected, Weights(Checkpoint, QuantizedFormat.Q8, Options with { LimitBytes = 1_000_000 }));
        Assert.Empty(Kept);
        Assert.True(_notices.TryDequeue(out string? limit));
        Assert.Contains("the limit is 0.00 GB (SKYLIGHT_WEIGHTS_GB)", limit, StringComparison.Ordinal);
        string file = _folder.Write("file", "no folder");
        Assert.Equal(expected, Weights(Checkpoint, QuantizedFormat.Q8, Options with { Folder = Path.Combine(file, "cache") }));
        Assert.StartsWith("Packed weights are not kept", Assert.Single(_notices), StringComparison.Ordinal);
    }

    [Fact]
    public void Models_that_are_small_or_not_rounded_are_not_kept()
    {
        Weights(Checkpoint, QuantizedFormat.Q8, Options with { SmallestBytes = new WeightCacheOptions().SmallestBytes });
        Weights(Checkpoint, null, Options);
        Weights(Checkpoint, QuantizedFormat.Q8, Options with { Keeps = KeptWeights.None });
        Assert.Empty(Kept);
        Assert.Empty(_notices);
    }

    [Fact]
    public void Starts_side_by_side_do_not_disturb_each_other()
    {
        ulong[] expected = Weights(Checkpoint, QuantizedFormat.Q8, null);
        Parallel.For(0, 6, _ => Assert.Equal(expected, Weights(Checkpoint, QuantizedFormat.Q8, Options)));
        Assert.Single(Kept);
        Assert.Equal(expected, Weights(Checkpoint, QuantizedFormat.Q8, Options));
        Assert.All(_notices, notice => Assert.Contains("are kept in", notice, StringComparison.Ordinal));
    }

    /// <summary>
    /// Files outlive programs. Who changes how numbers are rounded or how weights lie changes a version too, and then these
    /// numbers: WeightQuantizer.Version, PackedWeights.Version.
    /// </summary>
    [Theory]
    [InlineData("q8", 1, 1, Q8Bytes)]
    [InlineData("q4", 1, 1, Q4Bytes)]
    [InlineData("all", 1, 1, PanelBytes)]
    public void Bytes_change_with_their_version_only(string what, int rounding, int packing, ulong expected)
    {
        ulong[] all = Weights(Checkpoint, FormatOf(what), null);
        Assert.Equal((rounding, packing, expected), (WeightQuantizer.Version, PackedWeights.Version,
            WeightLayout.Checksum(MemoryMarshal.AsBytes(all.AsSpan()))));
    }

    [Fact]
    public void The_environment_says_what_is_kept_and_how_much()
    {
        Assert.Equal(KeptWeights.Rounded, WeightCacheOptions.Parse(null, "").Keeps);
        Assert.Equal(KeptWeights.None, WeightCacheOptions.Parse("off", null).Keeps);
        Assert.Equal(KeptWeights.All, WeightCacheOptions.Parse("all", null).Keeps);
        Assert.Equal(1_500_000_000, WeightCacheOptions.Parse(null, "1.5").LimitBytes);
        Assert.Contains("SKYLIGHT_WEIGHTS is 'no'; it must be off, rounded or all",
            Assert.Throws<ArgumentException>(() => WeightCacheOptions.Parse("no", null)).Message, StringComparison.Ordinal);
        foreach (string limit in (string[])["20GB", "-1", "NaN", "1e30"])
            Assert.Contains($"SKYLIGHT_WEIGHTS_GB is '{limit}'",
                Assert.Throws<ArgumentException>(() => WeightCacheOptions.Parse(null, limit)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_command_shows_and_removes_what_is_kept()
    {
        Weights(Checkpoint, QuantizedFormat.Q8, Options with { Folder = _folder["skylight/weights"] });
        _folder.Write("skylight/kernels/gemm-1.cubin", new byte[2_000_000]);
        _folder.Write("skylight/kernels/notes.txt", "somebody's");
        (int code, string output, _) = await RunAsync("cache");
        Assert.Equal(0, code);
        Assert.Contains($"{Checkpoint}, rounded to 8 bits", output, StringComparison.Ordinal);
        Assert.Contains("2.00 MB in 1 files", output, StringComparison.Ordinal);
        (code, output, _) = await RunAsync("cache", "clear", "weights");
        Assert.Equal(0, code);
        Assert.EndsWith("MB freed.\n", output, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(_folder["skylight/weights"]));
        (_, output, _) = await RunAsync("cache", "clear");
        Assert.Equal("2.00 MB freed.\n", output);
        Assert.Equal(["notes.txt"], Directory.EnumerateFiles(_folder["skylight/kernels"]).Select(Path.GetFileName));

        Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) => SkylightProgram.RunAsync(
            SkylightProgram.Start(arguments, environment: ("SKYLIGHT_CACHE", _folder["skylight"])));
    }

    private const int WeightsStart = 2 << 20;
    private const ulong Q8Bytes = 9851353730516045125, Q4Bytes = 16742778207397221222, PanelBytes = 2824060294004193247;

    private void DemandRenewal(ulong[] expected, byte[] whole)
    {
        Assert.Equal(expected, Weights(Checkpoint, QuantizedFormat.Q8, Options));
        Assert.Equal(3, _notices.Count);
        Assert.Contains("It is thrown away and made again.", _notices.ElementAt(1), StringComparison.Ordinal);
        Assert.Contains(Kept[0], _notices.ElementAt(1), StringComparison.Ordinal);
        Assert.Equal(whole, File.ReadAllBytes(Assert.Single(Kept)));
    }

    private static QuantizedFormat? FormatOf(string what) => what switch
    {
        "q8" => QuantizedFormat.Q8,
        "q4" => QuantizedFormat.Q4,
        _ => null,
    };

    private static void Overwrite(string path, long start, int count)
    {
        DateTime time = File.GetLastWriteTimeUtc(path);
        using (FileStream stream = new(path, FileMode.Open, FileAccess.Write))
        {
            stream.Position = start;
            stream.Write(new byte[count]);
        }

        File.SetLastWriteTimeUtc(path, time);
    }

    private static ulong[] Weights(string checkpoint, QuantizedFormat? format, WeightCacheOptions? cache)
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = Load(device, checkpoint, format, cache);
        return [.. model.Parameters.All.Select(parameter => Checksum(device, parameter))];
    }

    private static VisionLanguageModel Load(CpuDevice device, string checkpoint, QuantizedFormat? format,
        WeightCacheOptions? cache) => ModelCheckpoint.Load(checkpoint, device, quantization: format, weightCache: cache);

    private static ulong Checksum(CpuDevice device, PersistentTensor parameter) =>
        WeightLayout.Checksum(device.StoredBytes(parameter.Tensor, 0, (int)device.StorageBytes(parameter.Type)));

    private sealed class Told(Action<float> action) : IProgress<float>
    {
        public void Report(float value) => action(value);
    }
}
