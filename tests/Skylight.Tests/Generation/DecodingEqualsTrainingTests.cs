using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cpu;
using Skylight.Tests.Models;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Generation;

/// <summary>
/// Decoding over the cache and the training forward give the same bits, whatever runs beside them: the promise on which the
/// on-policy ratio of exactly 1 rests.
/// </summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class DecodingEqualsTrainingTests
{
    private const int NewTokens = 40;

    private static readonly ImageTile s_shared = TinyModel.Picture(1);

    /// <summary>Lengths on both sides of the page borders; one picture is in two prompts, one prompt has two.</summary>
    private static readonly GenerationRequest[] s_requests =
    [
        new(TinyModel.Prompt(1, 6, s_shared), 4, 1),
        new(TinyModel.Prompt(2, PagedAttention.PageSize - 1), 3, 2),
        new(TinyModel.Prompt(3, PagedAttention.PageSize, s_shared), 3, 3),
        new(TinyModel.Prompt(4, PagedAttention.PageSize + 1, TinyModel.Picture(2), TinyModel.Picture(3)), 4, 4),
        new(TinyModel.Prompt(5, 2 * PagedAttention.PageSize + 6, TinyModel.Picture(4)), 2, 5),
        new(TinyModel.Prompt(6, 1), 1, 6),
    ];

    public static TheoryData<DataType, DataType, float, bool, LanguageModelKind, bool> Variants => new(
        from types in ((DataType Parameters, DataType Compute)[])
        [
            (DataType.Float32, DataType.BFloat16), (DataType.BFloat16, DataType.BFloat16),
            (DataType.BFloat16, DataType.Float32),
        ]
        from fusion in (bool[])[true, false]
        from model in ((float, LanguageModelKind, bool)[])
        [
            (1f, LanguageModelKind.Qwen2, false), (0.7f, LanguageModelKind.Qwen2, false),
            (0.7f, LanguageModelKind.Qwen3, false), (0.7f, LanguageModelKind.Qwen3, true),
        ]
        select (types.Parameters, types.Compute, model.Item1, fusion, model.Item2, model.Item3));

    [Theory]
    [MemberData(nameof(Variants))]
    public void Bits_are_equal(DataType type, DataType compute, float temperature, bool fusion, LanguageModelKind kind, bool tied)
    {
        using VisionLanguageModel model = TinyModel.Create(type, fusion,
            device: new CpuDevice(new CpuDeviceOptions { Compute = compute }), kind: kind, tied: tied);
        var options = new SamplingOptions
        {
            Temperature = temperature,
            MaxOutputTokens = NewTokens,
            StopTokens = [TinyModel.StopToken],
            Seed = 11,
        };
        Completion[] together = WithThreads(2, () => Generate(model, s_requests, options));
        // Embeddings that are the head, too, write what they read, and stop early or never.
        Assert.InRange(together.Sum(completion => completion.Tokens.Length), tied ? 17 : 250, 17 * NewTokens);
        Assert.All(together.SelectMany(completion => completion.LogProbabilities), value => Assert.True(value <= 0));
        Assert.All(together.SelectMany(completion => completion.Entropies),
            value => Assert.InRange(value, 0f, MathF.Log(40)));

        // The training forward: everything packed, cut into small batches, and on one thread.
        TrainingSample[] samples = Samples(together);
        foreach ((int threads, int microBatch) in (ReadOnlySpan<(int, int)>)[(2, 8192), (1, 8192), (2, 100), (1, 1)])
        {
            BatchResult scores = WithThreads(threads, () =>
            {
                using var scorer = new ModelScorer(model, microBatch);
                return scorer.Score(samples, temperature);
            });
            AssertSameBits(together.Select(completion => completion.LogProbabilities), scores.LogProbabilities);
            AssertSameBits(together.Select(completion => completion.Entropies), scores.Entropies);
        }

        // With gradients, and with layers recomputed.
        foreach (bool recompute in (ReadOnlySpan<bool>)[false, true])
        {
            using var trainer = new ModelTrainer(model, TrainableModules.All, recompute: recompute);
            BatchResult scores = trainer.AccumulateGradients(samples,
                new CrossEntropyObjective { Temperature = temperature });
            AssertSameBits(together.Select(completion => completion.LogProbabilities), scores.LogProbabilities);
            AssertSameBits(together.Select(completion => completion.Entropies), scores.Entropies);
        }

        // The same requests on one thread, one after the other, through a cache so small that they must wait, and
        // without a shared prefix.
        AssertSame(together, WithThreads(1, () => Generate(model, s_requests, options)));
        AssertSame(together, [.. s_requests.SelectMany(request => Generate(model, [request], options))]);
        AssertSame(together,
            Generate(model, s_requests, options, cacheTokens: 16 * PagedAttention.PageSize, prefillTokens: 40));
        AssertSame(together, Generate(model, [.. s_requests.SelectMany(Alone)], options));
    }

    [Fact]
    public void Weights_changed_by_training_are_seen_at_the_next_token()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 4096);
        var options = new SamplingOptions { MaxOutputTokens = 8 };
        float[] before = engine.Generate([s_requests[0]], options)[0][0].LogProbabilities;
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        TrainingSample[] samples = Samples([.. engine.Generate([s_requests[0]], options)[0]], s_requests[0]);
        trainer.AccumulateGradients(samples, new CrossEntropyObjective());
        trainer.Step(0.1f);
        Completion[] after = engine.Generate([s_requests[0]], options)[0];
        Assert.NotEqual(before, after[0].LogProbabilities);
        AssertSameBits(after.Select(completion => completion.LogProbabilities),
            trainer.Evaluate(Samples(after, s_requests[0]), new CrossEntropyObjective()).LogProbabilities);
    }

    private static Completion[] Generate(VisionLanguageModel model, IReadOnlyList<GenerationRequest> requests,
        SamplingOptions options, int cacheTokens = 8192, int prefillTokens = 4096)
    {
        using var engine = new GenerationEngine(model, cacheTokens, prefillTokens);
        return [.. engine.Generate(requests, options).SelectMany(completions => completions)];
    }

    /// <summary>A request for each completion, with the streams that the completions of the group have.</summary>
    private static IEnumerable<GenerationRequest> Alone(GenerationRequest request)
    {
        // The engine numbers a group's random streams request·m + completion; m is odd, so it has an inverse modulo 2^64.
        const ulong Multiplier = 0x9E3779B97F4A7C15;
        ulong inverse = Multiplier;
        for (int iteration = 0; iteration < 6; iteration++)
            inverse *= 2 - Multiplier * inverse;
        return Enumerable.Range(0, request.Count).Select(
            completion => new GenerationRequest(request.Prompt, 1, request.Stream + (ulong)completion * inverse));
    }

    private static TrainingSample[] Samples(Completion[] completions) =>
        Samples(completions, [.. s_requests.SelectMany(request => Enumerable.Repeat(request, request.Count))]);

    private static TrainingSample[] Samples(Completion[] completions, params GenerationRequest[] requests) =>
        [.. completions.Select((completion, index) =>
    {
        TokenSequence prompt = requests[Math.Min(index, requests.Length - 1)].Prompt;
        var sequence = new TokenSequence([.. prompt.Tokens, .. completion.Tokens],
            prompt.Images) { TextFrom = prompt.Tokens.Length };
        return new TrainingSample(sequence, prompt.Tokens.Length, [.. Enumerable.Repeat(0.01f, completion.Tokens.Length)]);
    })];

    private static T WithThreads<T>(int threads, Func<T> action)
    {
        int before = CpuParallel.ThreadCount;
        CpuParallel.ThreadCount = threads;
        try
        {
            return action();
        }
        finally
        {
            CpuParallel.ThreadCount = before;
        }
    }

    private static void AssertSame(Completion[] expected, Completion[] actual)
    {
        Assert.Equal(expected.Select(completion => completion.Tokens), actual.Select(completion => completion.Tokens));
        Assert.Equal(expected.Select(completion => completion.FinishReason),
            actual.Select(completion => completion.FinishReason));
        AssertSameBits(expected.Select(completion => completion.LogProbabilities),
            actual.Select(completion => completion.LogProbabilities));
        AssertSameBits(expected.Select(completion => completion.Entropies),
            actual.Select(completion => completion.Entropies));
    }

    private static void AssertSameBits(IEnumerable<float[]> expected, IEnumerable<float[]> actual) =>
        Assert.Equal(expected.Select(Bits), actual.Select(Bits));

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];
}
