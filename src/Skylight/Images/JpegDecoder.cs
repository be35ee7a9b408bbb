using Skylight.Images.Jpeg;

namespace Skylight.Images;

/// <summary>
/// JPEG: baseline, extended sequential and progressive with 8 bits and Huffman codes; gray, YCbCr, RGB, CMYK and YCCK;
/// any sampling factors. Computes what libjpeg-turbo's accurate integer transform and its smooth ("fancy") upsampling
/// compute. Arithmetic coding, lossless JPEG and 12 bits are refused. Of a file with several pictures the first is read.
/// </summary>
public sealed class JpegDecoder : IImageDecoder
{
    /// <inheritdoc/>
    public string Format => "JPEG";

    /// <inheritdoc/>
    public bool Recognizes(ReadOnlySpan<byte> header) => header.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8, 0xFF]);

    /// <inheritdoc/>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.CheckEncodedBytes(Format, data.Length);
        var reader = new JpegReader(limits, cancellationToken);
        JpegFrame frame = reader.Read(data.Span);
        return JpegOutput.Convert(frame, reader.ColorSpace(frame), cancellationToken);
    }
}
