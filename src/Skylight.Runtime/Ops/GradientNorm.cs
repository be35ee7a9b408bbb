using System.Numerics;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The Euclidean norm of all gradients together and the factor that clips it: <c>(gradient, gradient, …) → (norm [1],
/// scale [1], isFinite int32 [1])</c> for any number of float32 tensors in any storage. scale = min(1, maximum / (norm
/// + 1e-6)); NaN where the norm is not finite, at which <see cref="AdamW"/> changes nothing. Squares are summed in
/// double precision over fixed blocks, so the result does not depend on the number of threads.
/// </summary>
/// <param name="MaximumNorm">Gradients are scaled down to this norm; 0 or less for no clipping.</param>
public sealed record GradientNorm(float MaximumNorm) : Op, ICpuKernel
{
    private const int Block = 1 << 16;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(1, int.MaxValue);
        for (int input = 0; input < inputs.Count; input++)
            check.Is(input, "gradient", DataType.Float32);
        return [TensorType.Float32(1), TensorType.Float32(1), TensorType.Int32(1)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs.Sum(input => input.Shape.ElementCount), Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => Math.Max(1, inputs.Sum(BlocksOf)) * sizeof(double);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        double* partial = (double*)arguments.ScratchPointer;
        // All tensors in one loop: a model has hundreds, most of them small.
        var blocks = new List<(nint Start, int Count)>();
        for (int input = 0; input < arguments.InputCount; input++)
        {
            float* gradient = arguments.InputPointer(input);
            long count = CpuMemory.ElementCount(arguments.Input(input).Type);
            for (long start = 0; start < count; start += Block)
                blocks.Add(((nint)(gradient + start), (int)Math.Min(Block, count - start)));
        }

        int grain = blocks.Count == 0 ? 1
            : (int)Math.Max(1, blocks.Count * (long)Block / Math.Max(1, blocks.Sum(block => (long)block.Count)) / 4);
        CpuParallel.ForRange(blocks.Count, grain, (start, end) =>
        {
            for (int block = start; block < end; block++)
                partial[block] = SumOfSquares(new ReadOnlySpan<float>((float*)blocks[block].Start, blocks[block].Count));
        });
        double sum = 0;
        for (int block = 0; block < blocks.Count; block++)
            sum += partial[block];
        double norm = Math.Sqrt(sum);
        bool isFinite = float.IsFinite((float)norm);
        arguments.OutputFloat32(0)[0] = (float)norm;
        arguments.OutputFloat32(1)[0] = !isFinite ? float.NaN
            : MaximumNorm > 0 ? (float)Math.Min(1, MaximumNorm / (norm + 1e-6)) : 1;
        *(int*)arguments.OutputPointer(2) = isFinite ? 1 : 0;
    }

    private static long BlocksOf(TensorType type) => (CpuMemory.ElementCount(type) + Block - 1) / Block;

    private static double SumOfSquares(ReadOnlySpan<float> values)
    {
        Vector<double> first = default, second = default;
        int index = 0;
        for (; index <= values.Length - Vector<float>.Count; index += Vector<float>.Count)
        {
            Vector.Widen(new Vector<float>(values[index..]), out Vector<double> low, out Vector<double> high);
            first = Vector.FusedMultiplyAdd(low, low, first);
            second = Vector.FusedMultiplyAdd(high, high, second);
        }

        double sum = Vector.Sum(first + second);
        for (; index < values.Length; index++)
            sum += (double)values[index] * values[index];
        return sum;
    }
}
