using Skylight.Execution;
using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>The language model of a member of the family, as far as kernels care.</summary>
/// <param name="Name">In workload names.</param>
/// <param name="Hidden">The hidden size.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KeyValueHeads">Key-value heads.</param>
/// <param name="HeadDimension">The width of a head.</param>
/// <param name="Intermediate">The width of the gated MLP.</param>
/// <param name="Vocabulary">The rows of the output projection.</param>
/// <param name="VisionHidden">The hidden size of the vision encoder, whose patches the connector joins by four.</param>
/// <param name="QueryKeyNorm">Whether heads of queries and keys are normalised.</param>
public sealed record ModelShape(string Name, int Hidden, int Heads, int KeyValueHeads, int HeadDimension,
    int Intermediate, int Vocabulary, int VisionHidden, bool QueryKeyNorm = false);

/// <summary>
/// The shapes that real models run: prefill of 4,096 and 16,384 tokens, decoding with 1, 8 and 32 sequences over 4,096
/// tokens of context, and training on 8,192 tokens. For GPU benchmarks: most are too large for a test on the CPU or the
/// emulator.
/// </summary>
public static class ModelWorkloads
{
    private const int Context = 4096, TrainingTokens = 8192, TileTokens = 256;

    /// <summary>
    /// InternVL3-1B, InternVL3-8B, InternVL3.5-8B and Skywork-R1V3-38B (config.json of the published checkpoints).
    /// </summary>
    public static IReadOnlyList<ModelShape> Models { get; } =
    [
        new("internvl3-1b", 896, 14, 2, 64, 4864, 151674, 1024),
        new("internvl3-8b", 3584, 28, 4, 128, 18944, 151674, 1024),
        new("internvl3.5-8b", 4096, 32, 8, 128, 12288, 151936, 1024, QueryKeyNorm: true),
        new("r1v3-38b", 5120, 40, 8, 128, 27648, 152064, 3200),
    ];

    /// <summary>Every workload of every model.</summary>
    public static IReadOnlyList<Workload> All { get; } = [.. Models.SelectMany(Of)];

    private static IEnumerable<Workload> Of(ModelShape model)
    {
        int query = model.Heads * model.HeadDimension, keyValue = model.KeyValueHeads * model.HeadDimension,
            qkv = query + 2 * keyValue;
        var attention = new Attention(model.Heads, model.KeyValueHeads, model.HeadDimension, Causal: true);
        foreach (int tokens in new[] { 4096, 16384 })
        {
            string at = $"{model.Name}-prefill-{tokens / 1024}k";
            yield return Make($"attention/{at}", attention,
                [Normal(tokens, query), Normal(tokens, keyValue), Normal(tokens, keyValue), Integers([0, tokens])]);
            yield return Make($"matmul/{at}-gate-up", new MatMul(),
                [Normal(tokens, model.Hidden), Weight(DataType.Float32, 2 * model.Intermediate, model.Hidden)]);
            yield return Make($"add_rms_norm/{at}", new AddRmsNorm(1e-6f),
                [Normal(tokens, model.Hidden), Normal(tokens, model.Hidden), Normal(model.Hidden)]);
            Operand projection = Normal(tokens, qkv), table = Normal(tokens, model.HeadDimension),
                weight = Normal(model.HeadDimension);
            yield return model.QueryKeyNorm
                ? Make($"qkv_split_norm_rotary/{at}",
                    new QkvSplitNormRotary(model.Heads, model.KeyValueHeads, model.HeadDimension, 1e-6f),
                    [projection, table, weight, weight])
                : Make($"qkv_split_rotary/{at}",
                    new QkvSplitRotary(model.Heads, model.KeyValueHeads, model.HeadDimension), [projection, table]);
            yield return Make($"swiglu/{at}", new SwiGlu(), [Normal(tokens, 2 * model.Intermediate)]);
        }

        foreach (int batch in new[] { 1, 8, 32 })
        {
            string at = $"{model.Name}-decode-{batch}";
            yield return Paged($"paged_attention/{at}", model, batch);
            yield return Make($"matmul/{at}-gate-up", new MatMul(),
                [Normal(batch, model.Hidden), Weight(DataType.Float32, 2 * model.Intermediate, model.Hidden)]);
            yield return SamplingWorkloads.Rows($"sample_tokens/{at}", model.Vocabulary,
                [.. Enumerable.Repeat((1f, 0, 1f, 0f), batch)]);
            yield return SamplingWorkloads.Rows($"sample_tokens/{at}-top-p", model.Vocabulary,
                [.. Enumerable.Repeat((0.6f, 0, 0.95f, 0f), batch)]);
        }

        string training = $"{model.Name}-training-8k";
        Operand starts = Integers([0, TrainingTokens / 4, TrainingTokens / 2, TrainingTokens]);
        Operand hidden = Normal(TrainingTokens, model.Hidden),
            head = Weight(DataType.Float32, model.Vocabulary, model.Hidden),
            targets = Integers(0, model.Vocabulary, TrainingTokens);
        Operand row = Normal(TrainingTokens);
        yield return Make($"attention_backward/{training}",
            new AttentionBackward(model.Heads, model.KeyValueHeads, model.HeadDimension, Causal: true),
            [Normal(TrainingTokens, query), Normal(TrainingTokens, keyValue), Normal(TrainingTokens, keyValue),
                Normal(TrainingTokens, query), Normal(TrainingTokens, model.Heads), Normal(TrainingTokens, query), starts]);
        yield return Make($"vocabulary_head/{training}", new VocabularyHead(), [hidden, head, targets]);
        yield return Make($"vocabulary_head_backward/{training}",
            new VocabularyHeadBackward(1, true, false, true, true), [hidden, head, targets, row, row, row]);
        yield return Make($"connector/{training}", new FusedConnector(32, 32, 1e-5f),
            [
                Normal(TrainingTokens / TileTokens * 1025, model.VisionHidden), Normal(4 * model.VisionHidden),
                Normal(4 * model.VisionHidden),
                Weight(DataType.Float32, model.Hidden, 4 * model.VisionHidden), Normal(model.Hidden),
                Weight(DataType.Float32, model.Hidden, model.Hidden), Normal(model.Hidden),
            ]);
        yield return Make($"matmul_input_gradient/{training}-down", new MatMulInputGradient(),
            [hidden, Weight(DataType.Float32, model.Hidden, model.Intermediate)]);
        yield return Make($"matmul_weight_gradient/{training}-down", new MatMulWeightGradient(),
            [Normal(TrainingTokens, model.Intermediate), hidden]);
        yield return Make($"rms_norm_backward/{training}", new RmsNormBackward(1e-6f),
            [hidden, Normal(model.Hidden), hidden]);
        yield return Make($"swiglu_backward/{training}", new SwiGluBackward(),
            [Normal(TrainingTokens, 2 * model.Intermediate), Normal(TrainingTokens, model.Intermediate)]);
        yield return AdamWStep($"adamw/{training}-gate-up", 2 * model.Intermediate, model.Hidden);
    }

    private static Workload Make(string name, Graphs.Op op, IReadOnlyList<Operand> operands) =>
        new(name, op, [.. operands.Select(operand => operand with { Differentiable = false })], Tiny: false);

    private static Workload Paged(string name, ModelShape model, int sequences)
    {
        int pagesEach = Context / KeyValuePages.Size, pages = sequences * pagesEach;
        Operand cache = Normal(pages, model.KeyValueHeads,
            KeyValuePages.Size * model.HeadDimension) with
        { Persistent = true };
        var table = new Operand(TensorType.Int32(sequences, pagesEach), seed =>
        {
            int[] order = [.. Enumerable.Range(0, pages)];
            new Random(seed).Shuffle(order);
            return order;
        });
        return Make(
            name,
            new PagedAttention(model.Heads, model.KeyValueHeads, model.HeadDimension),
            [Normal(sequences, model.Heads * model.HeadDimension), cache, cache, table,
                Integers([.. Enumerable.Range(0, sequences + 1)]), Integers([.. Enumerable.Repeat(Context, sequences)])]);
    }

    private static Workload AdamWStep(string name, int outputs, int inputs)
    {
        Operand state = Weight(DataType.Float32, outputs, inputs) with { KeepsType = true };
        return Make(
            name,
            new AdamW(0.9f, 0.95f, 1e-8f, HasMaster: true),
            [Weight(DataType.BFloat16, outputs, inputs), state with { Persistent = false }, state, state,
                Constant(1e-5f, 0.1f, 0.1f, 0.05f), Constant(1f), state]);
    }
}
