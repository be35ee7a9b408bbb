using System.Runtime.CompilerServices;

namespace Skylight.Cpu;

/// <summary>
/// The register tiles of every matrix product: R rows × 2 vectors of columns, one fused multiply-add chain per
/// element with the steps ascending, so that an element's bits depend on nothing but its own row and column.
/// </summary>
/// <remarks>
/// The accumulators are locals because only those stay in registers; hence one method per row count. With
/// 512-bit vectors, 12 rows use 24 accumulators, two vectors of b and one broadcast of the 32 registers.
/// Optimised at once, because the first, unoptimised compilation of vector code is slower by orders of magnitude.
/// </remarks>
internal static unsafe partial class MicroKernel
{
    /// <summary>12 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows12<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        byte* a3 = a0 + 3 * aRow;
        byte* a6 = a3 + 3 * aRow;
        byte* a9 = a6 + 3 * aRow;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero;
        TVector c30 = TSimd.Zero, c31 = TSimd.Zero;
        TVector c40 = TSimd.Zero, c41 = TSimd.Zero;
        TVector c50 = TSimd.Zero, c51 = TSimd.Zero;
        TVector c60 = TSimd.Zero, c61 = TSimd.Zero;
        TVector c70 = TSimd.Zero, c71 = TSimd.Zero;
        TVector c80 = TSimd.Zero, c81 = TSimd.Zero;
        TVector c90 = TSimd.Zero, c91 = TSimd.Zero;
        TVector c100 = TSimd.Zero, c101 = TSimd.Zero;
        TVector c110 = TSimd.Zero, c111 = TSimd.Zero;
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
            c60 = TSimd.Load(c + 6 * ldc); c61 = TSimd.Load(c + 6 * ldc + TSimd.Count);
            c70 = TSimd.Load(c + 7 * ldc); c71 = TSimd.Load(c + 7 * ldc + TSimd.Count);
            c80 = TSimd.Load(c + 8 * ldc); c81 = TSimd.Load(c + 8 * ldc + TSimd.Count);
            c90 = TSimd.Load(c + 9 * ldc); c91 = TSimd.Load(c + 9 * ldc + TSimd.Count);
            c100 = TSimd.Load(c + 10 * ldc); c101 = TSimd.Load(c + 10 * ldc + TSimd.Count);
            c110 = TSimd.Load(c + 11 * ldc); c111 = TSimd.Load(c + 11 * ldc + TSimd.Count);
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
            x = TSimd.Broadcast(*(float*)a6);
            c60 = TSimd.FusedMultiplyAdd(x, b0, c60);
            c61 = TSimd.FusedMultiplyAdd(x, b1, c61);
            x = TSimd.Broadcast(*(float*)(a6 + aRow));
            c70 = TSimd.FusedMultiplyAdd(x, b0, c70);
            c71 = TSimd.FusedMultiplyAdd(x, b1, c71);
            x = TSimd.Broadcast(*(float*)(a6 + 2 * aRow));
            c80 = TSimd.FusedMultiplyAdd(x, b0, c80);
            c81 = TSimd.FusedMultiplyAdd(x, b1, c81);
            x = TSimd.Broadcast(*(float*)a9);
            c90 = TSimd.FusedMultiplyAdd(x, b0, c90);
            c91 = TSimd.FusedMultiplyAdd(x, b1, c91);
            x = TSimd.Broadcast(*(float*)(a9 + aRow));
            c100 = TSimd.FusedMultiplyAdd(x, b0, c100);
            c101 = TSimd.FusedMultiplyAdd(x, b1, c101);
            x = TSimd.Broadcast(*(float*)(a9 + 2 * aRow));
            c110 = TSimd.FusedMultiplyAdd(x, b0, c110);
            c111 = TSimd.FusedMultiplyAdd(x, b1, c111);
            a0 += aStep;
            a3 += aStep;
            a6 += aStep;
            a9 += aStep;
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
            c60 = TSimd.Add(c60, b0); c61 = TSimd.Add(c61, b1);
            c70 = TSimd.Add(c70, b0); c71 = TSimd.Add(c71, b1);
            c80 = TSimd.Add(c80, b0); c81 = TSimd.Add(c81, b1);
            c90 = TSimd.Add(c90, b0); c91 = TSimd.Add(c91, b1);
            c100 = TSimd.Add(c100, b0); c101 = TSimd.Add(c101, b1);
            c110 = TSimd.Add(c110, b0); c111 = TSimd.Add(c111, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
        TSimd.Store(c + 2 * ldc, c20); TSimd.Store(c + 2 * ldc + TSimd.Count, c21);
        TSimd.Store(c + 3 * ldc, c30); TSimd.Store(c + 3 * ldc + TSimd.Count, c31);
        TSimd.Store(c + 4 * ldc, c40); TSimd.Store(c + 4 * ldc + TSimd.Count, c41);
        TSimd.Store(c + 5 * ldc, c50); TSimd.Store(c + 5 * ldc + TSimd.Count, c51);
        TSimd.Store(c + 6 * ldc, c60); TSimd.Store(c + 6 * ldc + TSimd.Count, c61);
        TSimd.Store(c + 7 * ldc, c70); TSimd.Store(c + 7 * ldc + TSimd.Count, c71);
        TSimd.Store(c + 8 * ldc, c80); TSimd.Store(c + 8 * ldc + TSimd.Count, c81);
        TSimd.Store(c + 9 * ldc, c90); TSimd.Store(c + 9 * ldc + TSimd.Count, c91);
        TSimd.Store(c + 10 * ldc, c100); TSimd.Store(c + 10 * ldc + TSimd.Count, c101);
        TSimd.Store(c + 11 * ldc, c110); TSimd.Store(c + 11 * ldc + TSimd.Count, c111);
    }

    /// <summary>8 rows × 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows8<TSimd, TVector, TElement>(in TileArguments tile)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        byte* a0 = tile.A, b = tile.B;
        nint aRow = tile.ARowBytes, aStep = tile.AStepBytes, bStep = tile.BStepBytes;
        byte* a3 = a0 + 3 * aRow;
        byte* a6 = a3 + 3 * aRow;
        TVector c00 = TSimd.Zero, c01 = TSimd.Zero;
        TVector c10 = TSimd.Zero, c11 = TSimd.Zero;
        TVector c20 = TSimd.Zero, c21 = TSimd.Zero;
        TVector c30 = TSimd.Zero, c31 = TSimd.Zero;
        TVector c40 = TSimd.Zero, c41 = TSimd.Zero;
        TVector c50 = TSimd.Zero, c51 = TSimd.Zero;
        TVector c60 = TSimd.Zero, c61 = TSimd.Zero;
        TVector c70 = TSimd.Zero, c71 = TSimd.Zero;
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
            c60 = TSimd.Load(c + 6 * ldc); c61 = TSimd.Load(c + 6 * ldc + TSimd.Count);
            c70 = TSimd.Load(c + 7 * ldc); c71 = TSimd.Load(c + 7 * ldc + TSimd.Count);
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
            x = TSimd.Broadcast(*(float*)a6);
            c60 = TSimd.FusedMultiplyAdd(x, b0, c60);
            c61 = TSimd.FusedMultiplyAdd(x, b1, c61);
            x = TSimd.Broadcast(*(float*)(a6 + aRow));
            c70 = TSimd.FusedMultiplyAdd(x, b0, c70);
            c71 = TSimd.FusedMultiplyAdd(x, b1, c71);
            a0 += aStep;
            a3 += aStep;
            a6 += aStep;
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
            c60 = TSimd.Add(c60, b0); c61 = TSimd.Add(c61, b1);
            c70 = TSimd.Add(c70, b0); c71 = TSimd.Add(c71, b1);
        }
        TSimd.Store(c, c00); TSimd.Store(c + TSimd.Count, c01);
        TSimd.Store(c + ldc, c10); TSimd.Store(c + ldc + TSimd.Count, c11);
        TSimd.Store(c + 2 * ldc, c20); TSimd.Store(c + 2 * ldc + TSimd.Count, c21);
        TSimd.Store(c + 3 * ldc, c30); TSimd.Store(c + 3 * ldc + TSimd.Count, c31);
        TSimd.Store(c + 4 * ldc, c40); TSimd.Store(c + 4 * ldc + TSimd.Count, c41);
        TSimd.Store(c + 5 * ldc, c50); TSimd.Store(c + 5 * ldc + TSimd.Count, c51);
        TSimd.Store(c + 6 * ldc, c60); TSimd.Store(c + 6 * ldc + TSimd.Count, c61);
        TSimd.Store(c + 7 * ldc, c70); TSimd.Store(c + 7 * ldc + TSimd.Count, c71);
    }
}
