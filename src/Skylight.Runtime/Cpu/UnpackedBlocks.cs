namespace Skylight.Cpu;

/// <summary>
/// Blocks of a panel of a quantised weight (<see cref="QuantizedLayout"/>) as products of matrices read them: of each half of the
/// 32 outputs the codes, signed bytes without a bias, in quads of inputs; then 32 scales and, if there are such, 32 zeros or
/// minimums, all float32.
/// </summary>
/// <param name="Block">Inputs of a block, 16 or 32.</param>
/// <param name="Offset">What there is beside scales: nothing, zeros, or minimums.</param>
internal readonly record struct UnpackedBlocks(int Block, BlockOffset Offset)
{
    /// <summary>Those of a layout.</summary>
    public static UnpackedBlocks Of(QuantizedLayout layout) =>
        new(layout.Block, layout.HasMinimum ? BlockOffset.Minimum : layout.Offset);

    /// <summary>The bytes of the codes of 16 outputs.</summary>
    public int HalfBytes => Block * 16;

    /// <summary>Where scales begin.</summary>
    public int ScalesAt => 2 * HalfBytes;

    /// <summary>Where zeros or minimums begin.</summary>
    public int AddedAt => ScalesAt + WeightPanels.Width * sizeof(float);

    /// <summary>The bytes of a block.</summary>
    public int BlockBytes => Offset == BlockOffset.None ? AddedAt : AddedAt + WeightPanels.Width * sizeof(float);
}
