using System.Buffers.Binary;
using System.IO.Compression;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>The first picture of a TIFF file: its fields, and its strips, which were found to hold all pixels.</summary>
internal sealed class TiffFile
{
    private const int None = 1, Lzw = 5, Deflate = 8, PackBits = 32773, OldDeflate = 32946;

    private readonly Dictionary<int, long[]> _tags;
    private readonly bool _bigEndian;

    private TiffFile(Dictionary<int, long[]> tags, bool bigEndian)
    {
        (_tags, _bigEndian) = (tags, bigEndian);
        (Width, Height) = (One(256), One(257));
        (Bits, Samples, Compression, Photometric) = (Tag(258, [1])[0], One(277, 1), One(259, None), One(262));
        (Planar, Predictor, Orientation) = (One(284, 1) == 2, One(317, 1), One(274, 1));
        ExtraSample = Tag(338, [2])[0];
        RowsPerStrip = Math.Min(One(278, uint.MaxValue), Height);
    }

    public long Width { get; }

    public long Height { get; }

    /// <summary>Bits of a sample.</summary>
    public long Bits { get; }

    /// <summary>Samples of a pixel.</summary>
    public long Samples { get; }

    public long Compression { get; }

    /// <summary>0 white is zero, 1 black is zero, 2 red, green and blue, 3 a palette.</summary>
    public long Photometric { get; }

    /// <summary>Whether each sample has strips of its own.</summary>
    public bool Planar { get; }

    /// <summary>1 for none, 2 for differences from the pixel before.</summary>
    public long Predictor { get; }

    /// <summary>Which corner the first pixel is of, 1 to 8.</summary>
    public long Orientation { get; }

    /// <summary>What a fourth sample is: 0 unknown, 1 alpha that colours are multiplied by, 2 alpha.</summary>
    public long ExtraSample { get; }

    private long RowsPerStrip { get; }

    /// <summary>Reads the fields of the first picture.</summary>
    /// <param name="file">The file, which begins with the signature.</param>
    /// <exception cref="ImageException">The file is damaged.</exception>
    public static TiffFile Read(ReadOnlySpan<byte> file)
    {
        bool big = file[0] == 'M';
        if (UInt16(file, 2, big) != 42)
            throw Error("large files (BigTIFF) are not supported: convert it to PNG");
        long at = UInt32(file, 4, big), count = UInt16(file, at, big);
        var tags = new Dictionary<int, long[]>();
        for (at += 2; count > 0; count--, at += 12)
        {
            int tag = UInt16(file, at, big), type = UInt16(file, at + 2, big);
            long values = UInt32(file, at + 4, big), bytes = type switch { 1 => 1, 3 => 2, 4 => 4, _ => 0 };
            if (!IsUsed(tag))
                continue;
            if (bytes == 0 || values == 0 || values * bytes > file.Length)
                throw Error($"field {tag} is damaged");
            long from = values * bytes <= 4 ? at + 8 : UInt32(file, at + 8, big);
            long[] numbers = new long[values];
            for (int index = 0; index < values; index++, from += bytes)
                numbers[index] = bytes == 1 ? Part(file, from, 1)[0] : bytes == 2 ? UInt16(file, from, big)
                    : UInt32(file, from, big);
            tags[tag] = numbers;
        }

        return new TiffFile(tags, big);
    }

    /// <summary>Why the picture is of a kind whose pixels are not known to be Pillow's; null if it is not.</summary>
    public string? WhyUnsupported()
    {
        if (_tags.ContainsKey(322) || _tags.ContainsKey(324))
            return "tiles";
        if (Compression is not (None or Lzw or Deflate or PackBits or OldDeflate))
            return Compression switch
            {
                2 or 3 or 4 => "fax compression",
                6 or 7 => "JPEG compression",
                _ => $"compression {Compression}",
            };
        if (Tag(339, [1]).Any(format => format != 1))
            return "signed or floating-point samples";
        if (Tag(258, [1]).Any(bits => bits != Bits))
            return "samples of different bits";
        bool kind = (Photometric, Samples) switch
        {
            (0, 1) => Bits is 1 or 2 or 4 or 8,
            (1, 1) => Bits is 1 or 2 or 4 or 8 or 16,
            (2, 3) => Bits is 8 or 16,
            (2, 4) => Bits == 8 || (Bits == 16 && ExtraSample != 1),
            (3, 1) => Bits is 4 or 8,
            _ => false,
        };
        if (!kind)
            return $"{Samples} samples of {Bits} bits with photometric interpretation {Photometric}";
        if (Planar && (Samples == 1 || Bits != 8))
            return $"separate planes of {Bits} bits";
        if (Predictor != 1 && (Predictor != 2 || Bits < 8 || Planar || Compression is None or PackBits))
            return $"predictor {Predictor} with {Bits} bits";
        return Orientation is < 1 or > 8 ? $"orientation {Orientation}" : null;
    }

    /// <summary>A file of this picture alone.</summary>
    /// <param name="file">The file that it was read from.</param>
    /// <exception cref="ImageException">Pixels are missing or damaged.</exception>
    public byte[] Write(ReadOnlySpan<byte> file)
    {
        long planes = Planar ? Samples : 1, inPlane = (Height + RowsPerStrip - 1) / Math.Max(1, RowsPerStrip);
        long[] offsets = Tag(273, []), counts = Tag(279, []);
        if (RowsPerStrip == 0 || offsets.Length != planes * inPlane || counts.Length != offsets.Length)
            throw Error(
                $"the picture has {offsets.Length:N0} strips with {counts.Length:N0} lengths, not {planes * inPlane:N0}");

        // Strips that share their bytes would make a large file of a small one.
        if (counts.Sum() > file.Length)
            throw Error("its strips are longer than the file");
        long rowBytes = ((Width * Bits * (Planar ? 1 : Samples)) + 7) / 8;
        bool reversed = One(266, 1) == 2;
        var strips = new byte[offsets.Length][];
        for (int index = 0; index < strips.Length; index++)
        {
            byte[] strip = Part(file, offsets[index], counts[index]).ToArray();
            if (reversed)
            {
                for (int at = 0; at < strip.Length; at++)
                    strip[at] = (byte)(((strip[at] * 0x0202020202UL) & 0x010884422010UL) % 1023);
            }

            long bytes = rowBytes * Math.Min(RowsPerStrip, Height - (index % inPlane * RowsPerStrip));
            if (!Holds(strip, bytes))
                throw Error("the pixels are damaged or not all there");
            strips[index] = strip;
        }

        return Write(strips);
    }

    private bool Holds(byte[] strip, long bytes) => Compression switch
    {
        None => strip.Length >= bytes,
        Lzw => LzwLength.Count(strip, 8, tiff: true, bytes) >= bytes,
        PackBits => Unpacked(strip) == bytes,
        _ => Inflates(strip, bytes),
    };

    private static long Unpacked(ReadOnlySpan<byte> strip)
    {
        long bytes = 0;
        for (int at = 0; at < strip.Length;)
        {
            int head = strip[at], count = head == 128 ? 0 : head < 128 ? head + 1 : 257 - head;
            bytes += count;
            at += head == 128 ? 1 : head < 128 ? 1 + count : 2;
            if (at > strip.Length)
                return -1;
        }

        return bytes;
    }

    private static bool Inflates(byte[] strip, long bytes)
    {
        try
        {
            using var stream = new ZLibStream(new MemoryStream(strip), CompressionMode.Decompress);
            Span<byte> buffer = stackalloc byte[4096];
            for (int read; bytes > 0 && (read = stream.Read(buffer)) > 0;)
                bytes -= read;
            return bytes <= 0;
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    private byte[] Write(byte[][] strips)
    {
        var fields = new SortedDictionary<int, (int Type, long[] Values)>
        {
            [256] = (4, [Width]),
            [257] = (4, [Height]),
            [258] = (3, [.. Enumerable.Repeat(Bits, (int)Samples)]),
            [259] = (3, [Compression == OldDeflate ? Deflate : Compression]),
            [262] = (3, [Photometric]),
            [273] = (4, new long[strips.Length]),
            [277] = (3, [Samples]),
            [278] = (4, [RowsPerStrip]),
            [279] = (4, [.. strips.Select(strip => (long)strip.Length)]),
            [284] = (3, [Planar ? 2 : 1]),
            [317] = (3, [Predictor]),
        };
        if (Samples == 4)
            fields[338] = (3, [2]);
        if (Photometric == 3)
            fields[320] = (3, ColorMap());

        int more = 8 + 2 + (12 * fields.Count) + 4;
        int start = more
            + fields.Values.Sum(field => Bytes(field.Type) * field.Values.Length is var bytes && bytes > 4 ? bytes : 0);
        long[] offsets = fields[273].Values;
        for (int index = 0, at = start; index < strips.Length; at += strips[index++].Length)
            offsets[index] = at;
        byte[] file = new byte[start + strips.Sum(strip => strip.Length)];
        (_bigEndian ? "MM\0*"u8 : "II*\0"u8).CopyTo(file);
        Put(file, 4, 4, 8);
        Put(file, 8, 2, fields.Count);
        int entry = 10;
        foreach ((int tag, (int type, long[] values)) in fields)
        {
            Put(file, entry, 2, tag);
            Put(file, entry + 2, 2, type);
            Put(file, entry + 4, 4, values.Length);
            int at = entry + 8;
            if (Bytes(type) * values.Length > 4)
            {
                Put(file, at, 4, more);
                (at, more) = (more, more + (Bytes(type) * values.Length));
            }

            for (int index = 0; index < values.Length; index++)
                Put(file, at + (index * Bytes(type)), Bytes(type), values[index]);
            entry += 12;
        }

        for (int index = 0; index < strips.Length; index++)
            strips[index].CopyTo(file, offsets[index]);
        return file;
    }

    /// <summary>Colours of 16 bits whose 8 highest ImageSharp and Pillow both give.</summary>
    private long[] ColorMap()
    {
        long[] map = Tag(320, []);
        return map.Length == 3 << (int)Bits ? [.. map.Select(value => (value >> 8 & 255) * 257)]
            : throw Error($"its palette has {map.Length:N0} values, not {3 << (int)Bits:N0}");
    }

    private void Put(byte[] file, int at, int bytes, long value)
    {
        if (bytes == 2 && _bigEndian)
            BinaryPrimitives.WriteUInt16BigEndian(file.AsSpan(at), (ushort)value);
        else if (bytes == 2)
            BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), (ushort)value);
        else if (_bigEndian)
            BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(at), (uint)value);
        else
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), (uint)value);
    }

    private static int Bytes(int type) => type == 3 ? 2 : 4;

    private static bool IsUsed(int tag) => tag is 256 or 257 or 258 or 259 or 262 or 266 or 273 or 274 or 277 or 278
        or 279 or 284 or 317 or 320 or 322 or 324 or 338 or 339;

    private long One(int tag, long? otherwise = null) => _tags.TryGetValue(tag, out long[]? values) ? values[0]
        : otherwise ?? throw Error($"field {tag} is missing");

    private long[] Tag(int tag, long[] otherwise) => _tags.GetValueOrDefault(tag, otherwise);

    private static int UInt16(ReadOnlySpan<byte> file, long at, bool big) =>
        big ? BinaryPrimitives.ReadUInt16BigEndian(Part(file, at, 2))
            : BinaryPrimitives.ReadUInt16LittleEndian(Part(file, at, 2));

    private static long UInt32(ReadOnlySpan<byte> file, long at, bool big) =>
        big ? BinaryPrimitives.ReadUInt32BigEndian(Part(file, at, 4))
            : BinaryPrimitives.ReadUInt32LittleEndian(Part(file, at, 4));

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> file, long start, long bytes) => start + bytes <= file.Length
        ? file.Slice((int)start, (int)bytes)
        : throw Error($"the file is cut off after {file.Length:N0} bytes");

    private static ImageException Error(string text) => new($"TIFF: {text}.");
}
