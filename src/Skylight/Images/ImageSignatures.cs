using System.Text;

namespace Skylight.Images;

/// <summary>Says what a file is that no decoder takes.</summary>
internal static class ImageSignatures
{
    public static string Describe(ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty)
            return "the file is empty";
        if (!data.ContainsAnyExcept((byte)0))
            return $"all of its {data.Length:N0} bytes are zero, as of a file whose download was never finished";
        if (data.StartsWith("version https://git-lfs"u8))
            return "it is a git-lfs pointer, not the picture: run 'git lfs pull' where it came from";
        if (data.StartsWith("data:"u8))
            return "it is a data URL: pass the bytes that its base64 text stands for";
        return Format(data) is { } format ? $"it is {format}"
            : $"its format is unknown (first bytes: {Convert.ToHexString(data[..Math.Min(data.Length, 8)])})";
    }

    /// <summary>Whether it is a format of the package Skylight.ImageSharp.</summary>
    public static bool IsOfImageSharp(ReadOnlySpan<byte> data) => !data.IsEmpty
        && Format(data) is "a WebP" or "a GIF" or "a BMP" or Tiff or "a TGA";

    private const string Tiff = "a TIFF (or a camera's raw file)";

    private static string? Format(ReadOnlySpan<byte> data)
    {
        if (data.StartsWith("GIF8"u8))
            return "a GIF";
        if (data.StartsWith("BM"u8) && data.Length >= 14)
            return "a BMP";
        if (data.StartsWith("II*\0"u8) || data.StartsWith("MM\0*"u8) || data.StartsWith("II+\0"u8)
            || data.StartsWith("MM\0+"u8))
            return Tiff;
        if (data.Length >= 12 && data.Slice(4, 4).SequenceEqual("ftyp"u8))
            return Brand(data.Slice(8, 4));
        if (data.StartsWith("\0\0\0\x0CjP  "u8) || data.StartsWith((ReadOnlySpan<byte>)[0xFF, 0x4F, 0xFF, 0x51]))
            return "a JPEG 2000 picture";
        if (data.StartsWith("\0\0\0\x0CJXL "u8) || data.StartsWith((ReadOnlySpan<byte>)[0xFF, 0x0A]))
            return "a JPEG XL picture";
        if (data.StartsWith("%PDF"u8))
            return "a PDF document, not a picture: render its pages first";
        if (data.StartsWith("8BPS"u8))
            return "a Photoshop document";
        if (data.StartsWith("\0\0\x01\0"u8) || data.StartsWith("\0\0\x02\0"u8))
            return "an icon (ICO)";
        if (data.StartsWith("qoif"u8))
            return "a QOI picture";
        if (data.StartsWith("PK\x03\x04"u8))
            return "a ZIP archive";
        if (data.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B]))
            return "a gzip archive";
        if (data.Length >= 12 && data.StartsWith("RIFF"u8) && data.Slice(8, 4).SequenceEqual("WEBP"u8))
            return "a WebP";
        if (data.EndsWith("TRUEVISION-XFILE.\0"u8))
            return "a TGA";
        if (data.StartsWith("RIFF"u8))
            return "a RIFF file that holds no WebP picture";
        if (data[0] == 'P' && data.Length > 2 && data[1] == '7' && data[2] is (byte)'\n' or (byte)' ')
            return "a Netpbm picture (PAM)";
        return Markup(data);
    }

    private static string Brand(ReadOnlySpan<byte> brand) => Encoding.Latin1.GetString(brand) switch
    {
        "avif" or "avis" => "an AVIF",
        "heic" or "heix" or "hevc" or "heim" or "heis" or "mif1" or "msf1" => "a HEIC/HEIF, the format of phone cameras",
        "jp2 " => "a JPEG 2000 picture",
        _ => "an MP4 or QuickTime file, not a picture",
    };

    private static string? Markup(ReadOnlySpan<byte> data)
    {
        ReadOnlySpan<byte> start = data[..Math.Min(data.Length, 1024)];
        if (start.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
            start = start[3..];
        string text = Encoding.Latin1.GetString(start).TrimStart();
        if (text.StartsWith("<!doctype html", StringComparison.OrdinalIgnoreCase)
            || text.StartsWith("<html", StringComparison.OrdinalIgnoreCase))
            return "an HTML page, perhaps the error page of a download";
        if (text.StartsWith("<svg", StringComparison.OrdinalIgnoreCase)
            || (text.StartsWith("<?xml", StringComparison.Ordinal)
                && text.Contains("<svg", StringComparison.OrdinalIgnoreCase)))
            return "an SVG drawing: render it to pixels first";
        return text.StartsWith('<') ? "XML or HTML text" : text.StartsWith('{')
            ? "JSON text, perhaps the error message of a server" : null;
    }
}
