using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The rotation of each position: <c>positions int32 [T] → [T, headDimension]</c> float32: first cos(angle), then
/// sin(angle), each for headDimension / 2 frequencies θ^(−2i/headDimension) (Su et al., 2021), or those that YaRN makes
/// of them. Frequencies and angles are rounded to float32 where the reference implementations round them. A negative
/// position is an error at run time.
/// </summary>
/// <param name="HeadDimension">The width of an attention head; even.</param>
/// <param name="Theta">The base θ of the frequencies.</param>
/// <param name="Yarn">Which frequencies are lowered, and what cosines and sines are multiplied by; null for none.</param>
public sealed record RotaryTable(int HeadDimension, float Theta, YarnRamp? Yarn = null) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Is(0, "positions", DataType.Int32).Rank(0, "positions", 1)
            .That(HeadDimension > 0 && HeadDimension % 2 == 0, $"the head dimension must be even, not {HeadDimension}")
            .That(Theta > 0, $"theta must be positive, not {Theta}")
            .That(Yarn is not { } yarn || yarn.Factor > 0 && yarn.Low != yarn.High,
                $"a ramp needs a positive factor and two ends, not {Yarn}");
        return [TensorType.Float32(inputs[0].Shape[0], HeadDimension)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) => [null];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(20.0 * outputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        ReadOnlySpan<int> positions = arguments.InputInt32(0);
        IndexCheck.Range(this, "positions", positions, 0, int.MaxValue);
        int[] first = FirstOccurrences(positions);
        float[] frequencies = Frequencies();
        float* table = arguments.OutputPointer(0);
        int* position = (int*)arguments.InputPointer(0);
        int columns = HeadDimension;
        float scale = Yarn?.AttentionFactor ?? 1;
        // Packed sequences repeat the same positions: compute each once, then copy.
        ElementWise.ForRows(positions.Length, 16 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                if (first[row] == row)
                    FillRow(position[row], frequencies, scale, new Span<float>(table + (long)row * columns, columns));
            }
        });
        ElementWise.ForRows(positions.Length, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                if (first[row] != row)
                    new ReadOnlySpan<float>(table + (long)first[row] * columns, columns)
                        .CopyTo(new Span<float>(table + (long)row * columns, columns));
            }
        });
    }

    private static void FillRow(int position, float[] frequencies, float scale, Span<float> row)
    {
        for (int index = 0; index < frequencies.Length; index++)
        {
            float angle = position * frequencies[index];
            (double sine, double cosine) = Math.SinCos(angle);
            row[index] = (float)cosine * scale;
            row[frequencies.Length + index] = (float)sine * scale;
        }
    }

    /// <summary>The frequencies, rounded where transformers rounds them.</summary>
    internal float[] Frequencies()
    {
        var frequencies = new float[HeadDimension / 2];
        for (int index = 0; index < frequencies.Length; index++)
        {
            float power = (float)Math.Pow(Theta, 2f * index / HeadDimension);
            frequencies[index] = Yarn?.Frequency(index, power) ?? 1f / power;
        }

        return frequencies;
    }

    /// <summary>For each row, the first row of the same position.</summary>
    private static int[] FirstOccurrences(ReadOnlySpan<int> positions)
    {
        var first = new int[positions.Length];
        var rowOf = new Dictionary<int, int>();
        for (int row = 0; row < first.Length; row++)
            first[row] = rowOf.TryAdd(positions[row], row) ? row : rowOf[positions[row]];
        return first;
    }
}
