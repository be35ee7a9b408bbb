namespace Skylight.Images;

/// <summary>
/// Reads one picture format. A host adds its own to <see cref="ImageDecoders"/>, or passes pictures as
/// <see cref="RgbImage"/>.
/// </summary>
public interface IImageDecoder
{
    /// <summary>The format's name, as errors write it: PNG.</summary>
    string Format { get; }

    /// <summary>Whether a file is in this format, judged by its first bytes.</summary>
    /// <param name="header">The file, or as much of its start as there is.</param>
    bool Recognizes(ReadOnlySpan<byte> header);

    /// <summary>
    /// Decodes a picture as Pillow's <c>convert("RGB")</c> would: alpha is dropped, not blended, and an orientation in
    /// EXIF is not applied.
    /// </summary>
    /// <param name="data">The whole file.</param>
    /// <param name="limits">How large the file and the picture may be; compared before memory for the picture is
    /// reserved.</param>
    /// <param name="cancellationToken">Stops the decoding.</param>
    /// <exception cref="ImageException">The file is damaged, cut off, exceeds a limit, or uses a feature that is not
    /// supported.</exception>
    /// <exception cref="OperationCanceledException">The decoding was stopped.</exception>
    RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default);
}
