using System.Runtime.Intrinsics;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Bans tokens of some rows before a token is drawn (answers held to a form):
/// <c>(logits [R, V] float32, rows int32 [R], masks int32 [M, ⌈V / 32⌉]) → logits [R, V]</c>. Row r has the mask
/// rows[r], or none where that is below 0; bit b of word w says whether token 32·w + b may be drawn. The logits of
/// tokens that may not become −∞, all others keep every bit. Works in place where the logits are not needed afterwards.
/// No gradient.
/// </summary>
/// <remarks>A row that names a mask which is not there is an error at run time.</remarks>
public sealed record MaskLogits : Op, ICpuKernel
{
    /// <summary>The words of a mask.</summary>
    public static int WordsOf(int vocabulary) => (vocabulary + 31) / 32;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(3).Float32(0, "logits").Rank(0, "logits", 2)
            .Is(1, "rows", DataType.Int32).Shape(1, "rows", inputs[0].Shape.Rows)
            .Is(2, "masks", DataType.Int32).Rank(2, "masks", 2);
        check.Shape(2, "masks", inputs[2].Shape.Rows, WordsOf(inputs[0].Shape.Columns));
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape shape = arguments.Input(0).Shape;
        int vocabulary = shape.Columns, words = WordsOf(vocabulary), count = arguments.Input(2).Shape.Rows;
        ReadOnlySpan<int> rows = arguments.InputInt32(1);
        for (int row = 0; row < rows.Length; row++)
        {
            if (rows[row] >= count)
                throw new ArgumentOutOfRangeException(null,
                    $"{Name}: row {row} has mask {rows[row]}, but there are {count}.");
        }

        int* held = (int*)arguments.InputPointer(1), allowed = (int*)arguments.InputPointer(2);
        float* source = arguments.InputPointer(0), target = arguments.OutputPointer(0);
        if (source != target)
            arguments.InputFloat32(0).CopyTo(arguments.OutputFloat32(0));
        int[] masked = [.. Enumerable.Range(0, shape.Rows).Where(row => held[row] >= 0)];
        CpuParallel.For(masked.Length, index => Mask(new Span<float>(target + (long)masked[index] * vocabulary, vocabulary),
            new ReadOnlySpan<int>(allowed + held[masked[index]] * words, words)));
    }

    private static void Mask(Span<float> line, ReadOnlySpan<int> mask)
    {
        const int Bits = 32, Lanes = 8;
        Vector256<int> places = Vector256.Create(1, 2, 4, 8, 16, 32, 64, 128);
        Vector256<float> banned = Vector256.Create(float.NegativeInfinity);
        int whole = line.Length / Bits;
        for (int word = 0; word < whole; word++)
        {
            uint bits = (uint)mask[word];
            if (bits == uint.MaxValue)
                continue;
            Span<float> part = line.Slice(Bits * word, Bits);
            for (int lane = 0; lane < Bits; lane += Lanes)
            {
                Vector256<float> lacks = Vector256.Equals(Vector256.Create((int)(bits >> lane)) & places, Vector256<int>.Zero)
                    .AsSingle();
                Vector256.ConditionalSelect(lacks, banned, Vector256.Create<float>(part[lane..])).CopyTo(part[lane..]);
            }
        }

        for (int token = whole * Bits; token < line.Length; token++)
        {
            if (((uint)mask[whole] >> token % Bits & 1) == 0)
                line[token] = float.NegativeInfinity;
        }
    }
}
