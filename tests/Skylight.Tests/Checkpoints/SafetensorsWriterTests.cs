using System.Buffers.Binary;
using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

public class SafetensorsWriterTests
{
    [Fact]
    public void WhatIsWrittenIsReadBack()
    {
        using var folder = new TemporaryFolder();
        float[] weights = [1.5f, -0f, float.NaN, float.PositiveInfinity, 3e-42f, 6];
        string path = folder["x.safetensors"];
        SafetensorsWriter.Write(path,
            [
                TensorToWrite.UInt8("bytes", new Shape(3), new byte[] { 1, 2, 255 }),
                TensorToWrite.BFloat16("half \"é\n", new Shape(1, 2),
                    new[] { BFloat16.FromBits(0x3F80), BFloat16.FromBits(0xFFFF) }),
                TensorToWrite.Float32("weights", new Shape(2, 3), weights),
                TensorToWrite.Int32("ids", new Shape(2), new[] { -1, int.MinValue }),
                TensorToWrite.Float32("empty", new Shape(0, 5), ReadOnlyMemory<float>.Empty),
                TensorToWrite.FromBytes("raw", TensorType.Float32(1), new byte[] { 0, 0, 128, 63 }),
            ],
            new Dictionary<string, string> { ["step"] = "7" });

        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Equal(weights.Select(BitConverter.SingleToInt32Bits),
            file.ReadFloat32("weights").Select(BitConverter.SingleToInt32Bits));
        Assert.Equal([-1, int.MinValue], file.ReadInt32("ids"));
        Assert.Equal([1, 2, 255], file.Bytes("bytes").ToArray());
        Assert.Equal([0x80, 0x3F, 0xFF, 0xFF], file.Bytes("half \"é\n").ToArray());
        Assert.Equal([1f], file.ReadFloat32("raw"));
        Assert.Equal(new Shape(0, 5), file["empty"].Shape);
        Assert.Equal("7", file.Metadata["step"]);
        Assert.All(file.Entries, entry => Assert.Equal(0, entry.ByteOffset % entry.Type.Size()));
        Assert.Equal(["x.safetensors"], folder.Names());
    }

    [Fact]
    public void HeaderIsPaddedAndSaysPyTorch()
    {
        using var folder = new TemporaryFolder();
        for (int length = 1; length < 10; length++)
        {
            SafetensorsWriter.Write(folder["x"], [TensorToWrite.UInt8(new string('n', length), new Shape(1), new byte[1])]);
            Assert.Equal(0, BinaryPrimitives.ReadInt64LittleEndian(File.ReadAllBytes(folder["x"])) % 8);
            using SafetensorsFile file = SafetensorsFile.Open(folder["x"]);
            Assert.Equal("pt", file.Metadata["format"]);
        }
    }

    [Fact]
    public void FileInUseIsReplacedWithoutDisturbingItsReader()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["x"], [TensorToWrite.Float32("a", new Shape(1), new[] { 1f })]);
        using SafetensorsFile old = SafetensorsFile.Open(folder["x"]);
        SafetensorsWriter.Write(folder["x"], [TensorToWrite.Float32("b", new Shape(1), new[] { 2f })]);
        using SafetensorsFile replaced = SafetensorsFile.Open(folder["x"]);
        Assert.Equal([1f], old.ReadFloat32("a"));
        Assert.Equal([2f], replaced.ReadFloat32("b"));
    }

    [Fact]
    public void FailureMidwayLeavesTheOldFileAndNothingElse()
    {
        using var folder = new TemporaryFolder();
        byte[] before = WriteOld(folder);
        Assert.Throws<InvalidDataException>(() => SafetensorsWriter.Write(folder["x"],
            [TensorToWrite.Float32("a", new Shape(1), new[] { 1f }),
                new TensorToWrite("b", StoredType.Float32, new Shape(1),
                    _ => throw new InvalidDataException("the device is gone"))]));
        AssertUntouched(folder, before);
    }

    [Theory]
    [InlineData(3, "only 3 were written")]
    [InlineData(5, "more were written")]
    public void TensorMustWriteItsBytesExactly(int bytes, string expected)
    {
        using var folder = new TemporaryFolder();
        byte[] before = WriteOld(folder);
        ArgumentException error = Assert.Throws<ArgumentException>(() =>
            SafetensorsWriter.Write(folder["x"],
                [new TensorToWrite("lying", StoredType.Float32, new Shape(1), stream => stream.Write(new byte[bytes]))]));
        Assert.Contains("'lying'", error.Message);
        Assert.Contains(expected, error.Message);
        AssertUntouched(folder, before);
    }

    [Fact]
    public void CancellationLeavesTheOldFile()
    {
        using var folder = new TemporaryFolder();
        byte[] before = WriteOld(folder);
        using var source = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => SafetensorsWriter.Write(folder["x"],
            [
                new TensorToWrite("a", StoredType.UInt8, new Shape(2), stream =>
                {
                    stream.WriteByte(1);
                    source.Cancel();
                    stream.WriteByte(1);
                }),
            ],
            cancellationToken: source.Token));
        AssertUntouched(folder, before);
    }

    [Fact]
    public void FullDiskIsReportedAndTheOldFileStays()
    {
        if (!File.Exists("/dev/full"))
            Assert.Skip("needs /dev/full");
        using var folder = new TemporaryFolder();
        byte[] before = WriteOld(folder);
        CheckpointException error = Assert.Throws<CheckpointException>(() => SafetensorsWriter.Write(folder["x"],
            [TensorToWrite.Float32("a", new Shape(1 << 16), new float[1 << 16])], null,
            (_, _) => new FileStream("/dev/full", FileMode.Open, FileAccess.Write), default));
        Assert.Equal(folder["x"], error.File);
        Assert.IsAssignableFrom<IOException>(error.InnerException);
        AssertUntouched(folder, before);
    }

    [Fact]
    public void DiskThatFillsUpMidwayLeavesNoTemporaryFile()
    {
        using var folder = new TemporaryFolder();
        byte[] before = WriteOld(folder);
        string? temporary = null;
        CheckpointException error = Assert.Throws<CheckpointException>(() => SafetensorsWriter.Write(folder["x"],
            [TensorToWrite.Float32("a", new Shape(1 << 20), new float[1 << 20])], null,
            (path, _) => new FillingStream(temporary = path, room: 1 << 20), default));
        Assert.Contains("No space left", error.Message);
        Assert.Equal(folder.Path, Path.GetDirectoryName(temporary));
        AssertUntouched(folder, before);
    }

    [Fact]
    public void FolderThatCannotBeWrittenIsNamed()
    {
        using var folder = new TemporaryFolder();
        folder.Write("file", "not a folder");
        TensorToWrite[] tensors = [TensorToWrite.Float32("a", new Shape(1), new[] { 1f })];
        Assert.Contains(Path.Combine("file", "x"),
            Assert.Throws<CheckpointException>(
                () => SafetensorsWriter.Write(Path.Combine(folder["file"], "x"), tensors)).Message);
        Assert.Contains(Path.Combine("nowhere", "x"),
            Assert.Throws<CheckpointException>(
                () => SafetensorsWriter.Write(Path.Combine(folder["nowhere"], "x"), tensors)).Message);
        Directory.CreateDirectory(folder["taken"]);
        Assert.Throws<CheckpointException>(() => SafetensorsWriter.Write(folder["taken"], tensors));
        Assert.Equal(["file", "taken"], folder.Names());
    }

    [Fact]
    public void ContradictionsOfTheCallerAreArgumentErrors()
    {
        using var folder = new TemporaryFolder();
        TensorToWrite tensor = TensorToWrite.Float32("a", new Shape(1), new[] { 1f });
        Assert.Contains("'a'",
            Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(folder["x"], [tensor, tensor])).Message);
        Assert.Throws<ArgumentException>(
            () => SafetensorsWriter.Write(folder["x"], [tensor with { Name = "__metadata__" }]));
        Assert.Throws<ArgumentException>(() => TensorToWrite.Float32("a", new Shape(2), new[] { 1f }));
        Assert.Throws<ArgumentException>(() => TensorToWrite.FromBytes("a", TensorType.Float32(2), new byte[4]));
        Assert.Throws<ArgumentException>(
            () => TensorToWrite.FromBytes("a", TensorType.Float32(1) with { Storage = Storage.Weight }, new byte[4]));
        Assert.Empty(folder.Names());
    }

    private static byte[] WriteOld(TemporaryFolder folder)
    {
        SafetensorsWriter.Write(folder["x"], [TensorToWrite.Float32("old", new Shape(2), new[] { 1f, 2f })]);
        return File.ReadAllBytes(folder["x"]);
    }

    private static void AssertUntouched(TemporaryFolder folder, byte[] before)
    {
        Assert.Equal(["x"], folder.Names());
        Assert.Equal(before, File.ReadAllBytes(folder["x"]));
    }

    /// <summary>A real file on a disk with little room.</summary>
    private sealed class FillingStream(string path, long room)
        : FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1)
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (Position + buffer.Length > room)
                throw new IOException("No space left on device");
            base.Write(buffer);
        }
    }
}
