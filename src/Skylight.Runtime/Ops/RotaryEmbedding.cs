using System.Numerics;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Rotary position embedding: <c>(x [T, heads·D], table [T, D]) → [T, heads·D]</c>, with the table of
/// <see cref="RotaryTable"/>. Of each head the pairs (i, i + D/2) are rotated: y₁ = x₁·cos − x₂·sin, y₂ = x₂·cos + x₁·sin.
/// </summary>
/// <param name="HeadDimension">D.</param>
/// <param name="Inverse">Rotate back (by the negative angle), as the gradient does.</param>
public sealed record RotaryEmbedding(int HeadDimension, bool Inverse = false) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Rank(0, "x", 2)
            .That(HeadDimension > 0 && HeadDimension % 2 == 0, $"the head dimension must be even, not {HeadDimension}")
            .That(inputs[0].Shape[1] % HeadDimension == 0,
                $"input 0 (x) must have a multiple of {HeadDimension} columns, not {inputs[0]}")
            .Float32(1, "table").Shape(1, "table", inputs[0].Shape[0], HeadDimension);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Needs(0) ? context.Graph.Add(this with { Inverse = !Inverse }, context.OutputGradient(0),
            context.Inputs[1]) : null, null];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(3.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, dimension = HeadDimension, heads = columns / dimension;
        float* x = arguments.InputPointer(0), table = arguments.InputPointer(1), y = arguments.OutputPointer(0);
        bool inverse = Inverse;
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                RotateHeads(x + (long)row * columns, table + (long)row * dimension, y + (long)row * columns, heads,
                    dimension, inverse);
        });
    }

    /// <summary>Rotates neighbouring heads of one token; the result may take their place.</summary>
    internal static unsafe void RotateHeads(float* x, float* table, float* y, int heads, int dimension, bool inverse)
    {
        int half = dimension / 2;
        float sign = inverse ? -1f : 1f;
        for (int head = 0; head < heads; head++, x += dimension, y += dimension)
        {
            int index = 0;
            for (; index <= half - Vector<float>.Count; index += Vector<float>.Count)
            {
                Vector<float> cosine = Vector.Load(table + index), sine = Vector.Load(table + half + index) * sign;
                Vector<float> first = Vector.Load(x + index), second = Vector.Load(x + half + index);
                (first * cosine - second * sine).Store(y + index);
                (second * cosine + first * sine).Store(y + half + index);
            }

            for (; index < half; index++)
            {
                float cosine = table[index], sine = table[half + index] * sign, first = x[index], second = x[half + index];
                y[index] = first * cosine - second * sine;
                y[half + index] = second * cosine + first * sine;
            }
        }
    }
}
