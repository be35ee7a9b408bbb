using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace Skylight.Cpu;

/// <summary>What a register tile reads and writes: c[r, j] (+)= Σ_k a[r, k] · b[k, j], then + bias[j].</summary>
internal unsafe struct TileArguments
{
    /// <summary>The element (row 0, step 0) of a (float32), and the byte distances to the next row and step.</summary>
    public byte* A;

    /// <summary>Bytes from a row of a to the next.</summary>
    public nint ARowBytes;

    /// <summary>Bytes from a step of a to the next.</summary>
    public nint AStepBytes;

    /// <summary>The element (step 0, column 0) of b.</summary>
    public byte* B;

    /// <summary>Bytes from a step of b to the next.</summary>
    public nint BStepBytes;

    /// <summary>The element (row 0, column 0) of c.</summary>
    public float* C;

    /// <summary>Floats from a row of c to the next.</summary>
    public nint CRowFloats;

    /// <summary>The length of the chain.</summary>
    public nint Steps;

    /// <summary>Whether the chain starts from the old c instead of zero.</summary>
    public bool Accumulate;

    /// <summary>Added after the chain, per column; or null.</summary>
    public float* Bias;
}

internal static unsafe partial class MicroKernel
{
    /// <summary>Columns of a full tile, the width of a weight panel.</summary>
    public const int Width = WeightPanels.Width;

    /// <summary>Rows of the largest register tile; other row counts are composed.</summary>
    public static int MaxRows => HasManyRegisters ? 12 : 6;

    private static bool HasManyRegisters => Vector512.IsHardwareAccelerated || AdvSimd.IsSupported;

    /// <summary>
    /// A tile of any number of rows and exactly 32 columns: <paramref name="tile"/>'s b and c must be valid
    /// for 32 columns.
    /// </summary>
    public static void FullTile<TElement>(TileArguments tile, int rows)
        where TElement : struct, IPanelElement
    {
        if (Vector512.IsHardwareAccelerated)
            AllRows<Simd512, Vector512<float>, TElement>(ref tile, rows);
        else if (Vector256.IsHardwareAccelerated)
            AllColumns<Simd256, Vector256<float>, TElement>(tile, rows);
        else
            AllColumns<Simd128, Vector128<float>, TElement>(tile, rows);
    }

    /// <summary>The columns in steps of two vectors.</summary>
    private static void AllColumns<TSimd, TVector, TElement>(TileArguments tile, int rows)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        for (int column = 0; column < Width; column += 2 * TSimd.Count)
        {
            TileArguments part = tile;
            part.B += column * TElement.Size;
            part.C += column;
            if (part.Bias != null)
                part.Bias += column;
            AllRows<TSimd, TVector, TElement>(ref part, rows);
        }
    }

    /// <summary>The rows in the largest register tiles that fit.</summary>
    private static void AllRows<TSimd, TVector, TElement>(ref TileArguments tile, int rows)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        while (rows > 0)
        {
            int done;
            if (HasManyRegisters && rows >= 12)
            {
                Rows12<TSimd, TVector, TElement>(tile);
                done = 12;
            }
            else if (HasManyRegisters && rows >= 8)
            {
                Rows8<TSimd, TVector, TElement>(tile);
                done = 8;
            }
            else
            {
                done = FewRows<TSimd, TVector, TElement>(tile, rows);
            }
            tile.A += done * tile.ARowBytes;
            tile.C += done * tile.CRowFloats;
            rows -= done;
        }
    }

    private static int FewRows<TSimd, TVector, TElement>(in TileArguments tile, int rows)
        where TSimd : struct, ISimd<TVector>
        where TElement : struct, IPanelElement
    {
        switch (rows)
        {
            case >= 6:
                Rows6<TSimd, TVector, TElement>(tile);
                return 6;
            case >= 4:
                Rows4<TSimd, TVector, TElement>(tile);
                return 4;
            case 3:
                Rows3<TSimd, TVector, TElement>(tile);
                return 3;
            case 2:
                Rows2<TSimd, TVector, TElement>(tile);
                return 2;
            default:
                Rows1<TSimd, TVector, TElement>(tile);
                return 1;
        }
    }
}
