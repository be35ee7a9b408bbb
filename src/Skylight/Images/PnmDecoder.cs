using System.Buffers.Text;

namespace Skylight.Images;

/// <summary>
/// Netpbm's PBM, PGM and PPM, plain and raw. Values are scaled to 8 bits as Pillow does: 16-bit gray is scaled to 16
/// bits and then cut off at 255, as of PNG. Of a file with several pictures the first is read.
/// </summary>
public sealed class PnmDecoder : IImageDecoder
{
    /// <inheritdoc/>
    public string Format => "PNM";

    /// <inheritdoc/>
    public bool Recognizes(ReadOnlySpan<byte> header) => header.Length > 2 && header[0] == 'P'
        && header[1] is >= (byte)'1' and <= (byte)'6' && IsSpace(header[2]);

    /// <inheritdoc/>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.CheckEncodedBytes(Format, data.Length);
        ReadOnlySpan<byte> file = data.Span;
        if (!Recognizes(file))
            throw new ImageException("PNM: the signature is missing.");
        int kind = file[1] - '0', at = 2;
        bool plain = kind <= 3, bits = kind is 1 or 4;
        int width = Number(file, ref at), height = Number(file, ref at), maximum = bits ? 1 : Number(file, ref at);
        limits.CheckSize(Format, width, height);
        if (maximum is < 1 or > 65535)
            throw new ImageException($"PNM: its values are said to reach {maximum:N0}, not 1 to 65,535.");

        // One blank, and the pixels begin.
        if (!plain)
            at++;
        int channels = kind is 3 or 6 ? 3 : 1, bytes = maximum > 255 ? 2 : 1;
        long rowBytes = bits ? (width + 7L) / 8 : (long)width * channels * bytes;
        long needed = plain ? (2L * width * height * channels) - 1 : rowBytes * height;
        if (bits && plain)
            needed = (long)width * height;
        if (needed > file.Length - at)
            throw new ImageException(
                $"PNM: the file is cut off: {file.Length:N0} bytes cannot hold {width:N0}×{height:N0} pixels.");

        byte[] pixels = new byte[3 * width * height];
        int next = 0;
        for (int y = 0; y < height; y++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ReadOnlySpan<byte> row = plain ? [] : file.Slice(at + (int)(y * rowBytes), (int)rowBytes);
            for (int index = 0; index < width * channels; index++)
            {
                int value = plain ? (bits ? Bit(file, ref at) : Number(file, ref at))
                    : bits ? (row[index / 8] >> (7 - (index % 8))) & 1
                    : bytes == 2 ? (row[2 * index] << 8) | row[(2 * index) + 1] : row[index];
                if (value > maximum)
                    throw new ImageException($"PNM: a value of {value:N0} is over the {maximum:N0} that the header says.");
                byte scaled = bits ? (byte)(255 * (1 - value))
                    : Scaled(value, maximum, wideGray: channels == 1 && bytes == 2);
                int copies = channels == 1 ? 3 : 1;
                pixels.AsSpan(next, copies).Fill(scaled);
                next += copies;
            }
        }

        return new RgbImage(width, height, pixels);
    }

    private static byte Scaled(int value, int maximum, bool wideGray)
    {
        if (maximum == 255)
            return (byte)value;
        int most = wideGray ? 65535 : 255;
        return (byte)Math.Min(255, (int)Math.Round(value / (double)maximum * most, MidpointRounding.ToEven));
    }

    /// <summary>The next number, behind blanks and comments.</summary>
    private static int Number(ReadOnlySpan<byte> file, ref int at)
    {
        SkipBlanks(file, ref at);
        if (!Utf8Parser.TryParse(file[at..], out int value, out int length) || value < 0
            || !char.IsAsciiDigit((char)file[at]))
            throw new ImageException(at >= file.Length ? "PNM: the file is cut off." : "PNM: a number is damaged.");
        at += length;
        return value;
    }

    /// <summary>The next bit: no blank need be between two.</summary>
    private static int Bit(ReadOnlySpan<byte> file, ref int at)
    {
        SkipBlanks(file, ref at);
        if (at >= file.Length)
            throw new ImageException("PNM: the file is cut off.");
        int bit = file[at++] - '0';
        return bit is 0 or 1 ? bit : throw new ImageException("PNM: a bit is damaged.");
    }

    private static void SkipBlanks(ReadOnlySpan<byte> file, ref int at)
    {
        while (at < file.Length && (IsSpace(file[at]) || file[at] == '#'))
        {
            if (file[at] == '#')
            {
                int length = file[at..].IndexOfAny((byte)'\n', (byte)'\r');
                at = length < 0 ? file.Length : at + length;
            }
            else
            {
                at++;
            }
        }
    }

    private static bool IsSpace(byte mark) => mark is (byte)' ' or >= 9 and <= 13;
}
