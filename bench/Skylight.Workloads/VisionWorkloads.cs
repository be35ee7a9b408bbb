using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>The way into a vision transformer and out of it.</summary>
internal static class VisionWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("patch_gather/tiny", new PatchGather(2, 3), [Normal(2, 3, 4, 9) with { Differentiable = false }], Tiny: true),
        new("patch_gather/tiny-wide", new PatchGather(2, 8), [Normal(1, 2, 4, 16) with { Differentiable = false }],
            Tiny: true),
        new("patch_gather/internvit-300m", new PatchGather(14, 14),
            [Normal(2, 3, 448, 448) with { Differentiable = false }], Tiny: false),
        new("add_class_token/tiny", new AddClassTokenAndPositions(), [Normal(8, 5), Normal(5), Normal(5, 5)], Tiny: true),
        new("add_class_token/tiny-wide", new AddClassTokenAndPositions(), [Normal(4, 8), Normal(8), Normal(3, 8)],
            Tiny: true),
        new("add_class_token/internvit-300m", new AddClassTokenAndPositions(),
            [Normal(2048, 1024), Normal(1024), Normal(1025, 1024)], Tiny: false),
        new("interpolate_positions/tiny-up", new InterpolatePositions(3, 2, 4, 5), [Normal(7, 3)], Tiny: true),
        new("interpolate_positions/tiny-down", new InterpolatePositions(4, 5, 2, 3), [Normal(21, 3)], Tiny: true),
        new("interpolate_positions/tiny-equal", new InterpolatePositions(2, 3, 2, 3), [Normal(7, 8)], Tiny: true),
        new("interpolate_positions/internvit-300m", new InterpolatePositions(32, 32, 24, 40), [Normal(1025, 1024)],
            Tiny: false),
        new("pixel_shuffle/tiny", new PixelShuffle(2, 4), [Normal(18, 3)], Tiny: true),
        new("pixel_shuffle/tiny-wide", new PixelShuffle(2, 2), [Normal(10, 8)], Tiny: true),
        new("pixel_shuffle/internvit-300m", new PixelShuffle(32, 32), [Normal(2050, 1024)], Tiny: false),
        new("connector/tiny", new FusedConnector(2, 4, 1e-5f),
            [Normal(18, 3), Normal(12), Normal(12), Weight(DataType.Float32, 6, 12), Normal(6),
                Weight(DataType.Float32, 6, 6), Normal(6)], Tiny: true),
        new("connector/tiny-8-wide", new FusedConnector(4, 4, 1e-5f),
            [Normal(34, 8), Normal(32), Normal(32), Weight(DataType.BFloat16, 24, 32), Normal(24),
                Weight(DataType.BFloat16, 24, 24), Normal(24)], Tiny: true),
        new("connector/internvl3-1b-1-tile", new FusedConnector(32, 32, 1e-5f),
            [Normal(1025, 1024), Normal(4096), Normal(4096), Weight(DataType.BFloat16, 896, 4096), Normal(896),
                Weight(DataType.BFloat16, 896, 896), Normal(896)], Tiny: false),
    ];
}
