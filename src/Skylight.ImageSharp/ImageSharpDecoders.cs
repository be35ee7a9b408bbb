using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// Decoders of WebP, GIF, BMP, TIFF and TGA by SixLabors.ImageSharp. Every file is first read by a small parser of its
/// own format that holds it to
/// <see cref="ImageLimits"/>, looks whether all pixels are there, and writes a new file of the first picture's pixels
/// and nothing else: that is what ImageSharp gets. Pixels are those of Pillow's <c>convert("RGB")</c>.
/// </summary>
/// <example>
/// <code>
/// var options = new ChatModelOptions { ImageDecoders = ImageDecoders.Standard.WithImageSharp() };
/// </code>
/// </example>
public static class ImageSharpDecoders
{
    /// <summary>A decoder of each format; TGA, which has no signature, last.</summary>
    public static IReadOnlyList<IImageDecoder> All { get; } = [new WebPDecoder(), new GifDecoder(), new BmpDecoder(),
        new TiffDecoder(), new TgaDecoder()];

    /// <summary>A set of decoders and these, which are asked last.</summary>
    /// <param name="decoders">The set; it stays as it is.</param>
    public static ImageDecoders WithImageSharp(this ImageDecoders decoders)
    {
        ArgumentNullException.ThrowIfNull(decoders);
        return decoders.WithLast([.. All]);
    }
}
