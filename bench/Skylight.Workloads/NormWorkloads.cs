using Skylight.Ops;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Normalisation.</summary>
internal static class NormWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("rms_norm/tiny", new RmsNorm(1e-6f), [Normal(5, 20), Normal(20)], Tiny: true),
        new("rms_norm/qwen2.5-0.5b-1k", new RmsNorm(1e-6f), [Normal(1024, 896), Normal(896)], Tiny: false),
    ];
}
