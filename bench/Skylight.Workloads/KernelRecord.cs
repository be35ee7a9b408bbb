using Skylight.Execution;
using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>What the fastest published kernel reaches at a shape on an H200, and what ours is to reach there.</summary>
/// <param name="Kernel">The folder of its records.</param>
/// <param name="Workload">The shape, in the way in which kernels are measured.</param>
/// <param name="Work">Floating-point operations, or bytes, by the source's own counting.</param>
/// <param name="Unit"><c>TFLOP/s</c> or <c>TB/s</c>.</param>
/// <param name="Target">What ours is to reach, in that unit.</param>
/// <param name="Published">What the fastest one that is known at the shape reaches.</param>
/// <param name="Source">Who says so.</param>
public sealed record KernelRecord(string Kernel, Workload Workload, double Work, string Unit, double Target,
    double Published, string Source)
{
    private const string Compute = "TFLOP/s", Bandwidth = "TB/s", Cudnn = "cudnn-frontend benchmarks, H200, 2026-09-28",
        Norms = "cudnn-frontend norm benchmarks, H200, 2026-02-27", Liger = "Liger-Kernel #1422, H200";

    private const int Heads = 64, KeyValueHeads = 8, HeadDimension = 128;

    /// <summary>All records, each kernel once.</summary>
    public static IReadOnlyList<KernelRecord> All { get; } =
    [
        Attention("attention-causal-4k", causal: true, length: 4096, 590, 619, $"{Cudnn}: FlashAttention 4"),
        Attention("attention-causal-16k", causal: true, length: 16384, 640, 702, $"{Cudnn}: FlashAttention 4"),
        Attention("attention-full-8k", causal: false, length: 8192, 700, 756, $"{Cudnn}: FlashAttention 4"),
        AttentionGradient("attention-backward-4k", 4096, 430, 478),
        AttentionGradient("attention-backward-16k", 16384, 500, 557),
        Product("product-8192", 8192, 795, 808, "fast.cu, H100; cuBLAS there 795; ThunderKittens 855, shape not given"),
        new("head-forward", Make("vocabulary_head/record", new VocabularyHead(),
                Normal(2048, 4096), Weight(DataType.Float32, 262144, 4096), Integers(0, 262144, 2048)),
            2.0 * 2048 * 4096 * 262144, Compute, 720, 791, Liger),
        new("head-backward", Make("vocabulary_head_backward/record", new VocabularyHeadBackward(1, true, false, true, true),
                Normal(2048, 4096), Weight(DataType.Float32, 131072, 4096), Integers(0, 131072, 2048), Normal(2048),
                Normal(2048), Normal(2048)),
            6.0 * 2048 * 4096 * 131072, Compute, 700, 768, Liger),
        Decoding("decode-attention-32x8k", 32, 8192, 4.0, 4.27, $"{Cudnn}: cuDNN 9.27"),
        new("rms-norm", Make("rms_norm/record", new RmsNorm(1e-6f), Normal(8192, 8192), Normal(8192)),
            2.0 * sizeof(ushort) * 8192 * 8192, Bandwidth, 4.0, 4.18, $"{Norms}: torch.compile"),
        new("rms-norm-backward", Make("rms_norm_backward/record", new RmsNormBackward(1e-6f),
                Normal(16384, 4096), Normal(4096), Normal(16384, 4096)),
            3.0 * sizeof(ushort) * 16384 * 4096, Bandwidth, 3.7, 3.80, $"{Norms}: cuDNN"),
    ];

    /// <summary>What a time comes to, in <see cref="Unit"/>.</summary>
    /// <param name="seconds">Above 0.</param>
    public double Figure(double seconds) => Work / seconds / 1e12;

    private static KernelRecord Attention(string kernel, bool causal, int length, double target, double published,
        string source) =>
        new(kernel, Make($"attention/record-{kernel["attention-".Length..]}",
                new Attention(Heads, KeyValueHeads, HeadDimension, causal), [.. QueryKeyValue(2 * length), Starts(length)]),
            AttentionWork(length, causal), Compute, target, published, source);

    private static KernelRecord AttentionGradient(string kernel, int length, double target, double published)
    {
        int rows = 2 * length;
        return new(kernel, Make($"attention_backward/record-{length / 1024}k",
                new AttentionBackward(Heads, KeyValueHeads, HeadDimension, Causal: true),
                [.. QueryKeyValue(rows), Normal(rows, Heads * HeadDimension), Normal(rows, Heads),
                    Normal(rows, Heads * HeadDimension), Starts(length)]),
            2.5 * AttentionWork(length, causal: true), Compute, target, published,
            $"{Cudnn}: FlashAttention 4, deterministic");
    }

    // Of two sequences, whose causal halves count as half.
    private static double AttentionWork(int length, bool causal) =>
        2.0 * 4 * length * length * HeadDimension * Heads / (causal ? 2 : 1);

    private static KernelRecord Product(string kernel, int size, double target, double published, string source) =>
        new(kernel, Make($"matmul/record-{size}", new MatMul(), Normal(size, size), Weight(DataType.Float32, size, size)),
            2.0 * size * size * size, Compute, target, published, source);

    private static KernelRecord Decoding(string kernel, int sequences, int context, double target, double published,
        string source)
    {
        int pagesEach = context / KeyValuePages.Size, pages = sequences * pagesEach;
        Operand cache = Normal(pages, KeyValueHeads, KeyValuePages.Size * HeadDimension) with { Persistent = true };
        return new(kernel, Make("paged_attention/record-32x8k", new PagedAttention(Heads, KeyValueHeads, HeadDimension),
                Normal(sequences, Heads * HeadDimension), cache, cache,
                new Operand(TensorType.Int32(sequences, pagesEach), _ => Enumerable.Range(0, pages).ToArray()),
                Integers([.. Enumerable.Range(0, sequences + 1)]), Integers([.. Enumerable.Repeat(context, sequences)])),
            2.0 * sizeof(ushort) * sequences * context * KeyValueHeads * HeadDimension, Bandwidth, target, published, source);
    }

    private static Operand[] QueryKeyValue(int rows) =>
        [Normal(rows, Heads * HeadDimension), Normal(rows, KeyValueHeads * HeadDimension),
            Normal(rows, KeyValueHeads * HeadDimension)];

    private static Operand Starts(int length) => Integers([0, length, 2 * length]);

    private static Workload Make(string name, Graphs.Op op, params Operand[] operands) =>
        new(name, op, [.. operands.Select(operand => operand with { Differentiable = false })], Tiny: false);
}
