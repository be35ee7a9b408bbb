using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>The optimizer step; see <c>kernels/optimizer.cu</c>.</summary>
internal static class OptimizerBindings
{
    private const int Threads = 256;
    private const int NormThreads = 1024;
    private const int SquareBlock = 16384;
    private const int TensorsPerLaunch = 8;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<AdamW>(AddAdamW);
        bindings.Add<GradientNorm>(AddGradientNorm);
    }

    private static void AddAdamW(AdamW op, CudaKernelBuilder kernel)
    {
        long count = kernel.Inputs[0].Shape.ElementCount;
        KernelLaunch launch = Typed(kernel.Launch("optimizer.cu", "adamw", CudaKernelBuilder.Blocks(count, Threads * 4),
            Threads), kernel.Inputs[0].DataType);
        for (int input = 0; input < 6; input++)
            launch.Input(input);
        // As on the CPU: 1 − β by the decimal that was meant, as 0.999 is 1.3e-8 off as a float.
        launch.OptionalInput(6).Int64(count)
            .Float32((float)(1 - (decimal)op.Beta1)).Float32(op.Beta2).Float32((float)(1 - (decimal)op.Beta2))
            .Float32(op.Epsilon);
    }

    /// <summary>Several tensors to a launch, as a model has hundreds, most of them small.</summary>
    private static void AddGradientNorm(GradientNorm op, CudaKernelBuilder kernel)
    {
        long[] counts = [.. kernel.Inputs.Select(input => input.Shape.ElementCount)];
        int[] blocks = [.. counts.Select(count => CudaKernelBuilder.Blocks(count, SquareBlock))];
        int allBlocks = checked(blocks.Sum());
        // Tensors without elements have no sums, but the merging kernel is given an address in any case.
        CudaScratch partial = kernel.Scratch(Math.Max(1, allBlocks) * (long)sizeof(double));
        int before = 0;
        for (int first = 0; first < counts.Length; first += TensorsPerLaunch)
        {
            int end = Math.Min(counts.Length, first + TensorsPerLaunch), own = blocks[first..end].Sum();
            KernelLaunch launch = Typed(kernel.Launch("optimizer.cu", "square_sums", own, Threads,
                ReductionBindings.BlockSumBytes(Threads, sizeof(double))), DataType.Float32)
                .Scratch(partial, (long)before * sizeof(double));
            for (int input = first; input < first + TensorsPerLaunch; input++)
                launch.OptionalInput(input).Int64(input < end ? counts[input] : 0);
            before += own;
        }

        Typed(kernel.Launch("optimizer.cu", "gradient_norm", 1, NormThreads,
            ReductionBindings.BlockSumBytes(NormThreads, sizeof(double))), DataType.Float32)
            .Scratch(partial).Int32(allBlocks).Float32(op.MaximumNorm).Output(0).Output(1).Output(2);
    }

    private static KernelLaunch Typed(KernelLaunch launch, DataType weight) => launch.Type("WEIGHT", weight);
}
