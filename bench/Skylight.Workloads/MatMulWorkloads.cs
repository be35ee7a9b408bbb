using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Matrix products.</summary>
internal static class MatMulWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("matmul/tiny", new MatMul(), [Normal(5, 7), Weight(DataType.Float32, 35, 7), Normal(35)], Tiny: true),
        new("matmul/tiny-bf16", new MatMul(), [Normal(3, 9), Weight(DataType.BFloat16, 33, 9)], Tiny: true),
        new("matmul/tiny-logits", new MatMul(DataType.Float32), [Normal(3, 9), Weight(DataType.Float32, 41, 9)], Tiny: true),
        new("matmul/tiny-21-rows", new MatMul(), [Normal(21, 24), Weight(DataType.BFloat16, 40, 24), Normal(40)],
            Tiny: true),
        new("matmul/tiny-70-rows", new MatMul(), [Normal(70, 136), Weight(DataType.BFloat16, 67, 136)], Tiny: true),
        new("matmul/qwen2.5-0.5b-gate-up-1k", new MatMul(), [Normal(1024, 896), Weight(DataType.BFloat16, 9728, 896)],
            Tiny: false),
        new("matmul/qwen2.5-0.5b-gate-up-batch-32", new MatMul(), [Normal(32, 896), Weight(DataType.BFloat16, 9728, 896)],
            Tiny: false),
        new("matmul/qwen2.5-0.5b-gate-up-256", new MatMul(), [Normal(256, 896), Weight(DataType.BFloat16, 9728, 896)],
            Tiny: false),
        new("matmul/qwen2.5-0.5b-down-decode", new MatMul(), [Normal(1, 4864), Weight(DataType.BFloat16, 896, 4864)],
            Tiny: false),
        new("matmul_gelu/tiny", new MatMulActivation(ProductActivation.Gelu),
            [Normal(5, 7), Weight(DataType.Float32, 35, 7), Normal(35)], Tiny: true),
        new("matmul_gelu/rows", new MatMulActivation(ProductActivation.Gelu),
            [Normal(70, 40), Weight(DataType.BFloat16, 66, 40), Normal(66)], Tiny: false),
        new("matmul_gelu/internvit-300m-1k", new MatMulActivation(ProductActivation.Gelu),
            [Normal(1025, 1024), Weight(DataType.BFloat16, 4096, 1024), Normal(4096)], Tiny: false),
        new("matmul_swiglu/tiny", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(3, 9), Weight(DataType.BFloat16, 34, 9)], Tiny: true),
        new("matmul_swiglu/rows", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(70, 40), Weight(DataType.BFloat16, 74, 40), Normal(74)], Tiny: false),
        new("matmul_swiglu/no-rows", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(0, 8), Weight(DataType.BFloat16, 16, 8)], Tiny: false),
        new("matmul_swiglu/qwen2.5-0.5b-1k", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(1024, 896), Weight(DataType.BFloat16, 9728, 896)], Tiny: false),
        new("matmul_swiglu/qwen2.5-0.5b-decode", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(1, 896), Weight(DataType.BFloat16, 9728, 896)], Tiny: false),
        new("matmul_input_gradient/tiny", new MatMulInputGradient(), [Normal(4, 34), Weight(DataType.Float32, 34, 5)],
            Tiny: true),
        new("matmul_weight_gradient/tiny", new MatMulWeightGradient(), [Normal(19, 7), Normal(19, 18)], Tiny: true),
        new("matmul_weight_gradient/qwen2.5-0.5b-down-1k", new MatMulWeightGradient(),
            [Normal(1024, 4864), Normal(1024, 896)], Tiny: false),
        new("column_sum/qwen2.5-0.5b-1k", new ColumnSum(), [Normal(1024, 896)], Tiny: false),
        new("batched_matmul/tiny", new BatchedMatMul(), [Normal(2, 3, 4), Normal(2, 4, 5)], Tiny: true),
        new("batched_matmul/tiny-transposed-a", new BatchedMatMul(TransposeA: true), [Normal(2, 4, 3), Normal(2, 4, 5)],
            Tiny: true),
        new("batched_matmul/tiny-transposed-b", new BatchedMatMul(TransposeB: true), [Normal(2, 3, 4), Normal(2, 5, 4)],
            Tiny: true),
        new("batched_matmul/tiny-transposed-both", new BatchedMatMul(true, true), [Normal(2, 4, 3), Normal(2, 5, 4)],
            Tiny: true),
        new("batched_matmul/tiny-18-rows", new BatchedMatMul(TransposeB: true), [Normal(3, 18, 24), Normal(3, 40, 24)],
            Tiny: true),
        new("batched_matmul/16x256", new BatchedMatMul(), [Normal(16, 256, 256), Normal(16, 256, 256)], Tiny: false),
    ];
}
