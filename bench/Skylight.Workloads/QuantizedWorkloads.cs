using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>
/// Weights that stay quantised: what a block of a published form may have (codes of 4 and 8 bits, scales of 16 and 32, zeros
/// and minimums, blocks of 16, 32 and more, 8-bit floating point and NF4), each at another shape: few rows and many,
/// incomplete tiles, panels and blocks.
/// They have no gradients.
/// </summary>
internal static class QuantizedWorkloads
{
    private static readonly QuantizedFormat s_q8 = QuantizedFormat.Q8, s_q4 = QuantizedFormat.Q4,
        s_q6k = new(CodeType.Int6, 16, HasMinimum: false) { SuperBlockSize = 256 },
        s_q3k = new(CodeType.Int4, 16, HasMinimum: false) { SuperBlockSize = 256 },
        s_q4k = new(CodeType.UInt4, 32, HasMinimum: true) { SuperBlockSize = 256 },
        s_q2k = new(CodeType.UInt4, 16, HasMinimum: true) { SuperBlockSize = 256 },
        s_q5k = new(CodeType.UInt5, 32, HasMinimum: true) { SuperBlockSize = 256 },
        s_awq = new(CodeType.UInt4, 128, HasMinimum: true) { HasHalfScales = true, HasZeroPoints = true },
        s_nf4 = new(CodeType.NormalFloat4, 64, HasMinimum: false), s_fp8 = new(CodeType.Float8E4M3, 96, HasMinimum: false),
        s_fp8Output = new(CodeType.Float8E4M3, 320, HasMinimum: false),
        s_fp8Blocks = new(CodeType.Float8E4M3, 128, HasMinimum: false);

    public static IReadOnlyList<Workload> All { get; } =
    [
        new("matmul/quantized-q8", new MatMul(), [Normal(17, 136), Quantized(s_q8, 67, 136), Normal(67)], Tiny: false),
        new("matmul/quantized-q4", new MatMul(), [Normal(1, 100), Quantized(s_q4, 40, 100)], Tiny: false),
        new("matmul/quantized-q6k", new MatMul(), [Normal(2, 48), Quantized(s_q6k, 33, 48)], Tiny: false),
        new("matmul/quantized-q3k", new MatMul(), [Normal(70, 80), Quantized(s_q3k, 50, 80)], Tiny: false),
        new("matmul/quantized-q4k", new MatMul(), [Normal(3, 136), Quantized(s_q4k, 70, 136)], Tiny: false),
        new("matmul/quantized-q2k", new MatMul(), [Normal(17, 72), Quantized(s_q2k, 35, 72), Normal(35)], Tiny: false),
        new("matmul/quantized-q5k-logits", new MatMul(DataType.Float32), [Normal(5, 64), Quantized(s_q5k, 40, 64)],
            Tiny: false),
        new("matmul/quantized-awq", new MatMul(), [Normal(20, 272), Quantized(s_awq, 33, 272)], Tiny: false),
        new("matmul/quantized-q4-no-rows", new MatMul(), [Normal(0, 32), Quantized(s_q4, 5, 32)], Tiny: false),
        // Halves of whole and of incomplete panels; one whose halves are no multiples of 16 outputs is two kernels on a card.
        new("matmul_swiglu/quantized-q8", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(3, 136), Quantized(s_q8, 96, 136), Normal(96)], Tiny: false),
        new("matmul_swiglu/quantized-awq", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(20, 272), Quantized(s_awq, 96, 272)], Tiny: false),
        new("matmul_swiglu/quantized-q4-odd", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(2, 100), Quantized(s_q4, 38, 100)], Tiny: false),
        new("matmul_gelu/quantized-nf4", new MatMulActivation(ProductActivation.Gelu),
            [Normal(5, 136), Quantized(s_nf4, 40, 136), Normal(40)], Tiny: false),
        // A block of outputs of its own for each tile of the vocabulary, the last of both incomplete.
        new("vocabulary_head/quantized-q8", new VocabularyHead(0.8f),
            [Normal(5, 40), Quantized(s_q8, 150, 40), Integers([3, -1, 149, 0, 130])], Tiny: false),
        new("vocabulary_head/quantized-awq", new VocabularyHead(),
            [Normal(3, 136), Quantized(s_awq, 70, 136), Integers([69, 0, 31])], Tiny: false),
        new("connector/quantized", new FusedConnector(4, 4, 1e-5f),
            [Normal(34, 8), Normal(32), Normal(32), Quantized(s_q4k, 24, 32), Normal(24), Quantized(s_q8, 24, 24),
                Normal(24)], Tiny: false),
        // Codes that are no integers: a scale an output, in blocks that are cut and in blocks of their own; few rows and many.
        new("matmul/quantized-fp8", new MatMul(), [Normal(17, 88), Quantized(s_fp8, 40, 88)], Tiny: false),
        new("matmul/quantized-fp8-few-rows", new MatMul(), [Normal(3, 300), Quantized(s_fp8Output, 70, 300), Normal(70)],
            Tiny: false),
        new("matmul/quantized-fp8-blocks", new MatMul(DataType.Float32),
            [Normal(40, 400), Quantized(s_fp8Blocks, 33, 400), Normal(33)], Tiny: false),
        new("matmul/quantized-nf4", new MatMul(), [Normal(4, 136), Quantized(s_nf4, 40, 136)], Tiny: false),
        new("matmul/quantized-nf4-rows", new MatMul(), [Normal(29, 200), Quantized(s_nf4, 65, 200), Normal(65)], Tiny: false),
        new("vocabulary_head/quantized-fp8", new VocabularyHead(0.7f),
            [Normal(4, 72), Quantized(s_fp8, 150, 72), Integers([3, -1, 149, 128])], Tiny: false),
        new("vocabulary_head/quantized-nf4", new VocabularyHead(),
            [Normal(3, 136), Quantized(s_nf4, 70, 136), Integers([69, 0, 31])], Tiny: false),
        new("connector/quantized-float", new FusedConnector(4, 4, 1e-5f),
            [Normal(34, 8), Normal(32), Normal(32), Quantized(s_nf4, 24, 32), Normal(24), Quantized(s_fp8, 24, 24),
                Normal(24)], Tiny: false),
        Lookup("quantized-fp8", s_fp8, 37, 88),
        Lookup("quantized-nf4", s_nf4, 37, 70),
        Lookup("quantized-q4", s_q4, 37, 70),
        Lookup("quantized-q8", s_q8, 37, 24),
        Lookup("quantized-q2k", s_q2k, 37, 136),
        Lookup("quantized-awq", s_awq, 37, 272),
        new("matmul/qwen2.5-0.5b-gate-up-1k-q4", new MatMul(), [Normal(1024, 896), Quantized(s_q4, 9728, 896)], Tiny: false),
        new("matmul/qwen2.5-0.5b-gate-up-1k-q8", new MatMul(), [Normal(1024, 896), Quantized(s_q8, 9728, 896)], Tiny: false),
        new("matmul_swiglu/qwen2.5-0.5b-decode-q4", new MatMulActivation(ProductActivation.SwiGlu),
            [Normal(1, 896), Quantized(s_q4, 9728, 896)], Tiny: false),
        new("matmul/qwen2.5-0.5b-down-decode-q4", new MatMul(), [Normal(1, 4864), Quantized(s_q4, 896, 4864)], Tiny: false),
        new("matmul/qwen2.5-0.5b-down-decode-q8", new MatMul(), [Normal(1, 4864), Quantized(s_q8, 896, 4864)], Tiny: false),
        new("matmul/qwen2.5-0.5b-gate-up-1k-fp8", new MatMul(),
            [Normal(1024, 896), Quantized(new(CodeType.Float8E4M3, 896, HasMinimum: false), 9728, 896)], Tiny: false),
        new("matmul/qwen2.5-0.5b-gate-up-1k-nf4", new MatMul(), [Normal(1024, 896), Quantized(s_nf4, 9728, 896)], Tiny: false),
        new("matmul/qwen2.5-0.5b-down-decode-fp8", new MatMul(),
            [Normal(1, 4864), Quantized(new(CodeType.Float8E4M3, 4864, HasMinimum: false), 896, 4864)], Tiny: false),
        new("matmul/qwen2.5-0.5b-down-decode-nf4", new MatMul(), [Normal(1, 4864), Quantized(s_nf4, 896, 4864)], Tiny: false),
        new("matmul/internvl3-8b-gate-up-decode-q4", new MatMul(), [Normal(1, 3584), Quantized(s_q4, 37888, 3584)],
            Tiny: false),
    ];

    private static Workload Lookup(string name, QuantizedFormat format, int rows, int columns) =>
        new($"embedding_lookup/{name}", new EmbeddingLookup(),
            [Quantized(format, rows, columns), Integers([3, 0, rows - 1, 32, 3, 31])], Tiny: false)
        { OpFor = type => new EmbeddingLookup(type) };
}
