using System.Collections.Concurrent;
using Skylight.Tensors;

namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels for codes that are no integers, each made when it is first asked for.</summary>
internal static unsafe class FloatCodeKernels
{
    private static readonly ConcurrentDictionary<(CodeType Codes, int Rows, int Panels), nint> Kernels = new();

    /// <summary>Whether they run here: those of 8 bits need tables of 128 bytes in registers (AVX512_VBMI).</summary>
    public static bool AreAvailable(CodeType codes) =>
        BFloat16Kernels.AreAvailable && (codes != CodeType.Float8E4M3 || ProcessorFeatures.HasVbmi);

    /// <inheritdoc cref="FloatCodeTile.Rows"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, nint, void> Rows(
        CodeType codes, int rows, int panels) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, nint, void>)Kernels.GetOrAdd((codes, rows, panels),
            static key => FloatCodeTile.Rows(key.Codes, key.Rows, key.Panels));

    /// <inheritdoc cref="FloatCodeMatrices.Rows"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void> RowsByMatrices(CodeType codes, int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void>)Kernels.GetOrAdd((codes, rows, 0),
            static key => FloatCodeMatrices.Rows(key.Codes, key.Rows));

    /// <inheritdoc cref="FloatCodeTile.Expand"/>
    public static delegate* unmanaged<void*, void*, nint, void> Expand(CodeType codes) =>
        (delegate* unmanaged<void*, void*, nint, void>)Kernels.GetOrAdd((codes, 0, 0),
            static key => FloatCodeTile.Expand(key.Codes));
}
