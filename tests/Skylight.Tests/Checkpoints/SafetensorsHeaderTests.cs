using System.Buffers.Binary;
using System.Text;
using Skylight.Checkpoints;

namespace Skylight.Tests.Checkpoints;

public class SafetensorsHeaderTests
{
    private const string Good = """
        {"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I32","shape":[],"data_offsets":[32,36]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[36,36]}}
        """;

    [Theory]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 4, "x", "outside the file")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 12, null, "4 bytes at the end")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "x", "4 bytes before")]
    [InlineData(
        """{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "y", "overlaps that of tensor 'x'")]
    [InlineData(
        """{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "y", "overlaps that of tensor 'x'")]
    [InlineData("""{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "x", "takes 12 bytes")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "x", "backwards")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", 8, "x", "none negative")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "x", "data_offsets")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}}""", 8, "x", "data_offsets")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999999999999999]}}""", 8, "x", "data_offsets")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775807]}}""", 8,
        "x", "outside the file")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2]}}""", 8, "x", "data_offsets")]
    [InlineData("""{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "x", "-2")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2147483648],"data_offsets":[0,8]}}""", 8, "x", "2147483648")]
    [InlineData("""{"x":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", 8, "x", "whole number")]
    [InlineData("""{"x":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}""", 8, "x", "no shape")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,8]}}""", 8, "x",
        "more bytes than any file")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2147483647,2147483647,2147483647,0],"data_offsets":[0,0]}}""", 0, "x",
        "more bytes than any file")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1073741824,2147483647,2],"data_offsets":[0,0]}}""", 0, "x",
        "more bytes than any file")]
    [InlineData(
        """{"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}""", 4, "x", "33 extents")]
    [InlineData("""{"x":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}}""", 2, "x", "FP8 (E4M3)")]
    [InlineData("""{"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}""", 2, "x", "Of quantised checkpoints")]
    [InlineData("""{"x":{"dtype":"complex","shape":[2],"data_offsets":[0,2]}}""", 2, "x", "supported are F64")]
    [InlineData("""{"x":{"dtype":7,"shape":[2],"data_offsets":[0,2]}}""", 2, "x", "no dtype")]
    [InlineData("""{"x":[0,2]}""", 2, "x", "must be an object")]
    [InlineData(
        """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""",
        2, null, "'x'")]
    [InlineData("""{"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, null, "not valid JSON")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, null, "strings only")]
    [InlineData("""{"__metadata__":[]}""", 0, null, "__metadata__")]
    [InlineData("""{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, null, "not valid JSON")]
    [InlineData("""[]""", 0, null, "not a JSON object")]
    [InlineData(""" {}""", 0, null, "not a JSON object")]
    [InlineData("""{} {}""", 0, null, "not valid JSON")]
    [InlineData("""{"x":""", 0, null, "not valid JSON")]
    [InlineData("", 0, null, "not a JSON object")]
    public void LyingHeaderIsRefused(string header, int dataBytes, string? tensor, string expected)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(() => Read(CheckpointFixture.Raw(header, dataBytes)));
        Assert.Equal("the-file", error.File);
        Assert.Equal(tensor, error.Tensor);
        Assert.Contains(expected, error.Message);
        Assert.Contains("the-file", error.Message);
    }

    [Theory]
    [InlineData(1000, "truncated")]
    [InlineData(100_000_001, "more than the 100000000")]
    [InlineData(long.MaxValue, "more than the 100000000")]
    [InlineData(-1, "more than the 100000000")]
    public void LyingHeaderLengthIsRefused(long claimed, string expected) =>
        Assert.Contains(expected,
            Assert.Throws<CheckpointException>(() => Read(CheckpointFixture.Raw(Good, 36, claimed))).Message);

    [Fact]
    public void InvalidUtf8IsRefused()
    {
        byte[] file = CheckpointFixture.Raw(Good, 36);
        file[Array.IndexOf(file, (byte)'p')] = 0xC3;
        Assert.Contains("UTF-8", Assert.Throws<CheckpointException>(() => Read(file)).Message);
    }

    [Fact]
    public void EveryTruncationIsRefused()
    {
        byte[] file = CheckpointFixture.Raw(Good, 36);
        Assert.Equal(4, Read(file).Entries.Count);
        for (int length = 0; length < file.Length; length++)
            Assert.Throws<CheckpointException>(() => Read(file[..length]));
    }

    [Fact]
    public void EmptyTensorsAndTrailingSpacesAreFine()
    {
        Assert.Empty(Read(CheckpointFixture.Raw("{}      ", 0)).Entries);
        Assert.Equal(["e", "x"],
            Read(CheckpointFixture.Raw(
                """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}  """, 1)).Entries.Select(entry => entry.Name));
    }

    /// <summary>
    /// Whatever a header says, either it is refused, or all its tensors lie in the file and cover its data.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void MutatedHeadersAreRefusedOrSound(int seed)
    {
        var random = new Random(seed);
        string[] fragments = ["0", "-1", "9223372036854775807", "18446744073709551616", "4294967296", "1e3", "null",
            "[]", "{}", "\"F32\"", "\"U8\"", "\"F64\"", "[0,24]", "[24,32]",
            "\"a\":", ",", ":", "}", "]", "{", "[", "\"", "\\u0000", "\\ud800", "__metadata__", "shape", "dtype",
            "[2,3]", "[3,2]", "[6]"];
        int refused = 0, sound = 0;
        for (int round = 0; round < 10_000; round++)
        {
            byte[] file = Mutate(random, fragments);
            try
            {
                SafetensorsHeader header = Read(file);
                AssertSound(header, file);
                sound++;
            }
            catch (CheckpointException)
            {
                refused++;
            }
        }

        Assert.True(refused > 5000 && sound > 20,
            $"{refused} refused, {sound} sound: the mutations do not test what they should.");
    }

    /// <summary>The same through the real file and map, reading every tensor.</summary>
    [Fact]
    public void MutatedFilesNeverCrashTheMap()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(4);
        for (int round = 0; round < 500; round++)
        {
            string path = folder.Write("x.safetensors",
                Mutate(random, ["0", "1", "24", "\"U8\"", "\"F16\"", "[24]", "[12]"]));
            try
            {
                using SafetensorsFile file = SafetensorsFile.Open(path);
                foreach (SafetensorsEntry entry in file.Entries)
                    Assert.Equal(entry.ByteCount, file.Bytes(entry.Name).ToArray().Length);
            }
            catch (CheckpointException error)
            {
                Assert.Equal(path, error.File);
            }
        }
    }

    private static byte[] Mutate(Random random, string[] fragments)
    {
        var header = new StringBuilder(Good);
        int dataBytes = 36;
        long? claimed = null;
        List<(int Position, byte Value)> bytes = [];
        for (int edits = random.Next(1, 4); edits > 0; edits--)
        {
            int at = random.Next(header.Length), length = Math.Min(random.Next(0, 8), header.Length - at);
            switch (random.Next(7))
            {
                case 0:
                    header[at] = (char)random.Next(32, 127);
                    break;
                case 1:
                    header.Remove(at, length);
                    break;
                case 2:
                    header.Insert(at, fragments[random.Next(fragments.Length)]);
                    break;
                case 3:
                    header.Remove(at, length).Insert(at, fragments[random.Next(fragments.Length)]);
                    break;
                case 4:
                    dataBytes = random.Next(0, 80);
                    break;
                case 5:
                    claimed = random.Next(3) == 0 ? random.NextInt64() : header.Length + random.Next(-20, 20);
                    break;
                default:
                    bytes.Add((random.Next(), (byte)random.Next(256)));
                    break;
            }

            if (header.Length == 0)
                header.Append('{');
        }

        byte[] file = CheckpointFixture.Raw(header.ToString(), dataBytes, claimed);
        foreach ((int position, byte value) in bytes)
            file[position % file.Length] = value;
        return random.Next(20) == 0 ? file[..random.Next(file.Length)] : file;
    }

    private static void AssertSound(SafetensorsHeader header, byte[] file)
    {
        long covered = 8 + BinaryPrimitives.ReadInt64LittleEndian(file);
        foreach (SafetensorsEntry entry in header.Entries)
        {
            Assert.Equal(covered, entry.ByteOffset);
            Assert.Equal(entry.Shape.ElementCount * entry.Type.Size(), entry.ByteCount);
            covered += entry.ByteCount;
        }

        Assert.Equal(file.Length, covered);
        Assert.Equal(header.Entries.Count, header.Entries.Select(entry => entry.Name).Distinct().Count());
    }

    private static SafetensorsHeader Read(byte[] file) =>
        SafetensorsHeader.Read("the-file", new MemoryStream(file), file.Length);
}
