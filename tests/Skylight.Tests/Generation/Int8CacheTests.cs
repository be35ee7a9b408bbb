using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Chat;
using Skylight.Tests.Cpu;
using Skylight.Tests.Execution;
using Skylight.Tests.Models;

namespace Skylight.Tests.Generation;

/// <summary>Answers over a cache of bytes: the same bits whatever runs beside them, near those of the other caches.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class Int8CacheTests : IDisposable
{
    private const int Page = KeyValuePages.Size, HeadDimension = 32;

    private static readonly SamplingOptions s_options =
        new() { MaxOutputTokens = 40, Seed = 11, StopTokens = [TinyModel.StopToken] };

    /// <summary>Lengths on both sides of the page borders; groups; one picture is in two prompts.</summary>
    private static readonly GenerationRequest[] s_requests =
    [
        new(TinyModel.Prompt(1, 6, TinyModel.Picture(1)), 4, 1),
        new(TinyModel.Prompt(2, Page - 1), 3, 2),
        new(TinyModel.Prompt(3, Page, TinyModel.Picture(1)), 3, 3),
        new(TinyModel.Prompt(4, 3 * Page + 1, TinyModel.Picture(2), TinyModel.Picture(3)), 2, 4),
        new(TinyModel.Prompt(6, 1), 1, 6),
    ];

    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(DataType.BFloat16, LanguageModelKind.Qwen2)]
    [InlineData(DataType.Float32, LanguageModelKind.Qwen2)]
    [InlineData(DataType.BFloat16, LanguageModelKind.Qwen3)]
    public void Bits_do_not_depend_on_batches_parts_of_prompts_kept_pages_or_guesses(DataType type, LanguageModelKind kind)
    {
        using VisionLanguageModel model = TinyModel.Create(type, kind: kind, headDimension: HeadDimension);
        CpuParallel.ThreadCount = 2;
        Completion[] expected = Generate(model, s_requests);
        Assert.InRange(expected.Sum(completion => completion.Tokens.Length), 100, 13 * 40);
        AssertDiffer(expected, Generate(model, s_requests, keyValueType: null));

        CpuParallel.ThreadCount = 1;
        AssertSame(expected, Generate(model, s_requests));
        AssertSame(expected, [.. s_requests.SelectMany(request => Generate(model, [request]))]);
        AssertSame(expected, Generate(model, s_requests, cacheTokens: 16 * Page, prefillTokens: 40));
        AssertSame(expected, Generate(model, s_requests, prefillTokens: 7));
        AssertSame(expected, Generate(model, s_requests, options: s_options with { SpeculativeTokens = 8 }));

        // Beginnings that are kept, and the next turn after one.
        using var keeping = new GenerationEngine(model, 256 * Page, prefillTokens: 50, 1 << 20, cachePrefixes: true,
            DataType.Int8);
        AssertSame(expected, Flat(keeping.Generate(s_requests, s_options)));
        RequestRun again = keeping.Add(s_requests[3], s_options);
        AssertSame(expected[10..12], Flat(Finish(keeping, again)));
        Assert.True(again.CachedTokens >= 3 * Page, $"{again.CachedTokens} tokens were found");
        int[] turn = [.. s_requests[3].Prompt.Tokens, .. expected[10].Tokens, .. TinyModel.Text(9, 12)];
        var next = new GenerationRequest(s_requests[3].Prompt with { Tokens = turn }, Stream: 8);
        Completion[] fresh = Generate(model, [next]);
        RequestRun found = keeping.Add(next, s_options);
        AssertSame(fresh, Flat(Finish(keeping, found)));
        Assert.True(found.CachedTokens >= 3 * Page, $"{found.CachedTokens} tokens of the turn were found");
    }

    [Fact]
    public void Log_probabilities_are_near_those_of_float32_and_bfloat16()
    {
        using VisionLanguageModel model = TinyModel.Create(DataType.Float32, headDimension: HeadDimension);
        GenerationRequest[] prompts = [.. Enumerable.Range(0, 40).Select(index =>
            new GenerationRequest(TinyModel.Prompt((ulong)index, 60 + index)))];
        Dictionary<int, float>[] exact = Likely(DataType.Float32);
        double halfError = Error(Likely(DataType.BFloat16)), byteError = Error(Likely(DataType.Int8));
        Assert.True(halfError > 0 && byteError > 0, $"{halfError:G3} and {byteError:G3}");
        // A code has 7 bits of the greatest number of its block, bfloat16 has 8 of each.
        Assert.True(byteError < 4 * halfError, $"{byteError:G3} in int8, {halfError:G3} in bfloat16");
        Assert.InRange(byteError, 0, 0.02);

        Dictionary<int, float>[] Likely(DataType type)
        {
            var options = new SamplingOptions { MaxOutputTokens = 1, TopLogProbabilityCount = 10, Temperature = 0 };
            using var engine = new GenerationEngine(model, 8192, keyValueType: type);
            Assert.Equal(type, engine.KeyValueType);
            return [.. engine.Generate(prompts, options).Select(completions =>
                completions[0].TopTokens[0].ToDictionary(token => token.Token, token => token.LogProbability))];
        }

        // The least likely of them may be another token.
        double Error(Dictionary<int, float>[] actual)
        {
            double[] errors = [.. exact.Zip(actual).SelectMany(pair => pair.First.Keys.Intersect(pair.Second.Keys)
                .Select(token => (double)pair.First[token] - pair.Second[token]))];
            Assert.InRange(errors.Length, 350, 400);
            return Math.Sqrt(errors.Average(error => error * error));
        }
    }

    [Theory]
    [InlineData(DataType.Float32, 4.0)]
    [InlineData(DataType.BFloat16, 2.0)]
    [InlineData(DataType.Int8, 34 / 32.0)]
    public void A_cache_takes_the_bytes_that_are_told(DataType type, double bytesOfNumber)
    {
        using VisionLanguageModel model = TinyModel.Create(headDimension: HeadDimension);
        LanguageConfiguration language = model.Configuration.Language;
        long token = KeyValueCache.BytesPerToken(model, type), before = model.Device.ReservedBytes;
        Assert.Equal(2 * language.LayerCount * language.KeyValueHeadCount * HeadDimension * bytesOfNumber, token);
        using var cache = new KeyValueCache(model, 5, type);
        Assert.Equal(type, cache.Type);
        Assert.Equal(5 * Page * token, model.Device.ReservedBytes - before);
        Assert.Equal(4 * 2 * Page * token,
            GenerationEstimate.Of(model, context: 2 * Page, batch: 4, keyValueType: type).CacheBytes);
        int tokens = Skylight.Chat.ChatModel.DefaultCacheTokens(model, WeightBytes(model) + 4 * 5000 * token, type);
        Assert.Equal(5000, tokens);
    }

    [Fact]
    public void A_cache_that_cannot_be_is_refused_with_what_to_do()
    {
        using VisionLanguageModel narrow = TinyModel.Create(DataType.BFloat16);
        AssertRefused("Int8 takes heads whose width is a multiple of 32; those of this model are 8 wide",
            () => new KeyValueCache(narrow, 4, DataType.Int8));
        AssertRefused("are 8 wide", () => new GenerationEngine(narrow, 64, keyValueType: DataType.Int8));
        AssertRefused("are 8 wide", () => GenerationEstimate.Of(narrow, 64, keyValueType: DataType.Int8));
        AssertRefused("cpu keeps no keys and values in Int32",
            () => new GenerationEngine(narrow, 64, keyValueType: DataType.Int32));
        using VisionLanguageModel rounding = TinyModel.Create(device: new RoundingDevice(), headDimension: HeadDimension);
        AssertRefused("rounding keeps no keys and values in Int8: leave the type out (--kv-cache-dtype auto), or run the " +
            "model on the CPU", () => new GenerationEngine(rounding, 64, keyValueType: DataType.Int8));
        using var same = new GenerationEngine(rounding, 64, keyValueType: DataType.BFloat16);
        Assert.Equal(DataType.BFloat16, same.KeyValueType);
    }

    [Fact]
    public async Task A_chat_has_nearly_twice_the_tokens_and_is_refused_before_weights_are_read()
    {
        using var folder = new TemporaryFolder();
        TinyChatModel.WriteCheckpoint(folder["narrow"]);
        foreach (string file in Directory.EnumerateFiles(folder["narrow"], "*.safetensors"))
            File.WriteAllText(file, "no weights");
        var options = new Skylight.Chat.ChatModelOptions { KeyValueType = DataType.Int8 };
        await Assert.ThrowsAsync<NotSupportedException>(
            () => Skylight.Chat.ChatModel.LoadAsync(folder["narrow"], options, null, TestContext.Current.CancellationToken));

        await using Skylight.Chat.ChatModel model = TinyChatModel.Create(options with { CacheTokens = 2048 },
            change: tiny => tiny with { Language = tiny.Language with { HiddenSize = 128, HeadDimension = 32 } });
        Skylight.Chat.ChatAnswer answer = await model.CompleteAsync([Skylight.Chat.Message.User("Hello")],
            new Skylight.Chat.GenerationOptions { MaxOutputTokens = 8 }, TestContext.Current.CancellationToken);
        Assert.InRange(answer.Usage.CompletionTokens, 1, 8);
        const long Memory = 1L << 24;
        int half = Skylight.Chat.ChatModel.DefaultCacheTokens(model.Model, WeightBytes(model.Model) + Memory, DataType.BFloat16),
            bytes = Skylight.Chat.ChatModel.DefaultCacheTokens(model.Model, WeightBytes(model.Model) + Memory, DataType.Int8);
        Assert.Equal(64 / 34.0, (double)bytes / half, 0.001);
    }

    private static long WeightBytes(VisionLanguageModel model) =>
        model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type));

    private static void AssertRefused(string expected, Func<object> action) =>
        Assert.Contains(expected, Assert.Throws<NotSupportedException>(action).Message, StringComparison.Ordinal);

    private static Completion[] Generate(VisionLanguageModel model, IReadOnlyList<GenerationRequest> requests,
        int cacheTokens = 8192, int prefillTokens = 4096, SamplingOptions? options = null,
        DataType? keyValueType = DataType.Int8)
    {
        using var engine = new GenerationEngine(model, cacheTokens, prefillTokens, keyValueType: keyValueType);
        return Flat(engine.Generate(requests, options ?? s_options));
    }

    private static IReadOnlyList<Completion[]> Finish(GenerationEngine engine, RequestRun run)
    {
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        return [[.. run.Completions.Select(completion => completion!)]];
    }

    private static Completion[] Flat(IReadOnlyList<Completion[]> completions) => [.. completions.SelectMany(each => each)];

    private static void AssertSame(Completion[] expected, Completion[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int index = 0; index < expected.Length; index++)
        {
            Assert.Equal(expected[index].Tokens, actual[index].Tokens);
            Assert.Equal(expected[index].LogProbabilities, actual[index].LogProbabilities);
        }
    }

    private static void AssertDiffer(Completion[] left, Completion[] right) =>
        Assert.Contains(left.Zip(right), pair => pair.First.LogProbabilities[0] != pair.Second.LogProbabilities[0]);
}
