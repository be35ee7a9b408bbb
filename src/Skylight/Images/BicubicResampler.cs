using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Skylight.Images;

/// <summary>
/// Bicubic resizing, byte for byte as Pillow computes it for RGB: a = −0.5, a support that grows with the scale when
/// shrinking, weights in 22-bit fixed point, and a rounded, clipped byte between the horizontal and the vertical pass.
/// </summary>
public static class BicubicResampler
{
    private const int PrecisionBits = 32 - 8 - 2;
    private const double Support = 2.0;

    /// <summary>Resizes a picture; the aspect ratio is that of the new size.</summary>
    /// <param name="image">The picture; not changed.</param>
    /// <param name="width">Pixels from left to right of the result.</param>
    /// <param name="height">Pixels from top to bottom of the result.</param>
    /// <param name="cancellationToken">Stops the work.</param>
    /// <returns>The resized picture; <paramref name="image"/> itself if it already has this size.</returns>
    /// <exception cref="ArgumentException">The result would have no pixels, or more than fit into one array.</exception>
    /// <exception cref="OperationCanceledException">The work was stopped.</exception>
    public static RgbImage Resize(RgbImage image, int width, int height, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if ((long)width * height > RgbImage.MostPixels)
            throw new ArgumentException($"A picture of {width}×{height} pixels does not fit into one array.", nameof(width));
        if (image.Width == width && image.Height == height)
            return image;

        Weights? horizontal = image.Width == width ? null : Weights.Compute(image.Width, width);
        var result = new RgbImage(width, height, new byte[3 * width * height]);
        int[] pixelsOfRow = horizontal is null ? [] : new int[4 * image.Width];
        if (image.Height == height)
        {
            for (int y = 0; y < height; y++)
                Row(image, y, horizontal!, pixelsOfRow, result.Row(y));
            return result;
        }

        // The rows that one row of the result needs are a window that only moves down: a ring of them is all that is
        // kept between the passes.
        var vertical = Weights.Compute(image.Height, height);
        int bytes = 3 * width;
        byte[] ring = horizontal is null ? image.Pixels : new byte[checked(bytes * Math.Min(vertical.Most, image.Height))];
        int slots = ring.Length / bytes;
        int[] offsets = new int[vertical.Most];
        int computed = 0;
        for (int y = 0; y < height; y++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ReadOnlySpan<int> weights = vertical.Of(y, out int start);
            if (horizontal is not null)
            {
                for (computed = Math.Max(computed, start); computed < start + weights.Length; computed++)
                    Row(image, computed, horizontal, pixelsOfRow, ring.AsSpan(bytes * (computed % slots), bytes));
            }

            for (int i = 0; i < weights.Length; i++)
                offsets[i] = bytes * ((start + i) % slots);
            Column(ring, offsets.AsSpan(0, weights.Length), weights, result.Row(y));
        }

        return result;
    }

    /// <summary>The horizontal pass over one row.</summary>
    private static void Row(RgbImage image, int y, Weights horizontal, int[] pixelsOfRow, Span<byte> target)
    {
        ReadOnlySpan<byte> source = image.Row(y);
        for (int x = 0, i = 0; x < pixelsOfRow.Length; x += 4, i += 3)
        {
            pixelsOfRow[x] = source[i];
            pixelsOfRow[x + 1] = source[i + 1];
            pixelsOfRow[x + 2] = source[i + 2];
        }

        ReadOnlySpan<Vector128<int>> pixels = MemoryMarshal.Cast<int, Vector128<int>>(pixelsOfRow.AsSpan());
        for (int x = 0, i = 0; i < target.Length; x++, i += 3)
        {
            ReadOnlySpan<int> weights = horizontal.Of(x, out int start);
            ReadOnlySpan<Vector128<int>> window = pixels.Slice(start, weights.Length);
            Vector128<int> sum = Vector128.Create(1 << (PrecisionBits - 1));
            for (int k = 0; k < window.Length; k++)
                sum += window[k] * weights[k];
            sum = Vector128.Min(Vector128.Max(sum >> PrecisionBits, Vector128<int>.Zero), Vector128.Create(255));
            target[i] = (byte)sum.GetElement(0);
            target[i + 1] = (byte)sum.GetElement(1);
            target[i + 2] = (byte)sum.GetElement(2);
        }
    }

    /// <summary>One row of the vertical pass: a weighted sum of rows.</summary>
    private static void Column(ReadOnlySpan<byte> rows, ReadOnlySpan<int> offsets, ReadOnlySpan<int> weights,
        Span<byte> target)
    {
        weights = weights[..offsets.Length];
        int x = 0;
        for (; x <= target.Length - Vector<byte>.Count; x += Vector<byte>.Count)
        {
            var s0 = new Vector<int>(1 << (PrecisionBits - 1));
            Vector<int> s1 = s0;
            Vector<int> s2 = s0;
            Vector<int> s3 = s0;
            for (int k = 0; k < offsets.Length; k++)
            {
                Vector.Widen(new Vector<byte>(rows[(offsets[k] + x)..]), out Vector<ushort> low, out Vector<ushort> high);
                Vector.Widen(low, out Vector<uint> b0, out Vector<uint> b1);
                Vector.Widen(high, out Vector<uint> b2, out Vector<uint> b3);
                int weight = weights[k];
                s0 += Vector.AsVectorInt32(b0) * weight;
                s1 += Vector.AsVectorInt32(b1) * weight;
                s2 += Vector.AsVectorInt32(b2) * weight;
                s3 += Vector.AsVectorInt32(b3) * weight;
            }

            Vector<ushort> first = Vector.Narrow(Clip(s0), Clip(s1));
            Vector<ushort> second = Vector.Narrow(Clip(s2), Clip(s3));
            Vector.Narrow(first, second).CopyTo(target[x..]);
        }

        for (; x < target.Length; x++)
        {
            int sum = 1 << (PrecisionBits - 1);
            for (int k = 0; k < offsets.Length; k++)
                sum += rows[offsets[k] + x] * weights[k];
            target[x] = (byte)Math.Clamp(sum >> PrecisionBits, 0, 255);
        }
    }

    private static Vector<uint> Clip(Vector<int> sum) =>
        Vector.AsVectorUInt32(Vector.Min(Vector.Max(sum >> PrecisionBits, Vector<int>.Zero), new Vector<int>(255)));

    /// <summary>For each sample of the result: where its window begins, how long it is, and the weights in it.</summary>
    private sealed class Weights
    {
        private readonly int[] _starts;
        private readonly int[] _counts;
        private readonly int[] _weights;

        private Weights(int count, int most)
        {
            Most = most;
            _starts = new int[count];
            _counts = new int[count];
            _weights = new int[checked(count * most)];
        }

        /// <summary>The longest window.</summary>
        public int Most { get; }

        public ReadOnlySpan<int> Of(int index, out int start)
        {
            start = _starts[index];
            return _weights.AsSpan(index * Most, _counts[index]);
        }

        public static Weights Compute(int from, int to)
        {
            double scale = (double)from / to;
            double stretch = Math.Max(scale, 1.0);
            double support = Support * stretch;
            var result = new Weights(to, ((int)Math.Ceiling(support) * 2) + 1);
            double[] exact = new double[result.Most];
            for (int i = 0; i < to; i++)
            {
                double center = (i + 0.5) * scale;
                int start = Math.Max((int)(center - support + 0.5), 0);
                int count = Math.Min((int)(center + support + 0.5), from) - start;
                double sum = 0;
                for (int k = 0; k < count; k++)
                {
                    exact[k] = Cubic((k + start - center + 0.5) * (1.0 / stretch));
                    sum += exact[k];
                }

                for (int k = 0; k < count; k++)
                {
                    double weight = sum != 0 ? exact[k] / sum : exact[k];
                    result._weights[(i * result.Most) + k] = (int)(
                        (weight < 0 ? -0.5 : 0.5) + (weight * (1 << PrecisionBits)));
                }

                result._starts[i] = start;
                result._counts[i] = count;
            }

            return result;
        }

        private static double Cubic(double x)
        {
            const double A = -0.5;
            x = Math.Abs(x);
            return x < 1.0 ? ((((A + 2.0) * x) - (A + 3.0)) * x * x) + 1
                : x < 2.0 ? (((((x - 5) * x) + 8) * x) - 4) * A
                : 0.0;
        }
    }
}
