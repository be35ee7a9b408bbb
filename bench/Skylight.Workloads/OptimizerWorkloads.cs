using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>The optimizer step and what surrounds it.</summary>
internal static class OptimizerWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("adamw/tiny", new AdamW(0.9f, 0.95f, 1e-8f), AdamW(DataType.Float32, 5, 20), Tiny: true),
        new("adamw/tiny-bf16", new AdamW(0.9f, 0.95f, 1e-8f, HasMaster: true), AdamW(DataType.BFloat16, 5, 20), Tiny: true),
        new("adamw/qwen2.5-0.5b-mlp", new AdamW(0.9f, 0.95f, 1e-8f), AdamW(DataType.Float32, 4864, 896), Tiny: false),
        new("adamw/qwen2.5-0.5b-mlp-bf16", new AdamW(0.9f, 0.95f, 1e-8f, HasMaster: true),
            AdamW(DataType.BFloat16, 4864, 896), Tiny: false),
        // More than one block of threads and an incomplete end; a gradient that is not finite.
        new("adamw/odd-blocks", new AdamW(0.9f, 0.999f, 1e-8f), AdamW(DataType.Float32, 43, 27), Tiny: false),
        new("adamw/odd-blocks-bf16", new AdamW(0.9f, 0.999f, 1e-8f, HasMaster: true), AdamW(DataType.BFloat16, 43, 27),
            Tiny: false),
        new("adamw/not-finite", new AdamW(0.9f, 0.95f, 1e-8f), AdamW(DataType.Float32, 5, 20, float.NaN), Tiny: false),
        new("gradient_norm/many", new GradientNorm(1),
            [.. new[] { 3, 16384, 0, 40001, 1, 16383, 7, 64, 12, 0, 20000 }.Select(count => Fixed(count))], Tiny: false),
        new("gradient_norm/not-finite", new GradientNorm(1), [Fixed(5), Constant(1, float.PositiveInfinity, 2)],
            Tiny: false),
        new("gradient_norm/large", new GradientNorm(0), [Constant(1e30f, -2e30f, 3)], Tiny: false),
        new("gradient_norm/nothing", new GradientNorm(1), [Fixed(0)], Tiny: false),
        new("accumulate/odd-blocks-bf16", new Accumulate(),
            [State(43, 61), State(43, 61) with { Type = new TensorType(DataType.BFloat16, new Shape(43, 61)) }],
            Tiny: false),
        new("gradient_norm/tiny", new GradientNorm(1), [Fixed(5, 20), Fixed(7)], Tiny: true),
        new("gradient_norm/qwen2.5-0.5b-mlp", new GradientNorm(1), [Fixed(4864, 896), Fixed(896), Fixed(896, 4864)],
            Tiny: false),
        new("accumulate/tiny", new Accumulate(), [State(5, 20), Fixed(5, 20)], Tiny: true),
        new("accumulate/tiny-bf16", new Accumulate(),
            [State(5, 20), State(5, 20) with { Type = new TensorType(DataType.BFloat16, new Shape(5, 20)) }], Tiny: true),
        new("accumulate/qwen2.5-0.5b-mlp", new Accumulate(), [State(4864, 896), Fixed(4864, 896)], Tiny: false),
        new("clear/tiny", new Clear(), [State(5, 20)], Tiny: true),
        new("clear/qwen2.5-0.5b-mlp", new Clear(), [State(4864, 896)], Tiny: false),
    ];

    private static Operand Fixed(params int[] shape) => Normal(shape) with { Differentiable = false };

    private static Operand State(params int[] shape) => Normal(shape) with { Differentiable = false, Persistent = true };

    private static Operand[] AdamW(DataType dataType, int outputs, int inputs, float gradientScale = 1)
    {
        Operand weight = Weight(dataType, outputs, inputs) with { Differentiable = false };
        Operand state = Weight(DataType.Float32, outputs, inputs) with { Differentiable = false };
        Operand second = state with { Fill = seed => Array.ConvertAll((float[])state.Fill(seed), value => value * value) };
        Operand[] operands = [weight, state with { Persistent = false }, state, second,
            Constant(1e-3f, 0.1f, 0.1f, 0.05f), Constant(gradientScale)];
        return dataType == DataType.Float32 ? operands : [.. operands, state];
    }
}
