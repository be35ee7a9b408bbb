using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Element-wise ops, gated activation and the cutting and joining of columns.</summary>
internal static class ActivationWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("add/tiny", new Add(), [Normal(3, 17), Normal(3, 17)], Tiny: true),
        new("add/qwen2.5-0.5b-1k", new Add(), [Normal(1024, 896), Normal(1024, 896)], Tiny: false),
        new("multiply/tiny", new Multiply(), [Normal(3, 17), Normal(3, 17)], Tiny: true),
        new("multiply/qwen2.5-0.5b-1k", new Multiply(), [Normal(1024, 4864), Normal(1024, 4864)], Tiny: false),
        new("scale/tiny", new Scale(-1.5f), [Normal(3, 17)], Tiny: true),
        new("scale/qwen2.5-0.5b-1k", new Scale(0.5f), [Normal(1024, 896)], Tiny: false),
        new("sum/tiny", new Sum(), [Normal(3, 17)], Tiny: true),
        new("sum/qwen2.5-0.5b-1k", new Sum(), [Normal(1024, 896)], Tiny: false),
        new("broadcast/tiny", new Broadcast(new Shape(3, 17)), [Normal(1)], Tiny: true),
        new("broadcast/qwen2.5-0.5b-1k", new Broadcast(new Shape(1024, 896)), [Normal(1)], Tiny: false),
        new("zeros/tiny", new Zeros(TensorType.Float32(3, 17)), [], Tiny: true),
        new("zeros/qwen2.5-0.5b-1k", new Zeros(TensorType.Float32(1024, 896)), [], Tiny: false),
        new("silu/tiny", new Silu(), [Normal(3, 17)], Tiny: true),
        new("silu/qwen2.5-0.5b-1k", new Silu(), [Normal(1024, 4864)], Tiny: false),
        new("gelu/tiny", new Gelu(), [Normal(3, 17)], Tiny: true),
        new("gelu/internvit-300m-1k", new Gelu(), [Normal(1025, 4096)], Tiny: false),
        new("swiglu/tiny", new SwiGlu(), [Normal(3, 34)], Tiny: true),
        new("swiglu/qwen2.5-0.5b-1k", new SwiGlu(), [Normal(1024, 2 * 4864)], Tiny: false),
        new("split_columns/tiny", new SplitColumns(3, 9, 5), [Normal(4, 17)], Tiny: true),
        new("split_columns/qwen2.5-0.5b-1k", new SplitColumns(896, 128, 128), [Normal(1024, 1152)], Tiny: false),
        new("concatenate_columns/tiny", new ConcatenateColumns(), [Normal(4, 3), Normal(4, 9), Normal(4, 5)], Tiny: true),
        new("concatenate_columns/qwen2.5-0.5b-1k", new ConcatenateColumns(), [Normal(1024, 896), Normal(1024, 128), Normal(1024, 128)], Tiny: false),
    ];
}
