using System.Runtime.CompilerServices;

namespace Skylight.Cpu;

// The tiles of few rows: tails, short inputs, and all rows on machines with 16 vector registers.
internal static unsafe partial class MicroKernel
{
    /// <summary>6 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows6<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        byte* a3 = a0 + 3 * aRow;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero;
        TVector c30 = TSimd.Zero, c31 = TSimd.Zero;
        TVector c40 = TSimd.Zero, c41 = TSimd.Zero;
        TVector c50 = TSimd.Zero, c51 = TSimd.Zero;
        float* c = tile.C;
        nint ldc = tile.CRowFloats;
        if (tile.Accumulate)
        {
            c00 = TSimd.Load(c); c01 = TSimd.Load(c + TSimd.Count);
            c10 = TSimd.Load(c + ldc); c11 = TSimd.Load(c + ldc + TSimd.Count);
            c20 = TSimd.Load(c + 2 * ldc); c21 = TSimd.Load(c + 2 * ldc + TSimd.Count);
            c30 = TSimd.Load(c + 3 * ldc); c31 = TSimd.Load(c + 3 * ldc + TSimd.Count);
            c40 = TSimd.Load(c + 4 * ldc); c41 = TSimd.Load(c + 4 * ldc + TSimd.Count);
            c50 = TSimd.Load(c + 5 * ldc); c51 = TSimd.Load(c + 5 * ldc + TSimd.Count);
        }
        for (nint k = tile.Steps; k > 0; k--)
        {
            TVector b0 = TElement.Load<TSimd, TVector>(b),
                b1 = TElement.Load<TSimd, TVector>(b + TSimd.Count * TElement.Size);
            TVector x = TSimd.Broadcast(*(float*)a0);
            c00 = TSimd.FusedMultiplyAdd(x, b0, c00);
            c01 = TSimd.FusedMultiplyAdd(x, b1, c01);
            x = TSimd.Broadcast(*(float*)(a0 + aRow));
            c10 = TSimd.FusedMultiplyAdd(x, b0, c10);
            c11 = TSimd.FusedMultiplyAdd(x, b1, c11);
            x = TSimd.Broadcast(*(float*)(a0 + 2 * aRow));
            c20 = TSimd.FusedMultiplyAdd(x, b0, c20);
            c21 = TSimd.FusedMultiplyAdd(x, b1, c21);
            x = TSimd.Broadcast(*(float*)a3);
            c30 = TSimd.FusedMultiplyAdd(x, b0, c30);
            c31 = TSimd.FusedMultiplyAdd(x, b1, c31);
            x = TSimd.Broadcast(*(float*)(a3 + aRow));
            c40 = TSimd.FusedMultiplyAdd(x, b0, c40);
            c41 = TSimd.FusedMultiplyAdd(x, b1, c41);
            x = TSimd.Broadcast(*(float*)(a3 + 2 * aRow));
            c50 = TSimd.FusedMultiplyAdd(x, b0, c50);
            c51 = TSimd.FusedMultiplyAdd(x, b1, c51);
            a0 += aStep;
            a3 += aStep;
            TElement.Prefetch(b);
            b += bStep;
        }
        if (tile.Bias != null)
        {
            TVector b0 = TSimd.Load(tile.Bias), b1 = TSimd.Load(tile.Bias + TSimd.Count);
            c00 = TSimd.Add(c00, b0); c01 = TSimd.Add(c01, b1);
            c10 = TSimd.Add(c10, b0); c11 = TSimd.Add(c11, b1);
            c20 = TSimd.Add(c20, b0); c21 = TSimd.Add(c21, b1);
            c30 = TSimd.Add(c30, b0); c31 = TSimd.Add(c31, b1);
            c40 = TSimd.Add(c40, b0); c41 = TSimd.Add(c41, b1);
            c50 = TSimd.Add(c50, b0); c51 = TSimd.Add(c51, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
        TSimd.Store(c + 2 * ldc, c20); TSimd.Store(c + 2 * ldc + TSimd.Count, c21);
        TSimd.Store(c + 3 * ldc, c30); TSimd.Store(c + 3 * ldc + TSimd.Count, c31);
        TSimd.Store(c + 4 * ldc, c40); TSimd.Store(c + 4 * ldc + TSimd.Count, c41);
        TSimd.Store(c + 5 * ldc, c50); TSimd.Store(c + 5 * ldc + TSimd.Count, c51);
    }

    /// <summary>4 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows4<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        byte* a3 = a0 + 3 * aRow;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero;
        TVector c30 = TSimd.Zero, c31 = TSimd.Zero;
        float* c = tile.C;
        nint ldc = tile.CRowFloats;
        if (tile.Accumulate)
        {
            c00 = TSimd.Load(c); c01 = TSimd.Load(c + TSimd.Count);
            c10 = TSimd.Load(c + ldc); c11 = TSimd.Load(c + ldc + TSimd.Count);
            c20 = TSimd.Load(c + 2 * ldc); c21 = TSimd.Load(c + 2 * ldc + TSimd.Count);
            c30 = TSimd.Load(c + 3 * ldc); c31 = TSimd.Load(c + 3 * ldc + TSimd.Count);
        }
        for (nint k = tile.Steps; k > 0; k--)
        {
            TVector b0 = TElement.Load<TSimd, TVector>(b),
                b1 = TElement.Load<TSimd, TVector>(b + TSimd.Count * TElement.Size);
            TVector x = TSimd.Broadcast(*(float*)a0);
            c00 = TSimd.FusedMultiplyAdd(x, b0, c00);
            c01 = TSimd.FusedMultiplyAdd(x, b1, c01);
            x = TSimd.Broadcast(*(float*)(a0 + aRow));
            c10 = TSimd.FusedMultiplyAdd(x, b0, c10);
            c11 = TSimd.FusedMultiplyAdd(x, b1, c11);
            x = TSimd.Broadcast(*(float*)(a0 + 2 * aRow));
            c20 = TSimd.FusedMultiplyAdd(x, b0, c20);
            c21 = TSimd.FusedMultiplyAdd(x, b1, c21);
            x = TSimd.Broadcast(*(float*)a3);
            c30 = TSimd.FusedMultiplyAdd(x, b0, c30);
            c31 = TSimd.FusedMultiplyAdd(x, b1, c31);
            a0 += aStep;
            a3 += aStep;
            TElement.Prefetch(b);
            b += bStep;
        }
        if (tile.Bias != null)
        {
            TVector b0 = TSimd.Load(tile.Bias), b1 = TSimd.Load(tile.Bias + TSimd.Count);
            c00 = TSimd.Add(c00, b0); c01 = TSimd.Add(c01, b1);
            c10 = TSimd.Add(c10, b0); c11 = TSimd.Add(c11, b1);
            c20 = TSimd.Add(c20, b0); c21 = TSimd.Add(c21, b1);
            c30 = TSimd.Add(c30, b0); c31 = TSimd.Add(c31, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
        TSimd.Store(c + 2 * ldc, c20); TSimd.Store(c + 2 * ldc + TSimd.Count, c21);
        TSimd.Store(c + 3 * ldc, c30); TSimd.Store(c + 3 * ldc + TSimd.Count, c31);
    }

    /// <summary>3 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows3<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero;
        float* c = tile.C;
        nint ldc = tile.CRowFloats;
        if (tile.Accumulate)
        {
            c00 = TSimd.Load(c); c01 = TSimd.Load(c + TSimd.Count);
            c10 = TSimd.Load(c + ldc); c11 = TSimd.Load(c + ldc + TSimd.Count);
            c20 = TSimd.Load(c + 2 * ldc); c21 = TSimd.Load(c + 2 * ldc + TSimd.Count);
        }
        for (nint k = tile.Steps; k > 0; k--)
        {
            TVector b0 = TElement.Load<TSimd, TVector>(b),
                b1 = TElement.Load<TSimd, TVector>(b + TSimd.Count * TElement.Size);
            TVector x = TSimd.Broadcast(*(float*)a0);
            c00 = TSimd.FusedMultiplyAdd(x, b0, c00);
            c01 = TSimd.FusedMultiplyAdd(x, b1, c01);
            x = TSimd.Broadcast(*(float*)(a0 + aRow));
            c10 = TSimd.FusedMultiplyAdd(x, b0, c10);
            c11 = TSimd.FusedMultiplyAdd(x, b1, c11);
            x = TSimd.Broadcast(*(float*)(a0 + 2 * aRow));
            c20 = TSimd.FusedMultiplyAdd(x, b0, c20);
            c21 = TSimd.FusedMultiplyAdd(x, b1, c21);
            a0 += aStep;
            TElement.Prefetch(b);
            b += bStep;
        }
        if (tile.Bias != null)
        {
            TVector b0 = TSimd.Load(tile.Bias), b1 = TSimd.Load(tile.Bias + TSimd.Count);
            c00 = TSimd.Add(c00, b0); c01 = TSimd.Add(c01, b1);
            c10 = TSimd.Add(c10, b0); c11 = TSimd.Add(c11, b1);
            c20 = TSimd.Add(c20, b0); c21 = TSimd.Add(c21, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
        TSimd.Store(c + 2 * ldc, c20); TSimd.Store(c + 2 * ldc + TSimd.Count, c21);
    }

    /// <summary>2 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows2<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        float* c = tile.C;
        nint ldc = tile.CRowFloats;
        if (tile.Accumulate)
        {
            c00 = TSimd.Load(c); c01 = TSimd.Load(c + TSimd.Count);
            c10 = TSimd.Load(c + ldc); c11 = TSimd.Load(c + ldc + TSimd.Count);
        }
        for (nint k = tile.Steps; k > 0; k--)
        {
            TVector b0 = TElement.Load<TSimd, TVector>(b),
                b1 = TElement.Load<TSimd, TVector>(b + TSimd.Count * TElement.Size);
            TVector x = TSimd.Broadcast(*(float*)a0);
            c00 = TSimd.FusedMultiplyAdd(x, b0, c00);
            c01 = TSimd.FusedMultiplyAdd(x, b1, c01);
            x = TSimd.Broadcast(*(float*)(a0 + aRow));
            c10 = TSimd.FusedMultiplyAdd(x, b0, c10);
            c11 = TSimd.FusedMultiplyAdd(x, b1, c11);
            a0 += aStep;
            TElement.Prefetch(b);
            b += bStep;
        }
        if (tile.Bias != null)
        {
            TVector b0 = TSimd.Load(tile.Bias), b1 = TSimd.Load(tile.Bias + TSimd.Count);
            c00 = TSimd.Add(c00, b0); c01 = TSimd.Add(c01, b1);
            c10 = TSimd.Add(c10, b0); c11 = TSimd.Add(c11, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
    }

    /// <summary>1 row × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows1<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        float* c = tile.C;
        nint ldc = tile.CRowFloats;
        if (tile.Accumulate)
        {
            c00 = TSimd.Load(c); c01 = TSimd.Load(c + TSimd.Count);
        }
        for (nint k = tile.Steps; k > 0; k--)
        {
            TVector b0 = TElement.Load<TSimd, TVector>(b),
                b1 = TElement.Load<TSimd, TVector>(b + TSimd.Count * TElement.Size);
            TVector x = TSimd.Broadcast(*(float*)a0);
            c00 = TSimd.FusedMultiplyAdd(x, b0, c00);
            c01 = TSimd.FusedMultiplyAdd(x, b1, c01);
            a0 += aStep;
            TElement.Prefetch(b);
            b += bStep;
        }
        if (tile.Bias != null)
        {
            TVector b0 = TSimd.Load(tile.Bias), b1 = TSimd.Load(tile.Bias + TSimd.Count);
            c00 = TSimd.Add(c00, b0); c01 = TSimd.Add(c01, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
    }
}
