using System.Numerics.Tensors;
using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// Weights of codes that are no integers.
internal static unsafe partial class BFloat16Gemm
{
    /// <summary>
    /// y[m, n] = Σ_k x[m, k]·W[n, k] (+ bias[n]): of each block of inputs, ascending, the products of rounded
    /// activations with what codes stand for, in bfloat16, are one chain from zero: d. Then sum = fma(d, scale, sum).
    /// So the bits depend on the row and the output only, and scales are never rounded.
    /// </summary>
    private static void MultiplyCodes(in GemmOperands product, byte* a, int panel, int endPanel,
        BFloat16Instruction instruction)
    {
        bool areMatrices = instruction == BFloat16Instruction.Matrices;
        int rows = product.Rows, most = areMatrices ? 1 : FloatCodeTile.PanelsFor(rows), chunks = Chunks(product.Steps),
            ofBlock = product.Codes.Block / Chunk;
        float* sums = stackalloc float[BFloat16Matrices.MaxRows * Width];
        for (int count; panel < endPanel; panel += count)
        {
            count = endPanel - panel >= most ? most : 1;
            new Span<float>(sums, count * rows * Width).Clear();
            byte* codes = (byte*)product.B + panel * product.BStride;
            if (areMatrices)
                FloatCodeKernels.RowsByMatrices(product.Codes.Codes, rows)(a, codes, sums, chunks, ofBlock);
            else
                FloatCodeKernels.Rows(product.Codes.Codes, rows, count)(a, codes, sums, chunks, ofBlock, product.BStride);
            for (int own = 0; own < count; own++)
                Finish(product, sums + own * rows * Width, 0, rows, panel + own);
        }
    }

    private static void RunManagedCodes(GemmOperands product, int threads)
    {
        FloatCodeLayout layout = product.Codes;
        int rows = product.Rows;
        fixed (float* a = Rounded(product.A, rows, product.Steps, product.ARow))
        {
            float* left = a;
            CpuParallel.For(WeightPanels.PanelCount(product.Columns), threads, index =>
            {
                float* sums = GemmScratch.Sums((nint)rows * Width), part = stackalloc float[BFloat16Tile.MaxRows * Width],
                    values = GemmScratch.PanelBlock(FloatCodeValues.FloatsOf(layout.Block));
                byte* panel = (byte*)product.B + index * product.BStride;
                new Span<float>(sums, rows * Width).Clear();
                for (int start = 0; start < product.Steps; start += layout.Block)
                {
                    int steps = Math.Min(layout.Block, product.Steps - start);
                    FloatCodeValues.Write(layout, panel, start, steps, isScaled: false, values);
                    var scales = new ReadOnlySpan<float>(layout.ScalesAt(panel, start), Width);
                    for (int row = 0; row < rows; row += BFloat16Tile.MaxRows)
                    {
                        int count = Math.Min(BFloat16Tile.MaxRows, rows - row);
                        MicroKernel.Tile<FloatElement>(
                            new TileArguments
                            {
                                A = (byte*)(left + (nint)row * product.Steps + start),
                                ARowBytes = (nint)product.Steps * sizeof(float),
                                AStepBytes = sizeof(float),
                                B = (byte*)values,
                                BStepBytes = Width * sizeof(float),
                                C = part,
                                CRowFloats = Width,
                                Steps = steps,
                            }, count, Width);
                        for (int line = 0; line < count; line++)
                        {
                            var block = new ReadOnlySpan<float>(part + line * Width, Width);
                            var sum = new Span<float>(sums + (nint)(row + line) * Width, Width);
                            TensorPrimitives.FusedMultiplyAdd(block, scales, sum, sum);
                        }
                    }
                }

                Finish(product, sums, 0, rows, index);
            });
        }
    }
}
