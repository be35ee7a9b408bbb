using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// Weights for measurements, written straight into the CPU's memory, so that the process never needs more than the
/// model itself: its largest resident size is then that of inference. Uniform, with the deviation that keeps
/// activations of order one; norms are 1, biases 0.
/// </summary>
internal static unsafe class RandomWeights
{
    /// <summary>Gives all parameters memory and numbers.</summary>
    public static void Fill(VisionLanguageModel model)
    {
        model.Allocate();
        for (int index = 0; index < model.Parameters.All.Count; index++)
            Fill(model.Parameters.All[index], (ulong)index);
    }

    private static void Fill(PersistentTensor parameter, ulong stream)
    {
        if (parameter.Name.EndsWith("bias", StringComparison.Ordinal))
            return;
        bool constant = parameter.Name.Contains("norm", StringComparison.Ordinal)
            || parameter.Name.Contains(".scale", StringComparison.Ordinal);
        float bound = constant ? 0 : MathF.Sqrt(3f / parameter.Type.Shape.Columns), middle = constant ? 1 : 0;
        long count = CpuMemory.ElementCount(parameter.Type);
        void* target = CpuMemory.Pointer(parameter.Tensor);
        bool halves = parameter.Type.DataType == DataType.BFloat16;
        const int Piece = 1 << 16;
        CpuParallel.For((int)((count + Piece - 1) / Piece), piece =>
        {
            ulong state = (stream << 32) + (ulong)piece * 0x9E3779B97F4A7C15UL + 1;
            for (long element = (long)piece * Piece; element < Math.Min(count, (piece + 1L) * Piece); element++)
            {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                float value = middle + (int)(state >> 32) * (1f / int.MaxValue) * bound;
                if (halves)
                    ((BFloat16*)target)[element] = (BFloat16)value;
                else
                    ((float*)target)[element] = value;
            }
        });
    }
}
