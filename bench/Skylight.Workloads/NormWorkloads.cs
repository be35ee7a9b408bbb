using Skylight.Ops;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Normalisation and residual connections.</summary>
internal static class NormWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("rms_norm/tiny", new RmsNorm(1e-6f), [Normal(5, 20), Normal(20)], Tiny: true),
        new("rms_norm/qwen2.5-0.5b-1k", new RmsNorm(1e-6f), [Normal(1024, 896), Normal(896)], Tiny: false),
        new("layer_norm/tiny", new LayerNorm(1e-6f), [Normal(5, 20), Normal(20), Normal(20)], Tiny: true),
        new("layer_norm/internvit-300m-1k", new LayerNorm(1e-6f), [Normal(1025, 1024), Normal(1024), Normal(1024)], Tiny: false),
        new("add_rms_norm/tiny", new AddRmsNorm(1e-6f), [Normal(5, 20), Normal(5, 20), Normal(20)], Tiny: true),
        new("add_rms_norm/qwen2.5-0.5b-1k", new AddRmsNorm(1e-6f), [Normal(1024, 896), Normal(1024, 896), Normal(896)], Tiny: false),
        new("add_layer_norm/tiny", new AddLayerNorm(1e-6f), [Normal(5, 20), Normal(5, 20), Normal(20), Normal(20)], Tiny: true),
        new("add_layer_norm/internvit-300m-1k", new AddLayerNorm(1e-6f), [Normal(1025, 1024), Normal(1025, 1024), Normal(1024), Normal(1024)], Tiny: false),
        new("layer_scale/tiny", new LayerScale(), [Normal(5, 20), Normal(20)], Tiny: true),
        new("layer_scale/internvit-300m-1k", new LayerScale(), [Normal(1025, 1024), Normal(1024)], Tiny: false),
    ];
}
