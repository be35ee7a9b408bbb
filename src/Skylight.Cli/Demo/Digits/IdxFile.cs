using System.Buffers.Binary;
using System.IO.Compression;

namespace Skylight.Cli.Demo.Digits;

/// <summary>
/// Reads the IDX files of handwritten digits (MNIST): a big-endian header — magic, then the extents — and unsigned
/// bytes, plain or gzip. Whatever is wrong with a file is an <see cref="InvalidDataException"/> that names it.
/// </summary>
internal static class IdxFile
{
    private const int ImagesMagic = 0x0803;
    private const int LabelsMagic = 0x0801;

    // Deflate cannot do better, so a header that promises more than this per stored byte lies.
    private const int LargestCompressionRatio = 1032;

    /// <summary>Reads an image file.</summary>
    /// <returns>Pixels, [count, 28, 28], 0 = paper and 255 = ink.</returns>
    public static byte[] ReadImages(string path, out int count)
    {
        byte[] pixels = Read(path, ImagesMagic, "images", rank: 3, out int[] extents);
        count = extents[0];
        return pixels;
    }

    /// <summary>Reads a label file.</summary>
    /// <returns>Labels, [count], each 0 to 9.</returns>
    public static byte[] ReadLabels(string path)
    {
        byte[] labels = Read(path, LabelsMagic, "labels", rank: 1, out _);
        int wrong = labels.AsSpan().IndexOfAnyExceptInRange((byte)0, (byte)9);
        if (wrong >= 0)
            throw Broken(path, $"label {wrong} is {labels[wrong]}, but a digit is 0 to 9");
        return labels;
    }

    private static byte[] Read(string path, int magic, string kind, int rank, out int[] extents)
    {
        using FileStream file = OpenFile(path);
        bool compressed = StartsLikeGzip(file);
        using Stream content = compressed ? new GZipStream(file, CompressionMode.Decompress) : file;
        extents = ReadHeader(path, content, magic, kind, rank);
        var data = new byte[CheckSize(path, extents, stored: file.Length, compressed)];
        int read = ReadFully(path, content, data);
        if (read < data.Length)
            throw Broken(path, $"it is cut off: its header promises {data.Length} bytes of {kind}, but only {read} follow");
        if (ReadFully(path, content, stackalloc byte[1]) > 0)
            throw Broken(path, $"more bytes follow the {data.Length} bytes of {kind} that its header promises");
        return data;
    }

    /// <summary>Fills the buffer, or as much of it as there is data for.</summary>
    private static int ReadFully(string path, Stream content, Span<byte> buffer)
    {
        try
        {
            return content.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        }
        catch (InvalidDataException error)
        {
            throw Broken(path, $"its gzip data is corrupt ({error.Message.TrimEnd('.')})", error);
        }
    }

    private static FileStream OpenFile(string path)
    {
        try
        {
            return BoundedFile.Open(path, FileShare.Read);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw Broken(path, $"it cannot be opened ({error.Message.TrimEnd('.')})", error);
        }
    }

    private static bool StartsLikeGzip(FileStream file)
    {
        bool gzip = file.ReadByte() == 0x1F && file.ReadByte() == 0x8B;
        file.Position = 0;
        return gzip;
    }

    private static int[] ReadHeader(string path, Stream content, int magic, string kind, int rank)
    {
        Span<byte> header = stackalloc byte[4 + 4 * rank];
        int read = ReadFully(path, content, header);
        if (read < header.Length)
            throw Broken(path, $"it ends inside its header ({read} of {header.Length} bytes)");

        int found = BinaryPrimitives.ReadInt32BigEndian(header);
        if (found != magic)
            throw Broken(path, $"it starts with 0x{found:X8}, but IDX {kind} start with 0x{magic:X8}");

        var extents = new int[rank];
        for (int axis = 0; axis < rank; axis++)
            extents[axis] = BinaryPrimitives.ReadInt32BigEndian(header[(4 + 4 * axis)..]);
        return extents;
    }

    // Everything that can be known to be wrong is refused before a byte is allocated for it.
    private static long CheckSize(string path, int[] extents, long stored, bool compressed)
    {
        if (extents[0] <= 0)
            throw Broken(path, $"its header promises {(uint)extents[0]} entries");
        if (extents.Length == 3 && (extents[1] != DigitSet.Side || extents[2] != DigitSet.Side))
            throw Broken(path,
                $"its images are {(uint)extents[1]}×{(uint)extents[2]} pixels, but {DigitSet.Side}×{DigitSet.Side} are needed");

        long size = extents[0] * (extents.Length == 3 ? (long)DigitSet.Area : 1);
        long possible = compressed ? stored * LargestCompressionRatio : stored;
        if (size > possible || size > Array.MaxLength)
            throw Broken(path,
                $"it is cut off or its header lies: {extents[0]} entries need {size} bytes, and a file of {stored} bytes cannot hold them");
        return size;
    }

    internal static InvalidDataException Broken(string path, string what, Exception? cause = null) =>
        new($"The digit file '{path}' cannot be used: {what}.", cause);
}
