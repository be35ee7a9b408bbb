using System.Buffers.Binary;

namespace Skylight.Images;

/// <summary>
/// WebP, lossy and lossless, through the system's libwebp, which is looked for when the first picture comes. Alpha is
/// dropped; animations are refused.
/// </summary>
public sealed class WebPDecoder : IImageDecoder
{
    private readonly Lazy<WebPLibrary?> _library;

    /// <summary>Uses the system's libwebp.</summary>
    public WebPDecoder() => _library = new Lazy<WebPLibrary?>(() => WebPLibrary.System.Value);

    /// <summary>Uses a given library.</summary>
    /// <param name="library">The file or name of libwebp or libwebpdecoder, as a host ships it.</param>
    public WebPDecoder(string library)
    {
        ArgumentException.ThrowIfNullOrEmpty(library);
        _library = new Lazy<WebPLibrary?>(() => WebPLibrary.Load([library]));
    }

    /// <inheritdoc/>
    public string Format => "WebP";

    /// <summary>Whether the library was found, so that pictures can be decoded.</summary>
    public bool IsAvailable => _library.Value is not null;

    /// <inheritdoc/>
    public bool Recognizes(ReadOnlySpan<byte> header) => header.Length >= 12 && header.StartsWith("RIFF"u8)
        && header.Slice(8, 4).SequenceEqual("WEBP"u8);

    /// <inheritdoc/>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.CheckEncodedBytes(Format, data.Length);
        ReadOnlySpan<byte> file = data.Span;
        if (!Recognizes(file))
            throw new ImageException("WebP: the signature is missing.");
        WebPLibrary library = _library.Value ?? throw new ImageException(
            $"WebP: decoding needs the libwebp library, and none was found: install it ({WebPLibrary.HowToInstall}), " +
            $"or convert the picture to PNG or JPEG.");
        if (BinaryPrimitives.ReadUInt32LittleEndian(file[4..]) > file.Length - 8)
            throw new ImageException($"WebP: the file is cut off after {file.Length:N0} bytes.");
        if (file.Length > 20 && file.Slice(12, 4).SequenceEqual("VP8X"u8) && (file[20] & 2) != 0)
            throw new ImageException("WebP: animations are not supported; save one picture of it.");
        if (library.Size(file) is not (int width, int height))
            throw new ImageException("WebP: the header is damaged.");
        limits.CheckSize(Format, width, height);
        cancellationToken.ThrowIfCancellationRequested();
        byte[] pixels = new byte[3 * width * height];
        if (!library.Decode(file, pixels, 3 * width))
            throw new ImageException("WebP: the picture is damaged or cut off.");
        return new RgbImage(width, height, pixels);
    }
}
