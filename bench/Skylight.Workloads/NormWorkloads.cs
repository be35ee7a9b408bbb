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
        new("layer_norm/internvit-300m-1k", new LayerNorm(1e-6f), [Normal(1025, 1024), Normal(1024), Normal(1024)],
            Tiny: false),
        new("add_rms_norm/tiny", new AddRmsNorm(1e-6f), [Normal(5, 20), Normal(5, 20), Normal(20)], Tiny: true),
        new("add_rms_norm/qwen2.5-0.5b-1k", new AddRmsNorm(1e-6f), [Normal(1024, 896), Normal(1024, 896), Normal(896)],
            Tiny: false),
        new("add_layer_norm/tiny", new AddLayerNorm(1e-6f), [Normal(5, 20), Normal(5, 20), Normal(20), Normal(20)],
            Tiny: true),
        new("add_layer_norm/internvit-300m-1k", new AddLayerNorm(1e-6f),
            [Normal(1025, 1024), Normal(1025, 1024), Normal(1024), Normal(1024)], Tiny: false),
        new("layer_scale/tiny", new LayerScale(), [Normal(5, 20), Normal(20)], Tiny: true),
        new("layer_scale/internvit-300m-1k", new LayerScale(), [Normal(1025, 1024), Normal(1024)], Tiny: false),
        // Rows that GPUs treat in different ways: several elements to an access, a block for a row, too wide for
        // registers, several blocks of rows, none.
        .. Norms("packs", 7, 24),
        .. Norms("block", 3, 2056),
        .. Norms("odd-block", 3, 4095),
        .. Norms("wide", 2, 33000),
        .. Norms("odd-wide", 2, 4099),
        .. Norms("row-blocks", 70, 16),
        .. Norms("no-rows", 0, 24),
    ];

    private static Workload[] Norms(string name, int rows, int columns) =>
    [
        new($"rms_norm/{name}", new RmsNorm(1e-6f), [Normal(rows, columns), Normal(columns)], Tiny: false),
        new($"layer_norm/{name}", new LayerNorm(1e-6f), [Normal(rows, columns), Normal(columns), Normal(columns)],
            Tiny: false),
        new($"add_rms_norm/{name}", new AddRmsNorm(1e-6f),
            [Normal(rows, columns), Normal(rows, columns), Normal(columns)], Tiny: false),
        new($"add_layer_norm/{name}", new AddLayerNorm(1e-6f),
            [Normal(rows, columns), Normal(rows, columns), Normal(columns), Normal(columns)], Tiny: false),
        new($"layer_scale/{name}", new LayerScale(), [Normal(rows, columns), Normal(columns)], Tiny: false),
        new($"column_sum/{name}", new ColumnSum(), [Normal(rows, columns)], Tiny: false),
    ];
}
