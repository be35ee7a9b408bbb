using System.Numerics.Tensors;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// Rounds rows of a weight to codes with scales: to nearest, block by block. Formats with zero points take the range of a
/// block, zero included, in 15 steps, as AWQ's tools do; the others are those of <see cref="WeightQuantizer"/>.
/// </summary>
/// <param name="format">What codes are made.</param>
/// <param name="inputs">The width of a row.</param>
/// <param name="mostRows">Rows that are rounded at one time.</param>
internal sealed class RoundedRows(QuantizedFormat format, int inputs, int mostRows)
{
    private const int Steps = 15;

    private readonly int _blocks = format.BlocksOf(inputs);

    /// <summary>What the codes are.</summary>
    public QuantizedFormat Format => format;

    /// <summary>The width of a row.</summary>
    public int Inputs => inputs;

    /// <summary>Blocks of a row.</summary>
    public int Blocks => _blocks;

    /// <summary>Rows that are there now.</summary>
    public int Rows { get; private set; }

    /// <summary>One code a byte, row-major.</summary>
    public sbyte[] Codes { get; } = new sbyte[mostRows * inputs];

    /// <summary>[rows, blocks].</summary>
    public float[] Scales { get; } = new float[mostRows * format.BlocksOf(inputs)];

    /// <summary>As many where the format has minimums.</summary>
    public float[] Minimums { get; } = format.HasMinimum ? new float[mostRows * format.BlocksOf(inputs)] : [];

    /// <summary>Rounds rows.</summary>
    /// <param name="values">Whole rows.</param>
    /// <param name="file">Where they come from, for the error.</param>
    /// <param name="name">The tensor that they are of.</param>
    /// <exception cref="CheckpointException">A value is not finite, or a block's scale is beyond binary16.</exception>
    public void Round(ReadOnlyMemory<float> values, string file, string name)
    {
        string? fault = null;
        Rows = values.Length / inputs;
        Parallel.For(0, Rows, row =>
        {
            ReadOnlySpan<float> source = values.Span.Slice(row * inputs, inputs);
            for (int block = 0; block < _blocks; block++)
            {
                int first = block * format.BlockSize, count = Math.Min(format.BlockSize, inputs - first),
                    place = row * _blocks + block;
                Span<sbyte> codes = Codes.AsSpan(row * inputs + first, count);
                try
                {
                    if (format.HasMinimum)
                        (Scales[place], Minimums[place]) = RoundRange(source.Slice(first, count), codes);
                    else
                        Scales[place] = WeightQuantizer.Round(source.Slice(first, count), format, codes);
                }
                catch (ArgumentException exception)
                {
                    Interlocked.CompareExchange(ref fault, exception.Message, null);
                }
            }
        });
        if (fault is not null)
            throw new CheckpointException(file, $"cannot be quantised: {fault}", name);
    }

    /// <summary>Makes values of the codes again.</summary>
    public void ToFloat32(Span<float> destination)
    {
        int count = Rows * _blocks;
        Dequantizer.ToFloat32(format, inputs, Codes.AsSpan(0, Rows * inputs), Scales.AsSpan(0, count),
            format.HasMinimum ? Minimums.AsSpan(0, count) : [], destination);
    }

    /// <summary>Σ(v′ − v)² and Σv² of the values that were rounded.</summary>
    public (double Error, double Norm) SquaredError(ReadOnlyMemory<float> values)
    {
        var errors = new double[Rows];
        var norms = new double[Rows];
        int minimumCount = format.HasMinimum ? _blocks : 0;
        Parallel.For(0, Rows, row =>
        {
            ReadOnlySpan<float> exact = values.Span.Slice(row * inputs, inputs);
            float[] again = System.Buffers.ArrayPool<float>.Shared.Rent(inputs);
            Span<float> made = again.AsSpan(0, inputs);
            Dequantizer.ToFloat32(format, inputs, Codes.AsSpan(row * inputs, inputs), Scales.AsSpan(row * _blocks, _blocks),
                Minimums.AsSpan(row * minimumCount, minimumCount), made);
            TensorPrimitives.Subtract(made, exact, made);
            (errors[row], norms[row]) = (TensorPrimitives.SumOfSquares<float>(made), TensorPrimitives.SumOfSquares(exact));
            System.Buffers.ArrayPool<float>.Shared.Return(again);
        });
        // Row by row, so that the sum does not depend on who was first.
        return (errors.Sum(), norms.Sum());
    }

    private static (float Scale, float Minimum) RoundRange(ReadOnlySpan<float> block, Span<sbyte> codes)
    {
        float low = Math.Min(0, TensorPrimitives.Min(block)), high = Math.Max(0, TensorPrimitives.Max(block));
        float scale = (float)(Half)((high - low) / Steps);
        if (!float.IsFinite(scale))
            throw new ArgumentException($"Weights from {low} to {high} are beyond what a binary16 scale holds.", nameof(block));
        if (scale == 0)
        {
            codes.Clear();
            return (0, 0);
        }

        float inverse = 1 / scale, zero = Math.Clamp(MathF.Round(-low * inverse), 0, Steps);
        for (int index = 0; index < block.Length; index++)
            codes[index] = (sbyte)Math.Clamp(MathF.Round(block[index] * inverse) + zero, 0, Steps);
        return (scale, -zero * scale);
    }
}
