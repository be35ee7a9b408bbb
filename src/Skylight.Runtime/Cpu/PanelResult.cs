using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>Where an assembled kernel writes the 32 outputs of a panel, row after row.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct PanelResult
{
    /// <summary>The next row's first output; the kernel moves it on.</summary>
    public float* Row;

    /// <summary>Bytes from a row to the next.</summary>
    public nint RowBytes;

    /// <summary>What is added to the 32 outputs last; or null.</summary>
    public float* Bias;
}
