using System.Buffers.Binary;
using Skylight.Images;

namespace Skylight.Tests.Images;

/// <summary>
/// Damaged files: an <see cref="ImageException"/> or a picture within the limits, and nothing else. A failure names
/// seed and case.
/// </summary>
public class ImageFuzzTests
{
    private const int Seed = 20250711;

    private static readonly ImageLimits Limits = new()
    {
        MaximumPixels = 300_000,
        MaximumWidth = 8192,
        MaximumHeight = 8192
    };

    [Fact]
    public void Every_truncation_of_a_sample_is_refused_unless_all_pixels_are_there()
    {
        int cases = 0;
        int accepted = 0;
        foreach ((string name, byte[] file) in Files())
        {
            // Every length of the small files; of the larger ones the start, the end, and some in between.
            int step = file.Length < 3000 ? 1 : file.Length < 12_000 ? 7 : file.Length / 100;
            for (int length = 0; length < file.Length; length += length < 64 || length > file.Length - 16 ? 1 : step,
                cases++)
            {
                ReadOnlyMemory<byte> start = file.AsMemory(0, length);
                if (!Survives(start, () => $"{name}, cut off after {length} bytes"))
                    continue;
                // Of digits at a file's end nobody can say whether more followed.
                if (name is "formats/plain.ppm" or "formats/plain.pgm")
                    continue;
                bool same = ImageSamples.Decoders.Decode(start).Pixels.AsSpan()
                    .SequenceEqual(ImageSamples.Decoders.Decode(file).Pixels);
                Assert.True(same,
                    $"{name}, cut off after {length} of {file.Length} bytes, was accepted and is another picture");
                accepted++;
            }
        }

        Assert.InRange(cases, 20_000, int.MaxValue);
        Assert.InRange(accepted, 1, cases / 20);
    }

    [Theory]
    [InlineData(".png", 60_000)]
    [InlineData(".jpg", 300_000)]
    [InlineData(".webp", 5_000)]
    [InlineData(".gif", 20_000)]
    [InlineData(".bmp", 20_000)]
    [InlineData(".tif", 20_000)]
    [InlineData(".tga", 20_000)]
    [InlineData(".pgm", 10_000)]
    public void Damage_is_survived(string extension, int cases)
    {
        (string Name,
            byte[] Data)[] files = [.. Files().Where(file => file.Name.EndsWith(extension, StringComparison.Ordinal))];
        // The small files are as complex as the large ones, and a case of them takes less.
        (string Name,
            byte[] Data)[] small = [.. files.OrderBy(file => file.Data.Length).Take(Math.Max(1, files.Length * 3 / 4))];
        int refused = 0;
        for (int number = 0; number < cases; number++)
        {
            var random = new Random(HashCode(Seed, number));
            (string name, byte[] data) = random.Next(100) == 0 ? files[random.Next(files.Length)]
                : small[random.Next(small.Length)];
            byte[] damaged = Damage(random, data, small[random.Next(small.Length)].Data);
            if (extension == ".png" && random.Next(4) != 0)
                RepairChecksums(damaged);
            if (!Survives(damaged, () => $"seed {Seed}, case {number} of {extension}, from {name}"))
                refused++;
        }

        // If nothing were refused, or nothing accepted, the damage would not reach what it is meant to reach.
        Assert.InRange(refused, cases / 10, cases - (cases / 100));
    }

    /// <summary>Whether it decodes; fails on any other outcome than a picture or an error of this room.</summary>
    private static bool Survives(ReadOnlyMemory<byte> file, Func<string> which)
    {
        try
        {
            RgbImage image = ImageSamples.Decoders.Decode(file, Limits);
            Assert.True((long)image.Width * image.Height <= Limits.MaximumPixels, which());
            return true;
        }
        catch (ImageException exception)
        {
            Assert.False(string.IsNullOrWhiteSpace(exception.Message), which());
            return false;
        }
        catch (Exception exception) when (exception is not Xunit.Sdk.IAssertionException)
        {
            Assert.Fail($"{which()}: {exception}");
            return false;
        }
    }

    private static byte[] Damage(Random random, byte[] data, byte[] other)
    {
        byte[] damaged = [.. data];
        for (int times = 1 + (random.Next(3) == 0 ? random.Next(8) : 0); times > 0 && damaged.Length > 0; times--)
        {
            // Half of the damage goes to the headers, where every bit means something.
            int at = random.Next(2) == 0 ? random.Next(damaged.Length) : random.Next(Math.Min(damaged.Length, 700));
            int length = random.Next(1, 1 + Math.Min(damaged.Length - at, random.Next(2) == 0 ? 4 : 200));
            switch (random.Next(9))
            {
                case 0 or 1:
                    damaged[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    damaged[at] = (byte)random.Next(256);
                    break;
                case 3:
                    random.NextBytes(damaged.AsSpan(at, length));
                    break;
                case 4:
                    damaged.AsSpan(at, length).Fill((byte)(random.Next(2) * 255));
                    break;
                case 5:
                    damaged = [.. damaged[..at], .. damaged[(at + length)..]];
                    break;
                case 6:
                    damaged = [.. damaged[..at], .. damaged.AsSpan(at, length), .. damaged[at..]];
                    break;
                case 7:
                    int from = random.Next(other.Length);
                    damaged = [.. damaged[..at], .. other.AsSpan(from, Math.Min(length, other.Length - from)),
                        .. damaged[Math.Min(damaged.Length, at + random.Next(length))..]];
                    break;
                default:
                    EditLength(random, damaged);
                    break;
            }
        }

        return damaged;
    }

    /// <summary>Changes the length that a chunk or segment says it has, or a field of a header.</summary>
    private static void EditLength(Random random, byte[] data)
    {
        List<int> starts = data.Length > 8 && data[0] == 0x89 ? [.. Chunks(data)]
            : [.. Enumerable.Range(0, Math.Max(0, data.Length - 4)).Where(i => data[i] == 0xFF && data[i + 1] >= 0xC0)];
        if (starts.Count == 0)
            return;
        int start = starts[random.Next(starts.Count)];
        if (data[0] == 0x89)
            BinaryPrimitives.WriteInt32BigEndian(data.AsSpan(start), random.Next(3) == 0 ? random.Next()
                : BinaryPrimitives.ReadInt32BigEndian(data.AsSpan(start)) + random.Next(-20, 20));
        else
            BinaryPrimitives.WriteInt16BigEndian(data.AsSpan(start + 2),
                (short)(BinaryPrimitives.ReadInt16BigEndian(data.AsSpan(start + 2)) + random.Next(-20, 20)));
    }

    private static IEnumerable<int> Chunks(byte[] data)
    {
        for (long at = 8; at <= data.Length - 12; at += 12L + BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan((int)at)))
            yield return (int)at;
    }

    /// <summary>Makes the checksums right again, so that the damage is met behind them.</summary>
    private static void RepairChecksums(byte[] data)
    {
        foreach (int at in Chunks(data))
        {
            uint length = BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(at));
            if (at + 12L + length <= data.Length)
                BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(at + 8 + (int)length),
                    PngWriter.Checksum(data.AsSpan(at + 4, (int)length + 4)));
        }
    }

    private static int HashCode(int seed, int number) => (seed * 31) + number;

    private static IEnumerable<(string Name, byte[] Data)> Files()
    {
        string folder = ImageSamples.PathOf("");
        return Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) is ".png" or ".jpg" or ".webp" or ".gif" or ".bmp" or ".tif"
                or ".tga" or ".pbm" or ".pgm" or ".ppm")
            .Order(StringComparer.Ordinal)
            .Select(file => (Path.GetRelativePath(folder, file), File.ReadAllBytes(file)));
    }
}
