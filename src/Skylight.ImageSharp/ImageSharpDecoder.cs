using System.Runtime.InteropServices;
using SixLabors.ImageSharp;
using SixLabors.ImageSharp.Formats;
using SixLabors.ImageSharp.PixelFormats;
using Skylight.Images;
using IImageDecoder = Skylight.Images.IImageDecoder;

namespace Skylight.ImageSharp;

/// <summary>
/// What is the same for every format: limits, ImageSharp with memory of a fixed size and one thread, errors in plain
/// words.
/// </summary>
internal abstract class ImageSharpDecoder : IImageDecoder
{
    // Tables of a format, which do not grow with the picture.
    private const long TableBytes = 2 << 20;

    /// <summary>
    /// The most bytes that a decoder needs for a pixel: those of ImageSharp's picture, and a row, a strip or the whole
    /// of it unpacked.
    /// </summary>
    private const long BytesPerPixel = 16;

    /// <inheritdoc/>
    public abstract string Format { get; }

    /// <inheritdoc/>
    public abstract bool Recognizes(ReadOnlySpan<byte> header);

    /// <inheritdoc/>
    public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(limits);
        limits.CheckEncodedBytes(Format, data.Length);
        if (!Recognizes(data.Span))
            throw Error("the signature is missing");
        cancellationToken.ThrowIfCancellationRequested();
        return Decode(data.Span, limits, cancellationToken);
    }

    /// <summary>Checks a file, and decodes what is left of it when all but the first picture was taken away.</summary>
    /// <param name="file">The file, whose signature was found.</param>
    /// <param name="limits">How large the picture may be; its length was checked.</param>
    /// <param name="cancellationToken">Stops the decoding.</param>
    protected abstract RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken);

    /// <summary>An error with the name of the format.</summary>
    protected ImageException Error(string text) => new($"{Format}: {text}.");

    /// <summary>Decodes 8-bit colours.</summary>
    /// <param name="decoder">ImageSharp's.</param>
    /// <param name="file">The file that was written for it.</param>
    /// <param name="width">The picture's, which was held to the limits.</param>
    /// <param name="height">Likewise.</param>
    /// <param name="cancellationToken">Stops the decoding.</param>
    protected RgbImage Rgb(SixLabors.ImageSharp.Formats.IImageDecoder decoder, byte[] file, int width, int height,
        CancellationToken cancellationToken) =>
        new(width, height, Pixels<Rgb24>(decoder, file, width, height, cancellationToken));

    /// <summary>Decodes to pixels of a type, row by row.</summary>
    /// <inheritdoc cref="Rgb"/>
    protected byte[] Pixels<TPixel>(SixLabors.ImageSharp.Formats.IImageDecoder decoder, byte[] file, int width,
        int height, CancellationToken cancellationToken)
        where TPixel : unmanaged, IPixel<TPixel>
    {
        var configuration = new Configuration
        {
            MemoryAllocator = new BoundedAllocator((BytesPerPixel * width * height) + (2L * file.Length) + TableBytes),
            MaxDegreeOfParallelism = 1,
        };
        try
        {
            using var stream = new StoppableStream(file, cancellationToken);
            using Image<TPixel> image = decoder.Decode<TPixel>(configuration, stream, cancellationToken);
            if (image.Width != width || image.Height != height)
                throw Error($"the picture is {image.Width}×{image.Height} pixels, not {width}×{height} as its header says");
            byte[] pixels = new byte[Marshal.SizeOf<TPixel>() * width * height];
            image.CopyPixelDataTo(pixels);
            return pixels;
        }
        catch (NotSupportedException exception)
        {
            throw new ImageException(
                $"{Format}: the picture is of a kind that is not supported ({exception.Message.TrimEnd('.')}): " +
                $"convert it to PNG.", exception);
        }
        catch (Exception exception)
            when (exception is not (OperationCanceledException or OutOfMemoryException or ImageException))
        {
            // Another's code on a damaged file: indices out of range, divisions by zero, streams that end, and its own
            // errors.
            throw new ImageException($"{Format}: the picture is damaged.", exception);
        }
    }

    /// <summary>
    /// The file, read until the token says otherwise: ImageSharp asks it at few places, but reads in pieces.
    /// </summary>
    private sealed class StoppableStream(byte[] file, CancellationToken cancellationToken)
        : MemoryStream(file, writable: false)
    {
        public override int Read(byte[] buffer, int offset, int count)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return base.Read(buffer, offset, count);
        }

        public override int Read(Span<byte> buffer)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return base.Read(buffer);
        }
    }
}
