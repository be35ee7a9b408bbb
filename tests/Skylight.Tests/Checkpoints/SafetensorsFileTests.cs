using System.Buffers.Binary;
using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

public class SafetensorsFileTests
{
    [Fact]
    public void GoldenDumpIsRead()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Golden.PathOf("vit300m-style/golden.safetensors"));
        Assert.Equal(18, file.ReadInt32("s0.input_ids").Length);
        Assert.Equal(new Shape(1, 3, 56, 56), file["s0.pixel_values"].Shape);
        float[] entropy = file.ReadFloat32("s0.token_entropy");
        Assert.Equal(17, entropy.Length);
        Assert.All(entropy, value => Assert.InRange(value, 0, MathF.Log(512)));
        Assert.All(file.ReadFloat32("s0.token_logprob"), value => Assert.True(value <= 0));
    }

    [Fact]
    public void EveryStoredTypeIsConverted()
    {
        using var folder = new TemporaryFolder();
        byte[] file = CheckpointFixture.Raw("""
            {"f64":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"i64":{"dtype":"I64","shape":[2],"data_offsets":[16,32]},
             "f16":{"dtype":"F16","shape":[3],"data_offsets":[32,38]},"bf16":{"dtype":"BF16","shape":[1,1],"data_offsets":[38,40]},
             "f32":{"dtype":"F32","shape":[],"data_offsets":[40,44]},"i32":{"dtype":"I32","shape":[1],"data_offsets":[44,48]},
             "u8":{"dtype":"U8","shape":[2],"data_offsets":[48,50]},"bool":{"dtype":"BOOL","shape":[1],"data_offsets":[50,51]},
             "none":{"dtype":"F32","shape":[3,0],"data_offsets":[51,51]},"__metadata__":{"format":"pt","a":"ü"}}
            """, 51);
        Span<byte> data = file.AsSpan(file.Length - 51);
        BinaryPrimitives.WriteDoubleLittleEndian(data, 1.5);
        BinaryPrimitives.WriteDoubleLittleEndian(data[8..], -1e300);
        BinaryPrimitives.WriteInt64LittleEndian(data[16..], -7);
        BinaryPrimitives.WriteInt64LittleEndian(data[24..], int.MaxValue);
        BinaryPrimitives.WriteHalfLittleEndian(data[32..], (Half)0.333251953125f);
        BinaryPrimitives.WriteHalfLittleEndian(data[34..], Half.Epsilon);
        BinaryPrimitives.WriteHalfLittleEndian(data[36..], Half.NegativeInfinity);
        BinaryPrimitives.WriteUInt16LittleEndian(data[38..], 0xC049);
        BinaryPrimitives.WriteSingleLittleEndian(data[40..], MathF.PI);
        BinaryPrimitives.WriteInt32LittleEndian(data[44..], 123);
        data[48] = 200;
        data[49] = 0;
        data[50] = 1;
        using SafetensorsFile opened = SafetensorsFile.Open(folder.Write("all.safetensors", file));

        Assert.Equal([1.5f, float.NegativeInfinity], opened.ReadFloat32("f64"));
        Assert.Equal([-7, int.MaxValue], opened.ReadInt32("i64"));
        Assert.Equal([0.333251953125f, 5.9604645e-8f, float.NegativeInfinity], opened.ReadFloat32("f16"));
        Assert.Equal([-3.140625f], opened.ReadFloat32("bf16"));
        Assert.Equal([MathF.PI], opened.ReadFloat32("f32"));
        Assert.Equal([123], opened.ReadInt32("i32"));
        Assert.Equal([200, 0], opened.ReadInt32("u8"));
        Assert.Equal([1], opened.ReadInt32("bool"));
        Assert.Empty(opened.ReadFloat32("none"));
        Assert.Equal([200, 0], opened.Bytes("u8").ToArray());
        Assert.Equal("ü", opened.Metadata["a"]);
        Assert.Equal(0, opened["f32"].Shape.Rank);

        var bits = new BFloat16[1];
        opened.ReadBFloat16("bf16", 0, bits);
        Assert.Equal(0xC049, bits[0].Bits);
        opened.ReadBFloat16("f32", 0, bits);
        Assert.Equal((BFloat16)MathF.PI, bits[0]);
        opened.ReadBFloat16("f16", 0, bits);
        Assert.Equal((BFloat16)0.333251953125f, bits[0]);

        Assert.Contains("'f32'", Assert.Throws<CheckpointException>(() => opened.ReadInt32("f32")).Message);
        Assert.Contains("I32", Assert.Throws<CheckpointException>(() => opened.ReadFloat32("i32")).Message);
        Assert.Equal("nothing", Assert.Throws<CheckpointException>(() => opened["nothing"]).Tensor);
        Assert.Throws<ArgumentOutOfRangeException>(() => opened.ReadFloat32("f64", 1, new float[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => opened.ReadFloat32("f64", -1, new float[1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => opened.ReadFloat32("f64", new float[1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => opened.ReadInt32("i32", new int[2]));
    }

    [Fact]
    public void BFloat16IsWidenedExactlyForEveryLengthAndValue()
    {
        using var folder = new TemporaryFolder();
        BFloat16[] values = [.. Enumerable.Range(0, 65536).Select(bits => BFloat16.FromBits((ushort)bits))];
        string path = folder["all.safetensors"];
        SafetensorsWriter.Write(path, [TensorToWrite.BFloat16("x", new Shape(65536), values)]);
        using SafetensorsFile file = SafetensorsFile.Open(path);
        foreach ((int first, int count) in ((int, int)[])[(0, 65536), (1, 65535), (3, 67), (65530, 6), (5, 0), (8, 31)])
        {
            float[] read = new float[count];
            file.ReadFloat32("x", first, read);
            for (int i = 0; i < count; i++)
                Assert.Equal((uint)(first + i) << 16, BitConverter.SingleToUInt32Bits(read[i]));
        }
    }

    [Fact]
    public void LongThatDoesNotFitIsRefused()
    {
        using var folder = new TemporaryFolder();
        byte[] file = CheckpointFixture.Raw("""{"x":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}""", 16);
        BinaryPrimitives.WriteInt64LittleEndian(file.AsSpan(file.Length - 16), 5);
        BinaryPrimitives.WriteInt64LittleEndian(file.AsSpan(file.Length - 8), 1L << 31);
        using SafetensorsFile opened = SafetensorsFile.Open(folder.Write("x.safetensors", file));
        Assert.Contains("element 1", Assert.Throws<CheckpointException>(() => opened.ReadInt32("x")).Message);
    }

    [Fact]
    public void ReadingAfterDisposeThrows()
    {
        using var folder = new TemporaryFolder();
        SafetensorsFile file = SafetensorsFile.Open(folder.Write("x.safetensors",
            CheckpointFixture.Raw("""{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""", 2)));
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.ReadInt32("x"));
    }

    [Theory]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4\n", "git lfs pull")]
    [InlineData("<!DOCTYPE html><html><body>404</body></html>", "web page")]
    [InlineData("\n  <html>not found</html>", "web page")]
    [InlineData("<a>", "web page")]
    [InlineData("", "empty")]
    [InlineData("abc", "truncated")]
    [InlineData("PK\u0003\u0004\u0014\u0000\u0000\u0000zip", "zip archive")]
    [InlineData("what is this, some text?", "the header claims")]
    public void OtherFilesAreRecognised(string content, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("x.safetensors", content);
        CheckpointException error = Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path));
        Assert.Equal(path, error.File);
        Assert.Contains(expected, error.Message);
    }

    [Fact]
    public void FileOrFolderThatIsNotThereIsNamed()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("missing.safetensors",
            Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(folder["missing.safetensors"])).Message);
        Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(folder.Path));
    }

    [Fact]
    public void LengthThatLooksLikeTextIsStillALength()
    {
        // Header lengths whose first bytes are " <" (0x3C20) and "<": valid files, no web pages.
        using var folder = new TemporaryFolder();
        foreach (int length in (int[])[0x3C20, 0x3C, 0x3C0A])
        {
            string header = """{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""".PadRight(length);
            using SafetensorsFile file = SafetensorsFile.Open(
                folder.Write("x.safetensors", CheckpointFixture.Raw(header, 2)));
            Assert.Single(file.Entries);
        }
    }
}
