namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels of attention over pages of bytes, each made when it is first asked for.</summary>
internal static unsafe class Int8Kernels
{
    private static readonly Lazy<nint> s_expand = new(Int8Packing.Expand), s_weights = new(Int8Packing.Weights);

    private static readonly Lazy<nint>[] s_scores = ByRows(Int8Matrices.Scores),
        s_values = ByRows(Int8Matrices.Values);

    /// <inheritdoc cref="Int8Packing.Expand"/>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void> Expand =>
        (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void>)s_expand.Value;

    /// <inheritdoc cref="Int8Packing.Weights"/>
    public static delegate* unmanaged[SuppressGCTransition]<float*, float*, void*, nint, nint, void> Weights =>
        (delegate* unmanaged[SuppressGCTransition]<float*, float*, void*, nint, nint, void>)s_weights.Value;

    /// <inheritdoc cref="Int8Matrices.Scores"/>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, float*, void*, void> Scores(int rows) =>
        (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, float*, void*, void>)s_scores[rows].Value;

    /// <inheritdoc cref="Int8Matrices.Values"/>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void*, void> Values(int rows) =>
        (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void*, void>)s_values[rows].Value;

    private static Lazy<nint>[] ByRows(Func<int, nint> make) =>
        [.. Enumerable.Range(0, Int8Matrices.MaxRows + 1).Select(rows => new Lazy<nint>(() => make(rows)))];
}
