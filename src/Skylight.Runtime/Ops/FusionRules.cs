using Skylight.Graphs;

namespace Skylight.Ops;

/// <summary>The fusion rules of the built-in ops.</summary>
public static class FusionRules
{
    /// <summary>
    /// Those of ops with a gradient, for before differentiation, in the order in which they are tried. Each is defined next to
    /// its fused op.
    /// </summary>
    public static IReadOnlyList<FusionRule> All { get; } =
    [
        new AddRmsNormFusion(),
        new AddLayerNormFusion(),
        new SwiGluFusion(),
        new QkvSplitRotaryFusion(),
        new QkvSplitNormRotaryFusion(),
        new ConnectorFusion(),
        new VocabularyHeadFusion(),
    ];

    /// <summary>
    /// Those of ops without a gradient: for after differentiation, when all readers of a value are known, so that a value
    /// which the backward pass reads stays.
    /// </summary>
    public static IReadOnlyList<FusionRule> AfterDifferentiation { get; } =
        [new QkvPagedAttentionFusion(), new MatMulActivationFusion()];
}
