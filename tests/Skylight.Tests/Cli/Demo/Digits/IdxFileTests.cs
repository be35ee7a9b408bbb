using System.Buffers.Binary;
using System.IO.Compression;
using Skylight.Cli.Demo.Digits;

namespace Skylight.Tests.Cli.Demo.Digits;

public sealed class IdxFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Images_and_labels_are_read_plain_and_compressed(bool compress)
    {
        byte[] images = Images(2);
        images[16 + 784 + 5] = 200;
        byte[] pixels = IdxFile.ReadImages(Write("images", images, compress), out int count);
        Assert.Equal(2, count);
        Assert.Equal(2 * 784, pixels.Length);
        Assert.Equal(200, pixels[784 + 5]);

        Assert.Equal([7, 0, 9], IdxFile.ReadLabels(Write("labels", Labels(7, 0, 9), compress)));
    }

    public static TheoryData<string, byte[], string> BrokenImages => new()
    {
        { "empty", [], "ends inside its header" },
        { "magic", [0, 0, 8, 1, .. Images(1).AsSpan(4)], "starts with 0x00000801" },
        { "short header", Images(1)[..10], "ends inside its header" },
        { "cut off", Images(2)[..^1], "cut off" },
        { "trailing", [.. Images(2), 0], "more bytes follow" },
        { "none", Header(0, 28, 28), "0 entries" },
        { "negative", Header(-1, 28, 28), "entries" },
        { "other size", Header(1, 32, 32), "32×32 pixels" },
        { "huge", Header(int.MaxValue, 28, 28), "header lies" },
        { "too many", Header(2_000_000, 28, 28), "header lies" },
    };

    [Theory]
    [MemberData(nameof(BrokenImages))]
    public void Broken_images_are_refused_by_name(string name, byte[] content, string reason)
    {
        foreach (bool compress in (bool[])[false, true])
        {
            string path = Write(name, content, compress);
            var error = Assert.Throws<InvalidDataException>(() => IdxFile.ReadImages(path, out _));
            Assert.Contains(path, error.Message);
            // Only decompressing tells how much a compressed file holds.
            if (!(compress && name == "cut off"))
                Assert.Contains(reason, error.Message);
        }
    }

    [Fact]
    public void A_promise_that_the_file_cannot_hold_allocates_nothing()
    {
        string path = Write("huge", Header(2_000_000, 28, 28), compress: true);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<InvalidDataException>(() => IdxFile.ReadImages(path, out _));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000_000);
    }

    [Fact]
    public void Damaged_gzip_data_is_refused_by_name()
    {
        var noise = new byte[16 + 784 * 4];
        new Random(1).NextBytes(noise);
        Header(4, 28, 28).CopyTo(noise, 0);
        byte[] stored = Compress(noise);

        byte[] flipped = [.. stored];
        flipped.AsSpan(60, 200).Fill(0xFF);
        foreach (byte[] content in (byte[][])[flipped, stored[..(stored.Length / 2)], stored[..12]])
        {
            string path = _folder["damaged.gz"];
            File.WriteAllBytes(path, content);
            var error = Assert.Throws<InvalidDataException>(() => IdxFile.ReadImages(path, out _));
            Assert.Contains(path, error.Message);
        }
    }

    [Fact]
    public void A_label_that_is_no_digit_is_refused()
    {
        string path = Write("labels", Labels(3, 10), compress: false);
        var error = Assert.Throws<InvalidDataException>(() => IdxFile.ReadLabels(path));
        Assert.Contains("label 1 is 10", error.Message);
    }

    [Fact]
    public void A_data_set_is_found_by_its_usual_names()
    {
        Write("train-images-idx3-ubyte", Images(3), compress: true);
        Write("train-labels.idx1-ubyte", Labels(1, 2, 3), compress: false);
        Write("t10k-images-idx3-ubyte", Images(2), compress: false);
        Write("t10k-labels-idx1-ubyte", Labels(4, 5), compress: true);

        DigitDataset dataset = DigitDataset.Load(_folder.Path);
        Assert.Equal(3, dataset.Training.Count);
        Assert.Equal(2, dataset.HeldOut.Count);
        Assert.Equal(5, dataset[DigitSplit.HeldOut].Label(1));
    }

    [Fact]
    public void A_missing_file_and_differing_counts_are_named()
    {
        Write("train-images-idx3-ubyte", Images(3), compress: true);
        var missing = Assert.Throws<InvalidDataException>(() => DigitDataset.Load(_folder.Path));
        Assert.Contains("train-labels-idx1-ubyte", missing.Message);

        string labels = Write("train-labels-idx1-ubyte", Labels(1, 2), compress: true);
        var differing = Assert.Throws<InvalidDataException>(() => DigitDataset.Load(_folder.Path));
        Assert.Contains(labels, differing.Message);
        Assert.Contains("2 labels, but there are 3 images", differing.Message);

        var folder = Assert.Throws<DirectoryNotFoundException>(() => DigitDataset.Load(_folder["nowhere"]));
        Assert.Contains("--digits", folder.Message);
    }

    private string Write(string name, byte[] content, bool compress)
    {
        string path = _folder[compress ? name + ".gz" : name];
        File.WriteAllBytes(path, compress ? Compress(content) : content);
        return path;
    }

    private static byte[] Compress(byte[] content)
    {
        using var stored = new MemoryStream();
        using (var gzip = new GZipStream(stored, CompressionLevel.Fastest))
            gzip.Write(content);
        return stored.ToArray();
    }

    private static byte[] Header(params ReadOnlySpan<int> extents)
    {
        var header = new byte[4 + 4 * extents.Length];
        header[2] = 8;
        header[3] = (byte)extents.Length;
        for (int axis = 0; axis < extents.Length; axis++)
            BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4 + 4 * axis), extents[axis]);
        return header;
    }

    private static byte[] Images(int count) => [.. Header(count, 28, 28), .. new byte[count * 784]];

    private static byte[] Labels(params ReadOnlySpan<byte> labels) => [.. Header(labels.Length), .. labels];
}
