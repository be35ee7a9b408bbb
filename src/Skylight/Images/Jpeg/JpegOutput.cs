namespace Skylight.Images.Jpeg;

/// <summary>
/// From decoded planes to RGB: upsampling and colour conversion as libjpeg-turbo and Pillow do them, row by row.
/// </summary>
internal static class JpegOutput
{
    private const int FractionBits = 16;
    private const int Half = 1 << (FractionBits - 1);

    /// <summary>What 1.402·Cr adds to red.</summary>
    private static readonly int[] RedOfCr = Table(x => ((91881 * x) + Half) >> FractionBits);

    /// <summary>What 1.772·Cb adds to blue.</summary>
    private static readonly int[] BlueOfCb = Table(x => ((116130 * x) + Half) >> FractionBits);

    /// <summary>What −0.71414·Cr adds to green, before the shift.</summary>
    private static readonly int[] GreenOfCr = Table(x => -46802 * x);

    /// <summary>What −0.34414·Cb adds to green, before the shift.</summary>
    private static readonly int[] GreenOfCb = Table(x => (-22554 * x) + Half);

    public static RgbImage Convert(JpegFrame frame, JpegColorSpace space, CancellationToken cancellationToken)
    {
        byte[] pixels = new byte[3 * frame.Width * frame.Height];
        JpegUpsampler[] planes = [.. frame.Components.Select(component => new JpegUpsampler(frame, component))];
        for (int y = 0; y < frame.Height; y++)
        {
            if (y % 64 == 0)
                cancellationToken.ThrowIfCancellationRequested();
            Span<byte> target = pixels.AsSpan(3 * frame.Width * y, 3 * frame.Width);
            ReadOnlySpan<byte> first = planes[0].Row(y);
            if (space == JpegColorSpace.Gray)
            {
                Gray(first, target);
                continue;
            }

            ReadOnlySpan<byte> second = planes[1].Row(y);
            ReadOnlySpan<byte> third = planes[2].Row(y);
            if (space is JpegColorSpace.YCbCr or JpegColorSpace.Ycck)
                FromYCbCr(first, second, third, target);
            else
                Interleave(first, second, third, target);
            if (space is JpegColorSpace.Cmyk or JpegColorSpace.Ycck)
                Ink(planes[3].Row(y), target, complement: space == JpegColorSpace.Ycck);
        }

        return new RgbImage(frame.Width, frame.Height, pixels);
    }

    private static void Gray(ReadOnlySpan<byte> row, Span<byte> target)
    {
        for (int x = 0; x < row.Length; x++)
            target.Slice(3 * x, 3).Fill(row[x]);
    }

    private static void Interleave(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third,
        Span<byte> target)
    {
        for (int x = 0; x < first.Length; x++)
        {
            target[3 * x] = first[x];
            target[(3 * x) + 1] = second[x];
            target[(3 * x) + 2] = third[x];
        }
    }

    private static void FromYCbCr(ReadOnlySpan<byte> luma, ReadOnlySpan<byte> blue, ReadOnlySpan<byte> red,
        Span<byte> target)
    {
        ReadOnlySpan<int> redOfCr = RedOfCr;
        ReadOnlySpan<int> blueOfCb = BlueOfCb;
        ReadOnlySpan<int> greenOfCr = GreenOfCr;
        ReadOnlySpan<int> greenOfCb = GreenOfCb;
        blue = blue[..luma.Length];
        red = red[..luma.Length];
        for (int x = 0; x < luma.Length; x++)
        {
            int y = luma[x];
            int cb = blue[x];
            int cr = red[x];
            Span<byte> pixel = target.Slice(3 * x, 3);
            pixel[0] = Clamp(y + redOfCr[cr]);
            pixel[1] = Clamp(y + ((greenOfCb[cb] + greenOfCr[cr]) >> FractionBits));
            pixel[2] = Clamp(y + blueOfCb[cb]);
        }
    }

    /// <summary>
    /// Takes black ink off the colours. The file holds the complement of every ink, as Adobe writes it and Pillow
    /// assumes of every file; of a YCCK file the target holds the inks' complements' complements.
    /// </summary>
    private static void Ink(ReadOnlySpan<byte> black, Span<byte> target, bool complement)
    {
        for (int x = 0; x < black.Length; x++)
        {
            int light = black[x];
            foreach (ref byte value in target.Slice(3 * x, 3))
            {
                int stored = complement ? 255 - value : value;
                int product = ((255 - stored) * light) + 128;
                value = Clamp(light - (((product >> 8) + product) >> 8));
            }
        }
    }

    private static byte Clamp(int value) => (byte)Math.Clamp(value, 0, 255);

    private static int[] Table(Func<int, int> entry) => [.. Enumerable.Range(-128, 256).Select(entry)];
}
