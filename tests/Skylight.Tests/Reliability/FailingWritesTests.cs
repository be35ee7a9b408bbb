using System.Diagnostics;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Models;

namespace Skylight.Tests.Reliability;

/// <summary>
/// A disk that fails or is full at any moment of saving: what was there before is there after, and nothing else.
/// </summary>
public class FailingWritesTests
{
    private const string Full = "No space left on device";

    [Theory]
    [InlineData("training state", true)]
    [InlineData("training state", false)]
    [InlineData("model in one file", true)]
    [InlineData("model in one file", false)]
    [InlineData("model in shards", true)]
    [InlineData("model in shards", false)]
    public void Whichever_write_fails_nothing_is_lost_and_nothing_left(string what, bool exists)
    {
        using var folder = new TemporaryFolder();
        string directory = folder["it"];
        Action<float, Func<string, long, Stream>?> save = Saving(what, directory);
        if (exists)
            save(1, null);
        Dictionary<string, byte[]> before = Contents(folder.Path);
        int failures = 0;
        while (true)
        {
            int left = failures;
            try
            {
                save(2, (path, _) => new FailingStream(path, () => left-- == 0));
                break;
            }
            catch (CheckpointException exception)
            {
                Assert.Contains(Full, exception.Message, StringComparison.Ordinal);
                AssertSame(before, Contents(folder.Path), $"failure {failures}");
                failures++;
            }
        }

        // Opening, header, tensors, flushing: each has failed once.
        Assert.InRange(failures, 6, 10_000);
        Assert.DoesNotContain(Contents(folder.Path).Keys, name => name.Contains(".tmp", StringComparison.Ordinal)
            || name.Contains(".old", StringComparison.Ordinal));
        Assert.Equal(2, Saved(what, directory));
    }

    /// <summary>A real file system of each size from a few pages up to where the save fits.</summary>
    [Theory]
    [InlineData("training state")]
    [InlineData("model in one file")]
    [InlineData("model in shards")]
    public void A_full_file_system_loses_nothing(string what)
    {
        using var folder = new TemporaryFolder();
        for (int kilobytes = 128, failures = 0; ; kilobytes += 32)
        {
            Assert.SkipUnless(Run("mount", "-t", "tmpfs", "-o", $"size={kilobytes}k", "skylight-test", folder.Path),
                "needs the right to mount a file system of some kilobytes");
            try
            {
                string directory = folder["it"];
                Action<float, Func<string, long, Stream>?> save = Saving(what, directory);
                try
                {
                    save(1, null);
                }
                catch (CheckpointException)
                {
                    Assert.Empty(folder.Names());
                    failures++;
                    continue;
                }

                Dictionary<string, byte[]> before = Contents(folder.Path);
                try
                {
                    save(2, null);
                    Assert.Equal(2, Saved(what, directory));
                    // One size at least had room for one and not for two.
                    Assert.InRange(failures, 2, 1000);
                    return;
                }
                catch (CheckpointException)
                {
                    AssertSame(before, Contents(folder.Path), $"{kilobytes} kB");
                    failures++;
                }
            }
            finally
            {
                Assert.True(Run("umount", folder.Path));
            }
        }
    }

    /// <summary>
    /// Between the first and the last of a folder's files: here a folder stands where one of them should go.
    /// </summary>
    [Fact]
    public void A_file_that_cannot_be_put_in_place_leaves_the_weights_that_were_there()
    {
        using var folder = new TemporaryFolder();
        Action<float, Func<string, long, Stream>?> save = Saving("model in shards", folder["it"]);
        save(1, null);
        Directory.CreateDirectory(folder["it/vocab.json"]);
        Dictionary<string, byte[]> before = Contents(folder.Path);
        Directory.CreateDirectory(folder["tokenizer"]);
        folder.Write("tokenizer/vocab.json", "{}");
        folder.Write("tokenizer/merges.txt", "#version");
        Assert.Throws<CheckpointException>(() => CheckpointWriter.Write(
            folder["it"], Model, StoredType.Float32, (_, _, destination) => destination.Fill(2),
            new CheckpointWriterOptions { MaximumShardBytes = 20_000, CopyFrom = folder["tokenizer"] }));
        Directory.Delete(folder["tokenizer"], recursive: true);
        AssertSame(before, Contents(folder.Path), "the move");
    }

    /// <summary>
    /// A crash between two renames would leave weights of two saves, were shards replaced under their names.
    /// </summary>
    [Fact]
    public void Shards_are_not_replaced_while_an_index_names_them()
    {
        using var folder = new TemporaryFolder();
        Action<float, Func<string, long, Stream>?> save = Saving("model in shards", folder["it"]);
        save(1, null);
        string[] first = Shards();
        save(2, null);
        string[] second = Shards();
        Assert.Empty(first.Intersect(second));
        save(3, null);
        Assert.Equal(first, Shards());
        Assert.Equal(3, Saved("model in shards", folder["it"]));

        string[] Shards() => [.. Directory.EnumerateFiles(folder["it"], "model-*").Order(StringComparer.Ordinal)];
    }

    private static ModelConfiguration Model { get; } = ModelOf();

    private static ModelConfiguration ModelOf()
    {
        using VisionLanguageModel model = TinyModel.Create();
        return model.Configuration;
    }

    /// <summary>Saves something all of whose numbers are one number.</summary>
    private static Action<float, Func<string, long, Stream>?> Saving(string what, string directory) =>
        what == "training state"
        ? (value, open) => TrainingCheckpoint.Save(
            directory, [.. Enumerable.Range(0, 3)
                .Select(index => TensorToWrite.Float32($"tensor{index}", new Shape(20_000),
                    Enumerable.Repeat(value, 20_000).ToArray()))], $"{value}", open)
        : (value, open) => CheckpointWriter.Write(
            directory, Model, StoredType.Float32, (_, _, destination) => destination.Fill(value),
            new CheckpointWriterOptions
            {
                MaximumShardBytes = what == "model in shards" ? 20_000 : long.MaxValue,
                Open = open,
                FreeBytes = _ => long.MaxValue,
            });

    /// <summary>The number that was saved.</summary>
    private static float Saved(string what, string directory)
    {
        if (what == "training state")
        {
            using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(directory);
            return checkpoint.Tensors.Entries.SelectMany(entry => checkpoint.Tensors.ReadFloat32(entry.Name)).Distinct()
                .Single();
        }

        using CheckpointReader reader = CheckpointReader.Open(directory);
        return reader.Tensors.SelectMany(tensor =>
        {
            float[] values = new float[tensor.Shape.ElementCount];
            tensor.ReadFloat32(0, values);
            return values;
        }).Distinct().Single();
    }

    private static Dictionary<string, byte[]> Contents(string folder) =>
        Directory.EnumerateFileSystemEntries(folder, "*", SearchOption.AllDirectories)
        .ToDictionary(entry => Path.GetRelativePath(folder, entry), entry => Directory.Exists(entry) ? []
            : File.ReadAllBytes(entry));

    private static void AssertSame(Dictionary<string, byte[]> expected, Dictionary<string, byte[]> found, string after)
    {
        Assert.True(expected.Keys.Order(StringComparer.Ordinal).SequenceEqual(found.Keys.Order(StringComparer.Ordinal)),
            $"After {after}: {string.Join(", ", found.Keys)} instead of {string.Join(", ", expected.Keys)}.");
        Assert.All(expected,
            entry => Assert.True(entry.Value.AsSpan().SequenceEqual(found[entry.Key]),
                $"{entry.Key} has changed after {after}."));
    }

    private static bool Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(
                new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    /// <summary>A real file whose opening, writes and flushes may fail.</summary>
    private sealed class FailingStream : Stream
    {
        private readonly FileStream _file;
        private readonly Func<bool> _fails;

        public FailingStream(string path, Func<bool> fails)
        {
            _fails = fails;
            Check();
            _file = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
        }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => _file.Length;

        public override long Position { get => _file.Position; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            // Half of it arrives.
            _file.Write(buffer[..(buffer.Length / 2)]);
            Check();
            _file.Write(buffer[(buffer.Length / 2)..]);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
            Check();
            _file.Flush();
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                _file?.Dispose();
            base.Dispose(disposing);
        }

        private void Check()
        {
            if (_fails())
                throw new IOException(Full);
        }
    }
}
