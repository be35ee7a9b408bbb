using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu;

/// <summary>
/// Products of at most one register tile of rows with a weight in panels: decoding. They are bound by reading
/// the weight, so it is read once, straight from its panels; one or two rows alone have too few chains to hide
/// the latency of a multiply-add, so these walk several panels side by side.
/// </summary>
internal static unsafe class GemmFewRows
{
    private const int Width = WeightPanels.Width;

    /// <summary>The most rows that this path takes.</summary>
    public const int MaxRows = 12;

    /// <summary>Computes the product on at most <paramref name="threads"/> threads.</summary>
    public static void Run(in GemmOperands product, int threads)
    {
        if (product.Rows <= 0 || product.Columns <= 0)
            return;
        if (product.Layout == RightOperand.BFloat16Panels)
            Run<Streamed<BFloat16Element>>(product, threads);
        else
            Run<Streamed<FloatElement>>(product, threads);
    }

    private static void Run<TElement>(in GemmOperands product, int threads)
        where TElement : struct, IPanelElement
    {
        if (product.Rows > 2)
            RunPanels<TElement>(product, threads);
        else if (Vector512.IsHardwareAccelerated)
            RunSideBySide<Simd512, Vector512<float>, TElement>(product, threads);
        else if (Vector256.IsHardwareAccelerated)
            RunSideBySide<Simd256, Vector256<float>, TElement>(product, threads);
        else
            RunSideBySide<Simd128, Vector128<float>, TElement>(product, threads);
    }

    private static void RunPanels<TElement>(GemmOperands product, int threads)
        where TElement : struct, IPanelElement
    {
        product.SpreadFewRows();
        CpuParallel.For(WeightPanels.PanelCount(product.Columns), threads, panel =>
        {
            var tile = new TileArguments
            {
                A = (byte*)product.A,
                ARowBytes = product.ARow * sizeof(float),
                AStepBytes = sizeof(float),
                B = PanelStart<TElement>(product, panel),
                BStepBytes = Width * TElement.Size,
                C = product.C + panel * product.CPanel,
                CRowFloats = product.CRow,
                Steps = product.Steps,
                Bias = product.Bias == null ? null : product.Bias + panel * Width,
            };
            MicroKernel.Tile<TElement>(tile, product.Rows, product.ColumnsOf(panel));
        });
    }

    private static byte* PanelStart<TElement>(in GemmOperands product, int panel)
        where TElement : struct, IPanelElement =>
        (byte*)product.B + panel * product.BStride * Width * TElement.Size;

    /// <summary>One or two rows: eight chains of vectors at once, from neighbouring columns and panels.</summary>
    private static void RunSideBySide<TSimd, TVector, TElement>(GemmOperands product, int threads)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        int pairs = product.Rows == 1 ? 4 : 2;
        int groupColumns = pairs * 2 * TSimd.Count;
        int groups = (product.Columns + groupColumns - 1) / groupColumns;
        CpuParallel.For(groups, threads, group =>
        {
            int firstColumn = group * groupColumns;
            int lastPanel = WeightPanels.PanelCount(product.Columns) - 1;
            byte** starts = stackalloc byte*[pairs];
            for (int pair = 0; pair < pairs; pair++)
            {
                // A group past the last panel reads that one again, and its results are dropped.
                int column = firstColumn + pair * 2 * TSimd.Count;
                starts[pair] = PanelStart<TElement>(product, Math.Min(lastPanel, column / Width))
                    + column % Width * TElement.Size;
            }
            float* sums = stackalloc float[2 * groupColumns];
            if (product.Rows == 1)
                OneRow<TSimd, TVector, TElement>(product.A, starts, product.Steps,
                    product.BStride * Width * TElement.Size, sums);
            else
                TwoRows<TSimd, TVector, TElement>(product.A, product.A + product.ARow, starts, product.Steps, sums);
            int columns = Math.Min(groupColumns, product.Columns - firstColumn);
            for (int row = 0; row < product.Rows; row++)
                Finish(product, row, firstColumn, columns, sums + row * groupColumns);
        });
    }

    private static void Finish(in GemmOperands product, int row, int firstColumn, int columns, float* sums)
    {
        float* target = product.C + row * product.CRow + firstColumn;
        if (product.Bias == null)
        {
            new ReadOnlySpan<float>(sums, columns).CopyTo(new Span<float>(target, columns));
            return;
        }
        for (int column = 0; column < columns; column++)
            target[column] = sums[column] + product.Bias[firstColumn + column];
    }

    // Measured on one core of Zen 5 with four panels side by side, GB/s of bfloat16 without → with: 38 → 42 where a panel has
    // 896 steps, 41 → 39 where it has 4864. Long bfloat16 panels therefore go without.
    private const int PrefetchAhead = 2048;
    private const int LongPanel = 1 << 17;

    /// <summary>
    /// One row: four pairs of vectors. Lines are asked for ahead; at a panel's end, those of the panel four further on,
    /// which the next group begins with.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow<TSimd, TVector, TElement>(float* x, byte** starts, nint steps, nint panelBytes, float* sums)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* p0 = starts[0], p1 = starts[1], p2 = starts[2], p3 = starts[3];
        nint second = TSimd.Count * TElement.Size;
        TVector c0 = TSimd.Zero, c1 = TSimd.Zero, c2 = TSimd.Zero, c3 = TSimd.Zero;
        TVector c4 = TSimd.Zero, c5 = TSimd.Zero, c6 = TSimd.Zero, c7 = TSimd.Zero;
        bool prefetches = Sse.IsSupported && panelBytes < LongPanel;
        nint offset = 0, ahead = PrefetchAhead, lastOfPanel = panelBytes - PrefetchAhead;
        for (nint k = 0; k < steps; k++)
        {
            TVector a = TSimd.Broadcast(x[k]);
            c0 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p0 + offset), c0);
            c1 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p0 + offset + second), c1);
            c2 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p1 + offset), c2);
            c3 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p1 + offset + second), c3);
            c4 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p2 + offset), c4);
            c5 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p2 + offset + second), c5);
            c6 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p3 + offset), c6);
            c7 = TSimd.FusedMultiplyAdd(a, TElement.Load<TSimd, TVector>(p3 + offset + second), c7);
            if (prefetches)
            {
                if (offset >= lastOfPanel)
                    ahead = PrefetchAhead + 3 * panelBytes;
                Sse.Prefetch0(p0 + offset + ahead);
                Sse.Prefetch0(p1 + offset + ahead);
                Sse.Prefetch0(p2 + offset + ahead);
                Sse.Prefetch0(p3 + offset + ahead);
            }

            offset += Width * TElement.Size;
        }
        int count = TSimd.Count;
        TSimd.Store(sums, c0);
        TSimd.Store(sums + count, c1);
        TSimd.Store(sums + 2 * count, c2);
        TSimd.Store(sums + 3 * count, c3);
        TSimd.Store(sums + 4 * count, c4);
        TSimd.Store(sums + 5 * count, c5);
        TSimd.Store(sums + 6 * count, c6);
        TSimd.Store(sums + 7 * count, c7);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwoRows<TSimd, TVector, TElement>(float* x0, float* x1, byte** starts, nint steps, float* sums)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* p0 = starts[0], p1 = starts[1];
        nint second = TSimd.Count * TElement.Size;
        TVector c0 = TSimd.Zero, c1 = TSimd.Zero, c2 = TSimd.Zero, c3 = TSimd.Zero;
        TVector d0 = TSimd.Zero, d1 = TSimd.Zero, d2 = TSimd.Zero, d3 = TSimd.Zero;
        nint offset = 0;
        for (nint k = 0; k < steps; k++)
        {
            TVector a0 = TSimd.Broadcast(x0[k]), a1 = TSimd.Broadcast(x1[k]);
            TVector b = TElement.Load<TSimd, TVector>(p0 + offset);
            c0 = TSimd.FusedMultiplyAdd(a0, b, c0);
            d0 = TSimd.FusedMultiplyAdd(a1, b, d0);
            b = TElement.Load<TSimd, TVector>(p0 + offset + second);
            c1 = TSimd.FusedMultiplyAdd(a0, b, c1);
            d1 = TSimd.FusedMultiplyAdd(a1, b, d1);
            b = TElement.Load<TSimd, TVector>(p1 + offset);
            c2 = TSimd.FusedMultiplyAdd(a0, b, c2);
            d2 = TSimd.FusedMultiplyAdd(a1, b, d2);
            b = TElement.Load<TSimd, TVector>(p1 + offset + second);
            c3 = TSimd.FusedMultiplyAdd(a0, b, c3);
            d3 = TSimd.FusedMultiplyAdd(a1, b, d3);
            TElement.Prefetch(p0 + offset);
            TElement.Prefetch(p1 + offset);
            offset += Width * TElement.Size;
        }
        int count = TSimd.Count;
        TSimd.Store(sums, c0);
        TSimd.Store(sums + count, c1);
        TSimd.Store(sums + 2 * count, c2);
        TSimd.Store(sums + 3 * count, c3);
        TSimd.Store(sums + 4 * count, d0);
        TSimd.Store(sums + 5 * count, d1);
        TSimd.Store(sums + 6 * count, d2);
        TSimd.Store(sums + 7 * count, d3);
    }
}
