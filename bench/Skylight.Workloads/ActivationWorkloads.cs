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
        BroadcastOf("broadcast/tiny", 3, 17, tiny: true),
        BroadcastOf("broadcast/qwen2.5-0.5b-1k", 1024, 896, tiny: false),
        ZerosOf("zeros/tiny", 3, 17, tiny: true),
        ZerosOf("zeros/qwen2.5-0.5b-1k", 1024, 896, tiny: false),
        // Of activations, to float32; and of what stays float32, to activations.
        new("cast/tiny", new Cast(DataType.Float32), [Normal(3, 17)], Tiny: true),
        new("cast/tiny-parameter", new Cast(DataType.Float32), [Weight(DataType.BFloat16, 33, 9)], Tiny: true),
        ToActivations("cast/tiny-to-activations", tiny: true, 3, 17),
        new("cast/qwen2.5-0.5b-1k", new Cast(DataType.Float32), [Normal(1024, 896)], Tiny: false),
        ToActivations("cast/internvit-300m-pixels", tiny: false, 2, 3, 448, 448),
        new("silu/tiny", new Silu(), [Normal(3, 17)], Tiny: true),
        new("silu/qwen2.5-0.5b-1k", new Silu(), [Normal(1024, 4864)], Tiny: false),
        new("gelu/tiny", new Gelu(), [Normal(3, 17)], Tiny: true),
        new("gelu/internvit-300m-1k", new Gelu(), [Normal(1025, 4096)], Tiny: false),
        new("swiglu/tiny", new SwiGlu(), [Normal(3, 34)], Tiny: true),
        new("swiglu/qwen2.5-0.5b-1k", new SwiGlu(), [Normal(1024, 2 * 4864)], Tiny: false),
        // More than one block of threads, with and without an incomplete end; nothing.
        .. Maps("blocks", 3, 2052),
        .. Maps("odd-blocks", 3, 2731),
        .. Maps("nothing", 0, 8),
        new("split_columns/tiny", new SplitColumns(3, 9, 5), [Normal(4, 17)], Tiny: true),
        new("split_columns/tiny-wide", new SplitColumns(8, 16, 8), [Normal(3, 32)], Tiny: true),
        new("split_columns/qwen2.5-0.5b-1k", new SplitColumns(896, 128, 128), [Normal(1024, 1152)], Tiny: false),
        new("concatenate_columns/tiny", new ConcatenateColumns(), [Normal(4, 3), Normal(4, 9), Normal(4, 5)], Tiny: true),
        new("concatenate_columns/qwen2.5-0.5b-1k", new ConcatenateColumns(),
            [Normal(1024, 896), Normal(1024, 128), Normal(1024, 128)], Tiny: false),
        Permuted("permute_columns/tiny", 4, 17, tiny: true),
        Permuted("permute_columns/tiny-wide", 3, 40, tiny: true),
        Permuted("permute_columns/blocks", 5, 1032, tiny: false),
        Permuted("permute_columns/nothing", 0, 8, tiny: false),
        Permuted("permute_columns/qwen2.5-0.5b-1k", 1024, 896, tiny: false),
    ];

    /// <summary>All columns, in an order that a seed makes.</summary>
    private static Workload Permuted(string name, int rows, int columns, bool tiny)
    {
        var order = new Operand(TensorType.Int32(columns), seed =>
        {
            int[] places = [.. Enumerable.Range(0, columns)];
            new Random(seed).Shuffle(places);
            return places;
        });
        return new(name, new PermuteColumns(), [Normal(rows, columns), order], tiny);
    }

    private static Workload[] Maps(string name, int rows, int columns) =>
    [
        new($"add/{name}", new Add(), [Normal(rows, columns), Normal(rows, columns)], Tiny: false),
        new($"multiply/{name}", new Multiply(), [Normal(rows, columns), Normal(rows, columns)], Tiny: false),
        new($"scale/{name}", new Scale(-1.5f), [Normal(rows, columns)], Tiny: false),
        new($"sum/{name}", new Sum(), [Normal(rows, columns)], Tiny: false),
        new($"silu/{name}", new Silu(), [Normal(3, rows, columns)], Tiny: false),
        new($"gelu/{name}", new Gelu(), [Normal(3, rows, columns)], Tiny: false),
        new($"swiglu/{name}", new SwiGlu(), [Normal(rows, 2 * columns)], Tiny: false),
        new($"cast/{name}", new Cast(DataType.Float32), [Normal(rows, columns)], Tiny: false),
        ToActivations($"cast/{name}-to-activations", tiny: false, rows, columns),
        BroadcastOf($"broadcast/{name}", rows, columns, tiny: false),
    ];

    private static Workload BroadcastOf(string name, int rows, int columns, bool tiny) =>
        new(name, new Broadcast(new Shape(rows, columns)), [Normal(1)],
            tiny)
        { OpFor = type => new Broadcast(new Shape(rows, columns), type) };

    private static Workload ZerosOf(string name, int rows, int columns, bool tiny) =>
        new(name, new Zeros(TensorType.Float32(rows, columns)), [],
            tiny)
        { OpFor = type => new Zeros(new TensorType(type, new Shape(rows, columns))) };

    private static Workload ToActivations(string name, bool tiny, params int[] shape) =>
        new(name, new Cast(DataType.Float32), [Normal(shape) with { KeepsType = true }],
            tiny)
        { OpFor = type => new Cast(type) };
}
