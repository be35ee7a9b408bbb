using System.Buffers.Binary;

namespace Skylight.Images.Jpeg;

/// <summary>Walks through the segments of a JPEG file and hands its scans to <see cref="JpegScan"/>.</summary>
internal sealed class JpegReader(ImageLimits limits, CancellationToken cancellationToken)
{
    /// <summary>More than any encoder writes; an absurd number of scans is a way to keep a decoder busy.</summary>
    private const int MostScans = 256;

    private static readonly byte[] ZigZag =
    [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
        35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
        47, 55, 62, 63,
    ];

    private readonly ushort[]?[] _quantization = new ushort[4][];
    private readonly (byte[] Counts, byte[] Symbols)?[] _codes = new (byte[], byte[])?[8];
    private readonly JpegHuffmanTable?[] _tables = new JpegHuffmanTable?[8];
    private JpegFrame? _frame;
    private int _restartInterval;
    private int _scans;
    private bool _jfif;

    /// <summary>Whether one scan has brought all that the picture has.</summary>
    private bool _whole;
    private int? _adobeTransform;

    /// <summary>The place in a block, row by row, of each coefficient as it is coded.</summary>
    public static ReadOnlySpan<byte> NaturalOrder => ZigZag;

    /// <summary>Reads all scans and decodes the planes of the frame.</summary>
    /// <param name="data">The whole file.</param>
    public JpegFrame Read(ReadOnlySpan<byte> data)
    {
        if (!data.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8]))
            throw new ImageException("JPEG: the start marker is missing.");
        for (int position = 2; ;)
        {
            int marker = FindMarker(data, position);
            // Bytes between segments are passed over, and a picture whose only scan is there needs no end marker: as in
            // libjpeg.
            if (marker < 0)
                return _whole ? Finish()
                    : throw new ImageException(
                        $"JPEG: the file is cut off after {data.Length:N0} bytes: its end marker is missing.");
            int kind = data[marker + 1];
            position = marker + 2;
            if (kind == 0xD9)
            {
                if (_frame is not null || !data[position..].StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8]))
                    return Finish();
                // A file of tables alone; the picture that uses them follows.
                position += 2;
                (_jfif, _adobeTransform, _restartInterval) = (false, null, 0);
                continue;
            }

            if (kind is 0x01 or (>= 0xD0 and <= 0xD7))
                continue;
            if (kind < 0xC0)
                throw new ImageException(
                    $"JPEG: there is no segment of kind 0x{kind:X2}, at byte {marker:N0}: the file is damaged.");
            if (data.Length - position < 2)
                continue;
            int length = BinaryPrimitives.ReadUInt16BigEndian(data[position..]);
            // Of segments that are only passed over, libjpeg takes a length that does not even count itself for an
            // empty one.
            if (length < 2 && kind is (>= 0xE0 and <= 0xEF) or 0xFE or 0xDC)
                length = 2;
            if (_whole && length > data.Length - position)
                return Finish();
            if (length < 2 || length > data.Length - position)
                throw new ImageException(
                    $"JPEG: segment 0x{kind:X2} of {length} bytes at byte {marker:N0} does not fit into the file of " +
                    $"{data.Length:N0} bytes: it is cut off or damaged.");
            ReadOnlySpan<byte> segment = data.Slice(position + 2, length - 2);
            position += length;
            if (kind == 0xDA)
                position = ReadScan(segment, data, position);
            else
                ReadSegment(kind, segment, data.Length);
        }
    }

    /// <summary>What the components mean; libjpeg's rules.</summary>
    public JpegColorSpace ColorSpace(JpegFrame frame) => frame.Components.Length switch
    {
        1 => JpegColorSpace.Gray,
        3 when _jfif => JpegColorSpace.YCbCr,
        3 when _adobeTransform is { } transform => transform == 0 ? JpegColorSpace.Rgb : JpegColorSpace.YCbCr,
        3 => (frame.Components[0].Id, frame.Components[1].Id, frame.Components[2].Id) == ('R', 'G', 'B')
            ? JpegColorSpace.Rgb : JpegColorSpace.YCbCr,
        _ => _adobeTransform is null or 0 ? JpegColorSpace.Cmyk : JpegColorSpace.Ycck,
    };

    /// <summary>The next 0xFF that begins a marker, or −1.</summary>
    public static int FindMarker(ReadOnlySpan<byte> data, int position)
    {
        while (position < data.Length - 1)
        {
            int found = data[position..^1].IndexOf((byte)0xFF);
            if (found < 0)
                return -1;
            position += found;
            if (data[position + 1] is not (0 or 0xFF))
                return position;
            position++;
        }

        return -1;
    }

    private JpegFrame Finish()
    {
        if (_frame is null || _scans == 0)
            throw new ImageException("JPEG: the file ends without a picture.");
        if (_frame.Progressive)
            JpegScan.Transform(_frame, cancellationToken);
        return _frame;
    }

    private void ReadSegment(int kind, ReadOnlySpan<byte> segment, int fileLength)
    {
        switch (kind)
        {
            case 0xC4:
                ReadCodes(segment);
                break;
            case >= 0xC0 and <= 0xCF and not (0xC8 or 0xCC):
                ReadFrame(kind, segment, fileLength);
                break;
            case 0xD8:
                throw new ImageException("JPEG: a second picture begins before the first has ended: the file is damaged.");
            case 0xDB:
                ReadQuantization(segment);
                break;
            case 0xDD:
                _restartInterval = segment.Length == 2 ? BinaryPrimitives.ReadUInt16BigEndian(segment)
                    : throw Damaged("the restart interval");
                break;
            case 0xE0:
                _jfif |= segment.Length >= 14 && segment.StartsWith("JFIF\0"u8);
                break;
            case 0xEE:
                if (segment.Length >= 12 && segment.StartsWith("Adobe"u8))
                    _adobeTransform = segment[11];
                break;
        }
    }

    private void ReadQuantization(ReadOnlySpan<byte> segment)
    {
        while (!segment.IsEmpty)
        {
            int number = segment[0] & 15;
            bool wide = segment[0] >> 4 != 0;
            int bytes = wide ? 128 : 64;
            if (number > 3 || segment[0] >> 4 > 1 || segment.Length < bytes + 1)
                throw Damaged("a quantisation table");
            ushort[] table = new ushort[64];
            for (int i = 0; i < 64; i++)
                table[ZigZag[i]] = wide ? BinaryPrimitives.ReadUInt16BigEndian(segment[(1 + (2 * i))..]) : segment[1 + i];
            _quantization[number] = table;
            segment = segment[(bytes + 1)..];
        }
    }

    private void ReadCodes(ReadOnlySpan<byte> segment)
    {
        while (!segment.IsEmpty)
        {
            int count = 0;
            if (segment.Length >= 17)
            {
                foreach (byte codes in segment.Slice(1, 16))
                    count += codes;
            }

            int slot = ((segment[0] >> 4) * 4) + (segment[0] & 15);
            if (segment.Length < 17 + count || count > 256 || segment[0] >> 4 > 1 || (segment[0] & 15) > 3)
                throw Damaged("a Huffman table");
            _codes[slot] = (segment.Slice(1, 16).ToArray(), segment.Slice(17, count).ToArray());
            _tables[slot] = null;
            segment = segment[(17 + count)..];
        }
    }

    private void ReadFrame(int kind, ReadOnlySpan<byte> segment, int fileLength)
    {
        string? unsupported = kind switch
        {
            0xC0 or 0xC1 or 0xC2 => null,
            0xC3 => "lossless",
            >= 0xC9 => "arithmetic-coded",
            _ => "hierarchical",
        };
        if (unsupported is not null)
            throw new ImageException(
                $"JPEG: {unsupported} JPEG (frame 0x{kind:X2}) is not supported; save the picture as baseline or " +
                $"progressive JPEG with Huffman codes.");
        if (_frame is not null)
            throw new ImageException("JPEG: there are two frame headers: the file is damaged.");
        if (segment.Length < 6 || segment.Length != 6 + (3 * segment[5]))
            throw Damaged("the frame header");
        if (segment[0] != 8)
            throw new ImageException(
                $"JPEG: samples of {segment[0]} bits are not supported, only 8; save the picture with 8 bits.");
        int height = BinaryPrimitives.ReadUInt16BigEndian(segment[1..]);
        int width = BinaryPrimitives.ReadUInt16BigEndian(segment[3..]);
        if (height == 0)
            throw new ImageException(
                "JPEG: the header does not say the height (a DNL segment may), which is not supported: save it again " +
                "with another program.");
        limits.CheckSize("JPEG", width, height);
        if (segment[5] is not (1 or 3 or 4))
            throw new ImageException(
                $"JPEG: a picture of {segment[5]} components is not supported: it must have 1 (gray), 3 or 4 (CMYK).");
        var components = new JpegComponent[segment[5]];
        for (int i = 0; i < components.Length; i++)
        {
            ReadOnlySpan<byte> entry = segment.Slice(6 + (3 * i), 3);
            var component = new JpegComponent(entry[0], entry[1] >> 4, entry[1] & 15, entry[2]);
            if (component.Horizontal is 0 or > 4 || component.Vertical is 0 or > 4 || component.Quantization > 3)
                throw Damaged($"component {component.Id} in the frame header");
            components[i] = component;
        }

        var frame = new JpegFrame(width, height, kind == 0xC2, components);
        // Every block takes at least one bit: a file that claims to be huge is refused here, before its pixels have a place.
        if (frame.Blocks > 8L * fileLength)
            throw new ImageException(
                $"JPEG: {fileLength:N0} bytes cannot hold {width:N0}×{height:N0} pixels: the file is cut off or its " +
                $"header is wrong.");
        frame.Allocate();
        _frame = frame;
    }

    private int ReadScan(ReadOnlySpan<byte> segment, ReadOnlySpan<byte> data, int position)
    {
        JpegFrame frame = _frame
            ?? throw new ImageException("JPEG: compressed data comes before the frame header: the file is damaged.");
        if (++_scans > MostScans)
            throw new ImageException(
                $"JPEG: there are more than {MostScans} scans: the file is damaged, or made to keep a decoder busy.");
        int count = segment.IsEmpty ? 0 : segment[0];
        if (count is 0 or > 4 || segment.Length != 4 + (2 * count))
            throw Damaged("a scan header");
        ReadOnlySpan<byte> tail = segment[(1 + (2 * count))..];
        JpegBand band = frame.Progressive ? new JpegBand(tail[0], tail[1], tail[2] >> 4, tail[2] & 15) : JpegBand.Whole;
        if (frame.Progressive)
            band.CheckProgressive(count);
        var parts = new JpegScanPart[count];
        for (int i = 0; i < count; i++)
        {
            int id = segment[1 + (2 * i)];
            int tables = segment[2 + (2 * i)];
            // As in libjpeg: components come in the frame's order, so that some that bear the same number are told apart.
            JpegComponent component = frame.Components.Skip(i).FirstOrDefault(component => component.Id == id)
                ?? throw Damaged($"a scan header, which names component {id},");
            if (parts.Any(part => part?.Component == component))
                throw Damaged("a scan header");
            component.Table ??= _quantization[component.Quantization] ?? throw new ImageException(
                $"JPEG: quantisation table {component.Quantization} is missing: the file is damaged.");
            component.Predictor = 0;
            bool needsDirect = band.First == 0 && band.High == 0;
            parts[i] = new JpegScanPart(component, needsDirect ? Table(tables >> 4, direct: true) : null,
                band.Last > 0 ? Table(tables & 15, direct: false) : null);
        }

        if (count > 1 && parts.Sum(part => part.Component.Horizontal * part.Component.Vertical) > 10)
            throw Damaged("a scan header: its units of more than 10 blocks");
        int end = new JpegScan(frame, parts, band, _restartInterval, _scans, cancellationToken).Decode(data, position);
        _whole = !frame.Progressive && _scans == 1 && count == frame.Components.Length;
        return end;
    }

    private JpegHuffmanTable Table(int number, bool direct)
    {
        if (number > 3)
            throw Damaged("a scan header");
        int slot = number + (direct ? 0 : 4);
        if (_tables[slot] is { } built)
            return built;
        (byte[] counts, byte[] symbols) = _codes[slot] ?? (_frame!.Progressive ? null : JpegStandardCodes.Of(number, direct))
            ?? throw new ImageException(
                $"JPEG: {(direct ? "DC" : "AC")} Huffman table {number} is missing: the file is damaged.");
        var table = new JpegHuffmanTable(counts, symbols);
        if (direct && table.LargestSymbol > 15)
            throw Damaged($"DC Huffman table {number}");
        return _tables[slot] = table;
    }

    private static ImageException Damaged(string what) => new($"JPEG: {what} is not valid: the file is damaged.");
}
