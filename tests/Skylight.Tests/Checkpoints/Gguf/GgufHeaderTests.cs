using System.Buffers.Binary;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints.Gguf;

/// <summary>Headers, and what is wrong with them.</summary>
public class GgufHeaderTests
{
    [Theory]
    [InlineData(2, 32)]
    [InlineData(3, 32)]
    [InlineData(3, 64)]
    [InlineData(3, 8)]
    public void Metadata_and_tensors_are_read(uint version, int alignment)
    {
        using var folder = new TemporaryFolder();
        var writer = new GgufWriter { Version = version, Alignment = alignment };
        if (alignment != 32)
            writer.Integer("general.alignment", (uint)alignment);
        writer.Text("text", "Grüße").Number("number", 0.1f).Flag("yes", true).Integers("list", [1, -2, 3])
            .Texts("texts", ["a"u8.ToArray(), [], "bc"u8.ToArray()]).Numbers("numbers", 0.5, 0.25)
            .Add("long", GgufValueType.Int64, BitConverter.GetBytes(-5L))
            .Add("huge", GgufValueType.UInt64, BitConverter.GetBytes(ulong.MaxValue))
            .Add("small", GgufValueType.Int8, [0xFF]).Add("double", GgufValueType.Float64, BitConverter.GetBytes(2.5));
        byte[] data = [.. Enumerable.Range(0, 36).Select(value => (byte)value)];
        writer.Floats("a", [1, 2, 3], 1, 3).Tensor("b", GgufType.Q8_0, [.. data[..34]], 32).Floats("c", [4], 1, 1, 1);
        using GgufFile file = GgufFile.Open(folder.Write("x.gguf", writer.ToBytes()));

        GgufMetadata metadata = file.Metadata;
        Assert.Equal("Grüße", metadata.Text("text"));
        Assert.Equal(0.1, metadata.Number("number", "", _ => true));
        Assert.True(metadata.Boolean("yes"));
        Assert.Equal([1, -2, 3], metadata.Integers("list"));
        Assert.Equal([1, 0, 2], metadata.Texts("texts").Select(text => text.Length));
        Assert.Equal([0.5, 0.25], metadata.Numbers("numbers", 2));
        Assert.Equal(-5, metadata.Integer("long", -10));
        Assert.Equal(-1, metadata.Integer("small", -1));
        Assert.Equal(2.5, metadata.Number("double", "", _ => true));
        Assert.Null(metadata.Text("absent"));
        foreach ((string key, Action read) in ((string, Action)[])[("huge", () => metadata.Integer("huge")),
            ("long", () => metadata.Integer("long")), ("text", () => metadata.Integer("text")),
            ("number", () => metadata.Text("number")), ("list", () => metadata.Integer("list")),
            ("yes", () => metadata.Number("yes", "a number", _ => true)), ("texts", () => metadata.Integers("texts")),
            ("numbers", () => metadata.Numbers("numbers", 3)), ("list", () => metadata.Texts("list"))])
        {
            string message = Assert.Throws<CheckpointException>(read).Message;
            Assert.Contains($"'{key}' is ", message, StringComparison.Ordinal);
            Assert.Contains("supported: a", message, StringComparison.Ordinal);
        }

        Assert.Equal(["a: [3]", "b: [32]", "c: [1]"], file.Entries.Select(entry => $"{entry.Name}: {entry.Shape}"));
        byte[] stored = new byte[34];
        file.Read(file.Entries[1], 0, stored);
        Assert.Equal(data[..34], stored);
        float[] last = new float[1];
        GgufTensor.Of(file, file.Entries[2]).ReadFloat32(0, last);
        Assert.Equal([4f], last);
    }

    [Fact]
    public void Every_beginning_of_a_file_is_refused()
    {
        using var folder = new TemporaryFolder();
        byte[] whole = Sound().ToBytes();
        for (int length = 0; length < whole.Length; length++)
        {
            string path = folder.Write("x.gguf", whole[..length]);
            var error = Assert.Throws<CheckpointException>(() => GgufFile.Open(path));
            Assert.Equal(path, error.File);
        }

        GgufFile.Open(folder.Write("x.gguf", whole)).Dispose();
    }

    public static TheoryData<string, string> Damages => new()
    {
        { "magic", "it does not begin with 'GGUF'" },
        { "big-endian", "is big-endian GGUF" },
        { "version 1", "is GGUF of version 1; supported: 2 and 3" },
        { "keys", "claims 100000 keys, but at most 65536 are supported" },
        { "too many keys", "keys, but the bytes that follow hold at most" },
        { "tensors", "claims 3000 tensors, but the bytes that follow hold at most" },
        { "type", "tensor 'b': has the type IQ2_XS; supported: F32, F16, Q4_0" },
        { "unknown type", "tensor 'b': has the type number 77; supported: F32" },
        { "row", "tensor 'b': has rows of 33 elements, but Q8_0 stores 32 together" },
        { "rank", "tensor 'b': has 5 extents; supported: 1 to 4" },
        { "extent", "tensor 'b': has an extent of 0" },
        { "extents", "tensor 'b': has an extent of 4294967296" },
        { "product", "tensor 'b': has an extent of 2147483647, or more elements than any file" },
        { "offset", "tensor 'b': begins at byte 33 of the data, but 'a' ends so that it is 32 (the alignment is 32)" },
        { "overlap", "tensor 'b': begins at byte 0 of the data, but 'a' ends so that it is 32" },
        { "far", "tensor 'b': begins at byte 18446744073709551584 of the data" },
        { "twice", "tensor 'a': is there twice" },
        { "key twice", "'k' is there twice" },
        { "alignment", "'general.alignment' is 48; supported: a power of two" },
        { "no alignment", "'general.alignment' is 0; supported: a whole number from 1" },
        { "boolean", "'k' is a boolean of 2; supported: 0 and 1" },
        { "value type", "'k' has a value of type 13; supported: 0 to 12" },
        { "nesting", "'k' has lists within lists, more than 4 deep" },
        { "list", "claims 1152921504606846976 elements of 'k', but" },
        { "text", "the text of 'k' at byte" },
        { "not UTF-8", "'k' is not UTF-8" },
        { "vector", "tensor 'b': is a vector of Q8_0; supported: vectors of F32" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void What_is_wrong_is_named(string damage, string message)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("x.gguf", Damaged(damage));
        var error = Assert.Throws<CheckpointException>(() =>
        {
            using GgufFile file = GgufFile.Open(path);
            file.Metadata.Text("k");
            foreach (GgufEntry entry in file.Entries)
                GgufTensor.Of(file, entry);
        });
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.StartsWith(path, error.Message, StringComparison.Ordinal);
    }

    private static GgufWriter Sound() => new GgufWriter().Text("k", "v").Floats("a", [1], 1)
        .Tensor("b", GgufType.Q8_0, new byte[68], 2, 32);

    private static byte[] Damaged(string damage)
    {
        byte[] sound = Sound().ToBytes();
        switch (damage)
        {
            case "magic":
                sound[0] = (byte)'X';
                return sound;
            case "big-endian":
                BinaryPrimitives.WriteUInt32BigEndian(sound.AsSpan(4), 3);
                return sound;
            case "version 1":
                return new GgufWriter { Version = 1 }.Text("k", "v").ToBytes();
            case "keys":
                return new GgufWriter { ClaimedKeys = 100_000 }.Text("k", "v").Floats("a", new float[100], 100).ToBytes();
            case "too many keys":
                return new GgufWriter { ClaimedKeys = 60_000 }.Text("k", "v").ToBytes();
            case "tensors":
                return new GgufWriter { ClaimedTensors = 3000 }.Text("k", "v").ToBytes();
            case "alignment":
                return Sound().Integer("general.alignment", 48).ToBytes();
            case "no alignment":
                return Sound().Integer("general.alignment", 0).ToBytes();
            case "twice":
                return Sound().Floats("a", [1], 1).ToBytes();
            case "key twice":
                return Sound().Text("k", "w").ToBytes();
            case "boolean":
                return new GgufWriter().Add("k", GgufValueType.Boolean, [2]).ToBytes();
            case "value type":
                return new GgufWriter().Add("k", (GgufValueType)13, [2]).ToBytes();
            case "nesting":
                byte[] list = [.. BitConverter.GetBytes(4), .. BitConverter.GetBytes(0L)];
                for (int depth = 0; depth < 5; depth++)
                    list = [.. BitConverter.GetBytes(9), .. BitConverter.GetBytes(1L), .. list];
                return new GgufWriter().Add("k", GgufValueType.Array, list).ToBytes();
            case "list":
                return new GgufWriter().Add("k", GgufValueType.Array,
                    [.. BitConverter.GetBytes(4), .. BitConverter.GetBytes(1L << 60)]).ToBytes();
            case "text":
                return new GgufWriter().Add("k", GgufValueType.Text, BitConverter.GetBytes(-1L)).ToBytes();
            case "not UTF-8":
                return new GgufWriter().Add("k", GgufValueType.Text, GgufWriter.Spell([0xFF, 0xFE])).ToBytes();
            case "offset" or "overlap" or "far":
                return new GgufWriter
                {
                    Offset = (name, offset) => name == "a" ? offset
                        : damage switch { "offset" => offset + 1, "overlap" => 0UL, _ => ulong.MaxValue - 31 },
                }.Floats("a", [1], 1).Tensor("b", GgufType.Q8_0, new byte[68], 2, 32).ToBytes();
            default:
                (uint type, long[] shape) = damage switch
                {
                    "type" => (17u, new long[] { 2, 256 }),
                    "unknown type" => (77u, [2, 32]),
                    "row" => (8u, [2, 33]),
                    "rank" => (8u, [1, 1, 1, 2, 32]),
                    "extent" => (8u, [0, 32]),
                    "extents" => (0u, [2, 1L << 32]),
                    "product" => (0u, [int.MaxValue, int.MaxValue, int.MaxValue]),
                    "vector" => (8u, [64]),
                    _ => throw new ArgumentOutOfRangeException(nameof(damage), damage, null),
                };
                return new GgufWriter().Text("k", "v").Floats("a", [1], 1).Tensor("b", type, new byte[68], shape).ToBytes();
        }
    }
}
