using Skylight.Images.Png;

namespace Skylight.Images;

/// <summary>
/// PNG: all colour types, 1 to 16 bits, palettes, Adam7 interlacing. Alpha and transparent colours are dropped. 16-bit
/// colours keep their high byte, 16-bit gray is cut off at 255: both as Pillow's <c>convert("RGB")</c> does. Checksums of
/// the chunks before the pixels are verified, and that of the pixels themselves; what follows a whole picture is
/// ignored, as are unknown chunks.
/// </summary>
public sealed class PngDecoder : IImageDecoder
{
    /// <inheritdoc/>
    public string Format => "PNG";

    /// <inheritdoc/>
    public bool Recognizes(ReadOnlySpan<byte> header) => header.StartsWith(PngFile.Signature);

    /// <inheritdoc/>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.CheckEncodedBytes(Format, data.Length);
        PngFile file = PngFile.Read(data, limits);
        try
        {
            return PngPixels.Decode(file, cancellationToken);
        }
        catch (Exception exception) when (exception is InvalidDataException or IOException)
        {
            throw new ImageException("PNG: the compressed pixels are damaged.", exception);
        }
    }
}
