using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tests.Models;

namespace Skylight.Tests.Generation;

public sealed class GenerationEngineTests
{
    private const int Page = PagedAttention.PageSize;

    [Fact]
    public void Greedy_takes_the_most_likely_token_of_the_training_forward()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 1024);
        var request = new GenerationRequest(TinyModel.Prompt(1, 12, TinyModel.Picture(1)));
        var options = new SamplingOptions { Temperature = 0, MaxOutputTokens = 20 };
        Completion first = engine.Generate([request], options)[0][0];
        Assert.Equal(first.Tokens, engine.Generate([request], options with { Seed = 99 })[0][0].Tokens);

        // p of the most likely token of 40 is at least 1/40, and no single other token can have more.
        Assert.All(first.LogProbabilities, value => Assert.True(value >= -MathF.Log(40)));
        Completion[] drawn = engine.Generate([request with { Count = 24 }], new SamplingOptions { MaxOutputTokens = 1 })[0];
        Assert.All(drawn, other => Assert.True(other.LogProbabilities[0] <= first.LogProbabilities[0]));
    }

    [Fact]
    public void Seeds_streams_and_completions_have_random_numbers_of_their_own()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 2048);
        var options = new SamplingOptions { MaxOutputTokens = 16, Seed = 1 };
        TokenSequence prompt = TinyModel.Prompt(1, 5);
        var texts = new HashSet<string>();
        foreach (ulong seed in (ReadOnlySpan<ulong>)[1, 2])
        {
            foreach (Completion[] completions in engine.Generate([new(prompt, 4, 0), new(prompt, 4, 1)],
                options with { Seed = seed }))
                texts.UnionWith(completions.Select(completion => string.Join(' ', completion.Tokens)));
        }

        Assert.Equal(16, texts.Count);
    }

    [Fact]
    public void A_stop_token_ends_a_completion_and_belongs_to_it()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 4096);
        int[] stops = [1, 2, 3];
        Completion[] completions = engine.Generate([new(TinyModel.Prompt(1, 5), 32)],
            new SamplingOptions { MaxOutputTokens = 12, StopTokens = stops })[0];
        Assert.Contains(completions, completion => completion.FinishReason == FinishReason.Stop);
        Assert.Contains(completions, completion => completion.FinishReason == FinishReason.Length);
        Assert.All(completions, completion =>
        {
            Assert.Equal(completion.FinishReason == FinishReason.Stop, stops.Contains(completion.Tokens[^1]));
            Assert.DoesNotContain(completion.Tokens[..^1], stops.Contains);
            Assert.True(completion.FinishReason == FinishReason.Stop || completion.Tokens.Length == 12);
            Assert.Equal(completion.Tokens.Length, completion.LogProbabilities.Length);
            Assert.Equal(completion.Tokens.Length, completion.Entropies.Length);
        });
    }

    [Fact]
    public void Requests_that_do_not_fit_together_wait_and_progress_counts_every_token()
    {
        using VisionLanguageModel model = TinyModel.Create();
        // A request comes to take two pages: two of them fit.
        using var engine = new GenerationEngine(model, 4 * Page);
        int mostRunning = 0;
        long tokens = 0;
        engine.Progress = (running, made) => (mostRunning, tokens) = (Math.Max(mostRunning, running), made);
        GenerationRequest[] requests = [.. Enumerable.Range(0, 7)
            .Select(index => new GenerationRequest(TinyModel.Prompt((ulong)index, 10), 1, (ulong)index))];
        IReadOnlyList<Completion[]> completions = engine.Generate(requests,
            new SamplingOptions { MaxOutputTokens = Page, StopTokens = [1, 2] });
        Assert.Equal(2, mostRunning);
        Assert.Equal(completions.Sum(group => group[0].Tokens.Length), tokens);
    }

    [Fact]
    public void What_can_never_fit_is_refused_with_the_numbers()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 4 * Page);
        Assert.Contains("can need 6 pages of 32 tokens, but the cache has 4",
            Refused(new(TinyModel.Prompt(1, 10), 3), new() { MaxOutputTokens = Page }), StringComparison.Ordinal);
        Assert.Contains("exceeds the model's 256 positions",
            Refused(new(TinyModel.Prompt(1, 10)), new() { MaxOutputTokens = 250 }), StringComparison.Ordinal);
        Assert.Contains("at least one token", Refused(new(new TokenSequence([])), new()), StringComparison.Ordinal);
        Assert.Contains("at least one completion", Refused(new(TinyModel.Prompt(1, 5), 0), new()), StringComparison.Ordinal);
        Assert.Contains("temperature", Refused(new(TinyModel.Prompt(1, 5)), new() { Temperature = float.NaN }),
            StringComparison.Ordinal);
        // Logits that overflow would fail the step of all.
        Assert.Contains("temperature", Refused(new(TinyModel.Prompt(1, 5)), new() { Temperature = 1e-39f }),
            StringComparison.Ordinal);
        Assert.Contains("penalty", Refused(new(TinyModel.Prompt(1, 5)), new() { RepetitionPenalty = 1e-39f }),
            StringComparison.Ordinal);
        Assert.Contains("bias of token 3",
            Refused(new(TinyModel.Prompt(1, 5)), new() { LogitBias = new Dictionary<int, float> { [3] = 3e38f } }),
            StringComparison.Ordinal);
        Assert.Contains("Top-p", Refused(new(TinyModel.Prompt(1, 5)), new() { TopP = 0 }), StringComparison.Ordinal);
        Assert.Contains("Top-k", Refused(new(TinyModel.Prompt(1, 5)), new() { TopK = -1 }), StringComparison.Ordinal);
        Assert.Contains("outside the vocabulary of 40",
            Refused(new(new TokenSequence([3, 40])), new() { MaxOutputTokens = 5 }), StringComparison.Ordinal);

        Assert.Contains("has 2 colour planes",
            Refused(new(TinyModel.Prompt(1, 10, new ImageTile(new float[2 * 28 * 28], 28, 28))),
                new() { MaxOutputTokens = 5 }), StringComparison.Ordinal);

        // Nothing was lost to the refusals, not even to the one that came after pages were taken.
        Assert.Single(engine.Generate([new(TinyModel.Prompt(1, 10), 1)], new() { MaxOutputTokens = 2 * Page })[0]);

        string Refused(GenerationRequest request, SamplingOptions options) =>
            Assert.ThrowsAny<ArgumentException>(() => engine.Generate([request], options)).Message;
    }

    [Fact]
    public void Requests_with_options_of_their_own_share_steps()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 64 * Page, prefillTokens: 33);
        SamplingOptions[] options =
        [
            new() { Temperature = 0, MaxOutputTokens = 30 },
            new() { Temperature = 0, MaxOutputTokens = 30, RepetitionPenalty = 3f },
            new() { Temperature = 0.8f, TopK = 5, MaxOutputTokens = 30, Seed = 3 },
            new() { Temperature = 1.5f, MinP = 0.05f, MaxOutputTokens = 30, Seed = 4,
                LogitBias = new Dictionary<int, float> { [7] = float.NegativeInfinity, [3] = 4f } },
            new() { Temperature = 1f, TopP = 0.7f, MaxOutputTokens = 30, Seed = 5, RepetitionPenalty = 1.2f,
                LogitBias = new Dictionary<int, float> { [0] = float.NegativeInfinity } },
        ];
        var request = new GenerationRequest(TinyModel.Prompt(1, 45), 3);
        RequestRun[] together = [.. options.Select(each => engine.Add(request, each))];
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        for (int index = 0; index < options.Length; index++)
        {
            Completion[] alone = engine.Generate([request], options[index])[0];
            Assert.Equal(alone.Select(completion => completion.Tokens),
                together[index].Completions.Select(completion => completion!.Tokens));
            Assert.Equal(alone.Select(completion => completion.LogProbabilities),
                together[index].Completions.Select(completion => completion!.LogProbabilities));
        }

        int[] Tokens(int index) => [.. together[index].Completions.SelectMany(completion => completion!.Tokens)];
        Assert.NotEqual(Tokens(0), Tokens(1));
        Assert.True(Tokens(1).Distinct().Count() > Tokens(0).Distinct().Count());
        Assert.DoesNotContain(7, Tokens(3));
        Assert.Contains(3, Tokens(3));
        Assert.DoesNotContain(0, Tokens(4));
        Assert.Contains("token 40, which is outside", Assert.Throws<ArgumentException>(
            () => engine.Add(request, new() { MaxOutputTokens = 5, LogitBias = new Dictionary<int, float> { [40] = 1 } }))
                .Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(9)]
    public void Cancellation_gives_all_pages_back(int steps)
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 12 * Page);
        GenerationRequest[] requests = [.. Enumerable.Range(0, 6).Select(
            index => new GenerationRequest(TinyModel.Prompt((ulong)index, 40, TinyModel.Picture(1)), 2, (ulong)index))];
        var options = new SamplingOptions { MaxOutputTokens = Page };
        IReadOnlyList<Completion[]> expected = engine.Generate(requests, options);
        for (int repetition = 0; repetition < 4; repetition++)
        {
            using var cancellation = new CancellationTokenSource();
            int left = steps;
            engine.Progress = (_, _) =>
            {
                if (--left == 0)
                    cancellation.Cancel();
            };
            Assert.ThrowsAny<OperationCanceledException>(() => engine.Generate(requests, options, cancellation.Token));
        }

        engine.Progress = null;
        Assert.Equal(12, engine.FreePages);
        Assert.Equal(expected.Select(group => group[1].Tokens),
            engine.Generate(requests, options).Select(group => group[1].Tokens));
    }

    [Fact]
    public void A_page_is_free_when_its_last_user_lets_go()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var cache = new KeyValueCache(model, 3);
        int first = cache.Take(), second = cache.Take();
        Assert.NotEqual(first, second);
        cache.Share(first);
        cache.Return(first);
        Assert.Equal(1, cache.FreePages);
        cache.Return(first);
        Assert.Equal(2, cache.FreePages);
        Assert.Contains("no user", Assert.Throws<InvalidOperationException>(() => cache.Return(first)).Message,
            StringComparison.Ordinal);
        Assert.Equal(2, cache.FreePages);
        Assert.Equal(0, KeyValueCache.PagesFor(0));
        Assert.Equal(1, KeyValueCache.PagesFor(Page));
        Assert.Equal(2, KeyValueCache.PagesFor(Page + 1));
        cache.Take();
        cache.Take();
        Assert.Contains("3 pages", Assert.Throws<InvalidOperationException>(() => cache.Take()).Message,
            StringComparison.Ordinal);
    }
}
