namespace Skylight.Images;

/// <summary>An ordered set of decoders; the first that recognises a file decodes it. Immutable.</summary>
/// <example>
/// <code>
/// RgbImage image = ImageDecoders.Standard.Decode(File.ReadAllBytes("cat.jpg"));
/// </code>
/// </example>
public sealed class ImageDecoders
{
    private readonly IImageDecoder[] _decoders;

    /// <summary>Makes a set.</summary>
    /// <param name="decoders">The decoders, the preferred ones first.</param>
    public ImageDecoders(params ReadOnlySpan<IImageDecoder> decoders)
    {
        foreach (IImageDecoder decoder in decoders)
            ArgumentNullException.ThrowIfNull(decoder, nameof(decoders));
        _decoders = [.. decoders];
    }

    /// <summary>
    /// PNG, JPEG and PNM, which need no other library. The package Skylight.ImageSharp adds WebP, GIF, BMP, TIFF and
    /// TGA: <c>ImageDecoders.Standard.WithImageSharp()</c>.
    /// </summary>
    public static ImageDecoders Standard { get; } = new(new PngDecoder(), new JpegDecoder(), new PnmDecoder());

    /// <summary>The names of the formats, in order.</summary>
    public IReadOnlyList<string> Formats => [.. _decoders.Select(decoder => decoder.Format).Distinct()];

    /// <summary>This set and another decoder, which is asked first.</summary>
    /// <param name="decoder">The decoder to add.</param>
    public ImageDecoders With(IImageDecoder decoder) => new([decoder, .. _decoders]);

    /// <summary>This set and more decoders, which are asked last: formats without a signature of their own.</summary>
    /// <param name="decoders">The decoders to add, the preferred ones first.</param>
    public ImageDecoders WithLast(params ReadOnlySpan<IImageDecoder> decoders) => new([.. _decoders, .. decoders]);

    /// <summary>Decodes a picture; the format is found from the content, whatever the file was called.</summary>
    /// <param name="data">The whole file.</param>
    /// <param name="limits">How large it may be; <see cref="ImageLimits.Default"/> if null.</param>
    /// <param name="cancellationToken">Stops the decoding.</param>
    /// <exception cref="ImageException">No decoder knows the format (the message says what was found), or the one that
    /// does cannot decode it.</exception>
    /// <exception cref="OperationCanceledException">The decoding was stopped.</exception>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits? limits = null,
        CancellationToken cancellationToken = default)
    {
        limits ??= ImageLimits.Default;
        cancellationToken.ThrowIfCancellationRequested();
        foreach (IImageDecoder decoder in _decoders)
        {
            if (!decoder.Recognizes(data.Span))
                continue;
            limits.CheckEncodedBytes(decoder.Format, data.Length);
            return decoder.Decode(data, limits, cancellationToken);
        }

        // Who has the package and meets such a file has a decoder for it, so that this is not reached.
        string package = ImageSignatures.IsOfImageSharp(data.Span)
            ? $"the package {nameof(Skylight)}.ImageSharp decodes it (ImageDecoders.Standard.WithImageSharp() among " +
                $"the options), or " : "";
        throw new ImageException(
            $"The picture cannot be decoded: {ImageSignatures.Describe(data.Span)}. Supported are " +
            $"{string.Join(", ", Formats)}; {package}convert it to one of these, or decode it yourself and " +
            $"pass an {nameof(RgbImage)}.");
    }
}
