using SixLabors.ImageSharp.Metadata.Profiles.Exif;
using SixLabors.ImageSharp.PixelFormats;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// TIFF in strips: gray of 1 to 16 bits, palettes, RGB and RGBA of 8 and 16 bits; plain, LZW, Deflate and PackBits. The
/// first picture of a file, turned as the file's own field says, which Pillow does with TIFF alone. Alpha is dropped;
/// 16-bit colours keep their high byte, 16-bit gray is cut off at 255.
/// </summary>
internal sealed class TiffDecoder : ImageSharpDecoder
{
    /// <inheritdoc/>
    public override string Format => "TIFF";

    /// <inheritdoc/>
    public override bool Recognizes(ReadOnlySpan<byte> header) =>
        header.StartsWith("II*\0"u8) || header.StartsWith("MM\0*"u8) || header.StartsWith("II+\0"u8)
            || header.StartsWith("MM\0+"u8);

    /// <inheritdoc/>
    protected override RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken)
    {
        TiffFile picture = TiffFile.Read(file);
        limits.CheckSize(Format, picture.Width, picture.Height);
        if (picture.WhyUnsupported() is { } reason)
            throw Error($"{reason} are not supported: convert it to PNG");
        (int width, int height) = ((int)picture.Width, (int)picture.Height);
        byte[] first = picture.Write(file);

        // ImageSharp lists these by reflection. A program that is published ahead of time has them only if somebody
        // names them.
        _ = Enum.GetValues<ExifDataType>();
        var decoder = new SixLabors.ImageSharp.Formats.Tiff.TiffDecoder
        {
            IgnoreMetadata = true,
            DecodingMode = SixLabors.ImageSharp.Metadata.FrameDecodingMode.First,
        };
        RgbImage image = (picture.Bits, picture.Samples) switch
        {
            (16, 1) => new(width, height, Grays(Pixels<L16>(decoder, first, width, height, cancellationToken))),
            (16, _) => new(width, height, HighBytes(Pixels<Rgb48>(decoder, first, width, height, cancellationToken))),
            (_, 4) => new(width, height,
                Colors(Pixels<Rgba32>(decoder, first, width, height, cancellationToken), picture.ExtraSample == 1)),
            _ => Rgb(decoder, first, width, height, cancellationToken),
        };
        return Turn(image, picture.Orientation);
    }

    private static byte[] Grays(byte[] wide)
    {
        byte[] pixels = new byte[3 * (wide.Length / 2)];
        for (int index = 0; index < wide.Length / 2; index++)
            pixels.AsSpan(3 * index, 3).Fill(wide[(2 * index) + 1] != 0 ? (byte)255 : wide[2 * index]);
        return pixels;
    }

    private static byte[] HighBytes(byte[] wide)
    {
        byte[] pixels = new byte[wide.Length / 2];
        for (int index = 0; index < pixels.Length; index++)
            pixels[index] = wide[(2 * index) + 1];
        return pixels;
    }

    /// <summary>Drops alpha, and divides by it where colours were multiplied by it.</summary>
    private static byte[] Colors(byte[] wide, bool divides)
    {
        byte[] pixels = new byte[3 * (wide.Length / 4)];
        for (int index = 0; index < wide.Length / 4; index++)
        {
            int alpha = divides ? wide[(4 * index) + 3] : 255;
            for (int color = 0; color < 3; color++)
                pixels[(3 * index) + color] = alpha == 0 ? (byte)0
                    : (byte)Math.Min(255, wide[(4 * index) + color] * 255 / alpha);
        }

        return pixels;
    }

    /// <summary>Puts the first pixel into the corner that it is of.</summary>
    private static RgbImage Turn(RgbImage image, long orientation)
    {
        if (orientation == 1)
            return image;
        bool swaps = orientation >= 5, mirrored = orientation is 2 or 3 or 7 or 8,
            upsideDown = orientation is 3 or 4 or 6 or 7;
        (int width, int height) = swaps ? (image.Height, image.Width) : (image.Width, image.Height);
        byte[] pixels = new byte[image.Pixels.Length];
        for (int y = 0, at = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++, at += 3)
            {
                (int column, int row) = swaps ? (y, x) : (x, y);
                column = mirrored ? image.Width - 1 - column : column;
                row = upsideDown ? image.Height - 1 - row : row;
                image.Row(row).Slice(3 * column, 3).CopyTo(pixels.AsSpan(at));
            }
        }

        return new RgbImage(width, height, pixels);
    }
}
