using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>
/// A block of steps of a panel, as an assembled kernel takes it: what its 32 outputs' sums come from, and where they go.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct PanelPart
{
    /// <summary>Where kernels find the fields.</summary>
    public const int IsFirstAt = 0, RowAt = 8, RowBytesAt = 16, BiasAt = 24, AheadAt = 32, AheadLinesAt = 40;

    /// <summary>Not zero where sums begin here.</summary>
    public nint IsFirst;

    /// <summary>The next row's first output, which kernels move on; null where more blocks follow, or a panel is not whole.
    /// </summary>
    public float* Row;

    /// <summary>Bytes from a row to the next.</summary>
    public nint RowBytes;

    /// <summary>What is added to the 32 outputs last; or null.</summary>
    public float* Bias;

    /// <summary>What is read after this block: each tile asks for some of it, and moves it on.</summary>
    public byte* Ahead;

    /// <summary>Lines of 64 bytes that a tile asks for.</summary>
    public nint AheadLines;

    /// <summary>Shares out among tiles what is to be asked for.</summary>
    public void AskFor(byte* next, nint bytes, int tiles)
    {
        const int LineBytes = 64;
        Ahead = next;
        AheadLines = ((bytes + LineBytes - 1) / LineBytes + tiles - 1) / tiles;
    }
}
