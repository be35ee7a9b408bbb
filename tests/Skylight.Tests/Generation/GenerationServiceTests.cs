using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;

namespace Skylight.Tests.Generation;

public sealed class GenerationServiceTests
{
    private const int Page = PagedAttention.PageSize;

    [Fact]
    public async Task Concurrent_callers_get_what_each_would_get_alone()
    {
        using VisionLanguageModel model = TinyModel.Create();
        GenerationRequest[] requests = [.. Enumerable.Range(0, 24).Select(index => index % 3 == 0
            ? new GenerationRequest(TinyModel.Prompt((ulong)index, 20 + 3 * index, TinyModel.Picture((ulong)index % 5)),
                1, (ulong)index)
            : new GenerationRequest(TinyModel.Prompt((ulong)index, 1 + 5 * index), 1, (ulong)index))];
        SamplingOptions Options(int index) => new()
        {
            MaxOutputTokens = 10 + index,
            Seed = (ulong)index,
            StopTokens = [TinyModel.StopToken],
            TopK = index % 4
        };
        using var alone = new GenerationEngine(model, 16 * Page);
        Completion[] expected = [.. requests.Select((request, index) => alone.Generate([request], Options(index))[0][0])];

        await using var service = new GenerationService(new GenerationEngine(model, 20 * Page, prefillTokens: 48,
            imageCacheBytes: 1 << 20)
        { PrefillTokensBesideDecoding = 7 });
        List<GeneratedToken>[] actual = await Task.WhenAll(requests.Select((request, index) => Task.Run(async () =>
        {
            await Task.Delay(index % 7, TestContext.Current.CancellationToken);
            return await Collect(service, request, Options(index));
        })));
        Assert.Equal(expected.Select(completion => completion.Tokens),
            actual.Select(tokens => tokens.Select(token => token.Token).ToArray()));
        Assert.Equal(expected.Select(completion => completion.LogProbabilities),
            actual.Select(tokens => tokens.Select(token => token.LogProbability).ToArray()));
        Assert.Equal(expected.Select(completion => (FinishReason?)completion.FinishReason),
            actual.Select(tokens => tokens[^1].FinishReason));
        await UntilIdle(service);
    }

    [Fact]
    public async Task A_cancelled_request_leaves_at_once_and_the_others_are_unharmed()
    {
        using VisionLanguageModel model = TinyModel.Create();
        await using var service = new GenerationService(new GenerationEngine(model, 40 * Page, prefillTokens: 48));
        var other = new GenerationRequest(TinyModel.Prompt(1, 12));
        var options = new SamplingOptions { MaxOutputTokens = 60, Seed = 4 };
        List<GeneratedToken> expected = await Collect(service, other, options);
        Task<List<GeneratedToken>> beside = Task.Run(() => Collect(service, other, options));
        for (int after = 0; after < 5; after++)
            Assert.InRange(await LeaveAsync(service, new(TinyModel.Prompt(9, 100, TinyModel.Picture(2))),
                new() { MaxOutputTokens = 150 }, after), after, after == 0 ? 0 : 150);
        Assert.Equal(expected, await beside);
        await UntilIdle(service);
    }

    [Fact]
    public async Task Random_arrivals_and_departures_lose_no_page_and_change_no_answer()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var alone = new GenerationEngine(model, 64 * Page);
        await using var service = new GenerationService(new GenerationEngine(model, 24 * Page, prefillTokens: 40,
            imageCacheBytes: 2000, cachePrefixes: true)
        { PrefillTokensBesideDecoding = 9 });
        int finished = 0, left = 0;
        await Task.WhenAll(Enumerable.Range(0, 120).Select(index => Task.Run(async () =>
        {
            var random = new CounterRandom(77, (ulong)index);
            ImageTile[] pictures = [
                .. Enumerable.Range(0, random.Next(3)).Select(_ => TinyModel.Picture((ulong)random.Next(4)))];
            var request = new GenerationRequest(TinyModel.Prompt((ulong)index % 5, 10 + random.Next(80), pictures),
                1 + random.Next(3), (ulong)index);
            var options = new SamplingOptions
            {
                MaxOutputTokens = 1 + random.Next(50),
                Seed = 9,
                Temperature = random.Next(2),
                RepetitionPenalty = 1 + random.NextSingle(),
            };
            int patience = random.Next(2) == 0 ? int.MaxValue : random.Next(40);
            await Task.Delay(random.Next(60), TestContext.Current.CancellationToken);
            using var cancellation = new CancellationTokenSource();
            var tokens = new List<int>[request.Count];
            for (int completion = 0; completion < tokens.Length; completion++)
                tokens[completion] = [];
            try
            {
                if (patience == 0)
                    cancellation.CancelAfter(random.Next(20));
                await foreach (GeneratedToken token in service.GenerateAsync(request, options, cancellation.Token))
                {
                    tokens[token.Completion].Add(token.Token);
                    if (--patience == 0)
                        break;
                }
            }
            catch (OperationCanceledException)
            {
                patience = 0;
            }

            Completion[] expected;
            lock (alone)
                expected = alone.Generate([request], options)[0];
            for (int completion = 0; completion < tokens.Length; completion++)
                Assert.Equal(patience > 0 ? expected[completion].Tokens
                    : expected[completion].Tokens[..tokens[completion].Count], tokens[completion]);
            _ = patience > 0 ? Interlocked.Increment(ref finished) : Interlocked.Increment(ref left);
        })));
        Assert.True(finished >= 40 && left >= 20, $"{finished} finished, {left} left");
        await UntilIdle(service);
    }

    [Fact]
    public async Task An_abandoned_enumeration_frees_its_pages()
    {
        using VisionLanguageModel model = TinyModel.Create();
        await using var service = new GenerationService(new GenerationEngine(model, 10 * Page));
        await foreach (GeneratedToken token in service.GenerateAsync(new(TinyModel.Prompt(1, 12)),
            new() { MaxOutputTokens = 200 }, TestContext.Current.CancellationToken))
        {
            Assert.Null(token.FinishReason);
            break;
        }

        await UntilIdle(service);
    }

    [Fact]
    public async Task What_can_never_fit_and_what_is_one_too_many_are_refused_and_what_must_wait_waits()
    {
        using VisionLanguageModel model = TinyModel.Create();
        await using var service = new GenerationService(new GenerationEngine(model, 4 * Page), mostRequests: 3);
        var fitting = new SamplingOptions { MaxOutputTokens = 80 };
        ArgumentException refused = await Assert.ThrowsAsync<ArgumentException>(
            () => Collect(service, new(TinyModel.Prompt(1, 40)), new() { MaxOutputTokens = 120 }));
        Assert.Contains("but the cache has 4", refused.Message, StringComparison.Ordinal);

        var gate = new TaskCompletionSource();
        Task paused = service.BetweenStepsAsync(_ => gate.Task.Wait());
        Task<List<GeneratedToken>>[] three = [.. Enumerable.Range(0, 3)
            .Select(index => Collect(service, new(TinyModel.Prompt((ulong)index, 12)), fitting))];
        GenerationQueueFullException full = await Assert.ThrowsAsync<GenerationQueueFullException>(
            () => Collect(service, new(TinyModel.Prompt(7, 12)), fitting));
        Assert.Contains("no more than 3", full.Message, StringComparison.Ordinal);
        gate.SetResult();
        await paused;
        Assert.All(await Task.WhenAll(three), tokens => Assert.Equal(80, tokens.Count));
    }

    [Fact]
    public async Task Draining_ends_what_runs_and_takes_no_more()
    {
        using VisionLanguageModel model = TinyModel.Create();
        await using var service = new GenerationService(new GenerationEngine(model, 8 * Page));
        Task<List<GeneratedToken>> running = Collect(service, new(TinyModel.Prompt(1, 12)), new() { MaxOutputTokens = 50 });
        await service.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Equal(50, (await running).Count);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Collect(service, new(TinyModel.Prompt(1, 12)), new()));
    }

    [Fact]
    public async Task Disposal_ends_what_runs_and_says_so()
    {
        using VisionLanguageModel model = TinyModel.Create();
        var service = new GenerationService(new GenerationEngine(model, 8 * Page));
        Task<GenerationHold> writing = GenerationHold.WhenAsync(service.BetweenStepsAsync);
        await using IAsyncEnumerator<GeneratedToken> tokens = service.GenerateAsync(new(TinyModel.Prompt(1, 12)),
            new() { MaxOutputTokens = 200 }, TestContext.Current.CancellationToken)
            .GetAsyncEnumerator(TestContext.Current.CancellationToken);
        Assert.True(await tokens.MoveNextAsync());
        ValueTask disposal;
        using (await writing)
            disposal = service.DisposeAsync();
        await disposal;
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            while (await tokens.MoveNextAsync())
            {
            }
        });
        await service.DisposeAsync();
    }

    [Fact]
    public async Task Answers_that_end_while_something_else_has_the_engine_end_for_their_callers()
    {
        using VisionLanguageModel model = TinyModel.Create();
        await using var service = new GenerationService(new GenerationEngine(model, 16 * Page));
        Task<GenerationHold> held = GenerationHold.WhenAsync(service.BetweenStepsAsync);
        Task<List<GeneratedToken>> beside = Collect(service, new(TinyModel.Prompt(1, 12)), new() { MaxOutputTokens = 20 });
        Task rollout;
        using (await held)
            rollout = service.BetweenStepsAsync(
                engine => engine.Generate([new(TinyModel.Prompt(2, 12))], new() { MaxOutputTokens = 60 }));
        await rollout;
        Assert.Equal(20, (await beside).Count);
        await UntilIdle(service);
    }

    [Fact]
    public async Task A_failing_step_reaches_those_in_it_and_the_service_goes_on()
    {
        using VisionLanguageModel model = TinyModel.Create(device: new CpuDevice(memoryBytes: 250_000));
        await using var service = new GenerationService(new GenerationEngine(model, 8 * Page));
        var fitting = new SamplingOptions { MaxOutputTokens = 40, Seed = 2 };
        List<GeneratedToken> expected = await Collect(service, new(TinyModel.Prompt(1, 12)), fitting);
        OutOfDeviceMemoryException failed = await Assert.ThrowsAsync<OutOfDeviceMemoryException>(
            () => Collect(service, new(TinyModel.Prompt(1, 200)), new() { MaxOutputTokens = 5 }));
        Assert.Contains("peak", failed.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(expected, await Collect(service, new(TinyModel.Prompt(1, 12)), fitting));
        await UntilIdle(service);
    }

    [Fact]
    public async Task Features_of_a_picture_are_found_again_by_content()
    {
        using VisionLanguageModel model = TinyModel.Create();
        const int Bytes = TinyModel.TokensPerImage * 32 * sizeof(float);
        await using var service = new GenerationService(new GenerationEngine(model, 16 * Page, imageCacheBytes: 2 * Bytes));
        var options = new SamplingOptions { MaxOutputTokens = 2 };
        long[] encoded = [1, 1, 2, 3, 4, 4];
        ulong[] pictures = [1, 1, 2, 3, 1, 3];
        for (int index = 0; index < pictures.Length; index++)
        {
            await Collect(service, new(TinyModel.Prompt(1, 12, TinyModel.Picture(pictures[index]))), options);
            long count = -1;
            await service.BetweenStepsAsync(engine => count = engine.EncodedImages);
            Assert.Equal(encoded[index], count);
        }

        await service.BetweenStepsAsync(engine =>
        {
            Assert.Equal(2 * Bytes, engine.ImageCacheBytes);
            engine.Forget();
            Assert.Equal(0, engine.ImageCacheBytes);
        });
    }

    /// <summary>Asks for much and leaves after some tokens: after 0, while the prompt is read.</summary>
    /// <returns>The tokens that came, those included that were made before the engine heard of it.</returns>
    internal static async Task<int> LeaveAsync(GenerationService service, GenerationRequest request,
        SamplingOptions options, int after)
    {
        using var cancellation = new CancellationTokenSource();
        Task<GenerationHold>? reading = after == 0
            ? GenerationHold.WhenAsync(service.BetweenStepsAsync, engine => engine.ReadingRequests > 0) : null;
        int seen = 0;
        Task left = Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GeneratedToken _ in service.GenerateAsync(request, options, cancellation.Token))
            {
                if (++seen == after)
                    await cancellation.CancelAsync();
            }
        });
        if (reading is not null)
        {
            using (await reading)
                await cancellation.CancelAsync();
        }

        await left;
        return seen;
    }

    private static async Task<List<GeneratedToken>> Collect(GenerationService service, GenerationRequest request,
        SamplingOptions options)
    {
        var tokens = new List<GeneratedToken>();
        await foreach (
            GeneratedToken token in service.GenerateAsync(request, options, TestContext.Current.CancellationToken))
            tokens.Add(token);
        return tokens;
    }

    /// <summary>After all requests have left, all pages are free.</summary>
    private static Task UntilIdle(GenerationService service) => service.BetweenStepsAsync(engine =>
    {
        Assert.False(engine.HasWork);
        Assert.Equal(engine.PageCount, engine.FreePages);
    });
}
