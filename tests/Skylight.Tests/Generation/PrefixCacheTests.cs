using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;

namespace Skylight.Tests.Generation;

/// <summary>Pages that are kept after their users have left, and found by prompts that begin alike.</summary>
public sealed class PrefixCacheTests
{
    private const int Page = PagedAttention.PageSize;

    [Theory]
    [InlineData(0, 2 * Page + 5, 20, LanguageModelKind.Qwen2)]
    [InlineData(0, 2 * Page, 1, LanguageModelKind.Qwen2)]
    [InlineData(2, 3 * Page - 1, Page + 1, LanguageModelKind.Qwen2)]
    [InlineData(3, Page, 3 * Page, LanguageModelKind.Qwen2)]
    [InlineData(2, 3 * Page - 1, Page + 1, LanguageModelKind.Qwen3)]
    public void The_next_turn_is_read_from_where_it_is_new_and_answered_alike(int pictures, int length, int newTokens,
        LanguageModelKind kind)
    {
        using VisionLanguageModel model = TinyModel.Create(maxPositions: 1024, kind: kind);
        using GenerationEngine keeping = Keeping(model, 40), fresh = new(model, 40 * Page);
        TokenSequence prompt = TinyModel.Prompt(1, length,
            [.. Enumerable.Range(0, pictures).Select(index => TinyModel.Picture((ulong)index))]);
        var options = new SamplingOptions { MaxOutputTokens = newTokens, Seed = 3 };
        for (int turn = 0, expected = 0; turn < 4; turn++)
        {
            (RequestRun run, Completion answer) = Complete(keeping, prompt, options);
            AssertSame(fresh.Generate([new(prompt)], options)[0][0], answer);
            Assert.Equal(expected, run.CachedTokens);
            // The keys and values of the last token were never computed.
            expected = (prompt.Tokens.Length + newTokens - 1) / Page * Page;
            // The same pictures come as other objects with every turn.
            prompt = new TokenSequence(
                [.. prompt.Tokens, .. answer.Tokens, .. TinyModel.Text((ulong)turn, 7)],
                [.. Enumerable.Range(0, pictures).Select(index => TinyModel.Picture((ulong)index))])
            { TextFrom = length };
        }

        Assert.Equal(pictures, keeping.EncodedImages);
        Assert.Equal(keeping.PageCount, keeping.FreePages);
    }

    [Fact]
    public void The_same_prompt_again_runs_its_last_token_only_in_a_page_of_its_own()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 20);
        TokenSequence prompt = TinyModel.Prompt(1, 3 * Page);
        var options = new SamplingOptions { MaxOutputTokens = 5, Seed = 3 };
        Completion first = Complete(engine, prompt, options).Answer;
        (RequestRun again, Completion second) = Complete(engine, prompt, options);
        Assert.Equal(2 * Page, again.CachedTokens);
        AssertSame(first, second);
    }

    [Fact]
    public void Other_pictures_under_the_same_tokens_are_other_prompts()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine keeping = Keeping(model, 40), fresh = new(model, 40 * Page);
        var options = new SamplingOptions { MaxOutputTokens = 4, Seed = 3 };
        int[] tokens = TinyModel.Text(1, 4 * Page);
        Array.Fill(tokens, TinyModel.ImageToken, Page + 3, TinyModel.TokensPerImage);
        Array.Fill(tokens, TinyModel.ImageToken, 2 * Page + 3, TinyModel.TokensPerImage);
        int[] cached = [0, 3 * Page, Page, 2 * Page, 0];
        (ulong, ulong)[] pictures = [(1, 2), (1, 2), (2, 2), (1, 1), (1, 2)];
        for (int index = 0; index < pictures.Length; index++)
        {
            if (index == 4)
                tokens[0]++;
            var prompt = new TokenSequence([.. tokens],
                [TinyModel.Picture(pictures[index].Item1), TinyModel.Picture(pictures[index].Item2)]);
            (RequestRun run, Completion answer) = Complete(keeping, prompt, options);
            AssertSame(fresh.Generate([new(prompt)], options)[0][0], answer);
            Assert.Equal(cached[index], run.CachedTokens);
        }

        // Image tokens that stand for nothing are words.
        var words = new TokenSequence([.. tokens[..Page], .. tokens[(Page + 3)..(2 * Page + 3)], 1], []);
        Complete(keeping, words, options);
        var picture = new TokenSequence(words.Tokens, [TinyModel.Picture(5)]);
        (RequestRun seen, Completion own) = Complete(keeping, picture, options);
        AssertSame(fresh.Generate([new(picture)], options)[0][0], own);
        Assert.Equal(Page, seen.CachedTokens);
    }

    [Fact]
    public void A_prompt_finds_what_another_one_that_still_runs_has_read()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 20, prefillTokens: Page + 5), fresh = new(model, 20 * Page);
        GenerationRequest first = new(TinyModel.Prompt(1, 4 * Page + 2), 2, 1),
            second = new(TinyModel.Prompt(1, 3 * Page + 2), 2, 2);
        var options = new SamplingOptions { MaxOutputTokens = Page, Seed = 3 };
        RequestRun running = engine.Add(first, options);
        engine.Step(TestContext.Current.CancellationToken);
        engine.Step(TestContext.Current.CancellationToken);
        RequestRun beside = engine.Add(second, options);
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Equal(2 * Page, beside.CachedTokens);
        foreach (RequestRun run in (RequestRun[])[running, beside])
        {
            Completion[] expected = fresh.Generate([run.Request], options)[0];
            for (int completion = 0; completion < expected.Length; completion++)
                AssertSame(expected[completion], run.Completions[completion]!);
        }

        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void What_was_used_longest_ago_makes_room_and_its_end_before_its_beginning()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 10);
        var options = new SamplingOptions { MaxOutputTokens = 1 };
        TokenSequence old = TinyModel.Prompt(1, 4 * Page + 1), recent = TinyModel.Prompt(2, 4 * Page + 1);
        Complete(engine, old, options);
        Complete(engine, recent, options);
        Assert.Equal(8, engine.KeptPages);
        // Four pages: the two that hold nothing, and the last two of the oldest prompt.
        Complete(engine, TinyModel.Prompt(3, 3 * Page + 1), options);
        Assert.Equal(9, engine.KeptPages);
        Assert.Equal(4 * Page, Complete(engine, recent, options).Run.CachedTokens);
        Assert.Equal(2 * Page, Complete(engine, old, options).Run.CachedTokens);
        Assert.Equal(10, engine.FreePages);
    }

    [Fact]
    public void New_weights_find_nothing_that_old_ones_have_computed()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 20), fresh = new(model, 20 * Page);
        TokenSequence prompt = TinyModel.Prompt(1, 3 * Page + 1, TinyModel.Picture(1));
        var options = new SamplingOptions { MaxOutputTokens = 2 * Page, Seed = 3 };
        Completion before = Complete(engine, prompt, options).Answer;
        RequestRun running = engine.Add(new(prompt), options);
        for (int step = 0; step < Page; step++)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Equal(3 * Page, running.CachedTokens);

        Scale(model, "connector.linear2.weight", 1.5f);
        Scale(model, "language.layers.0.attention.qkv.weight", 1.5f);
        engine.Forget();
        Assert.Equal(0, engine.KeptPages);
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        (RequestRun run, Completion after) = Complete(engine, prompt, options);
        Assert.Equal(0, run.CachedTokens);
        AssertSame(fresh.Generate([new(prompt)], options)[0][0], after);
        Assert.NotEqual(before.LogProbabilities, after.LogProbabilities);
        Assert.Equal(3 * Page, Complete(engine, prompt, options).Run.CachedTokens);
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void A_picture_that_old_weights_have_encoded_is_encoded_again_for_whoever_comes_after()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 30, prefillTokens: Page), fresh = new(model, 30 * Page);
        TokenSequence prompt = TinyModel.Prompt(1, 3 * Page + 1, TinyModel.Picture(1));
        var options = new SamplingOptions { MaxOutputTokens = 5, Seed = 3 };
        RequestRun before = engine.Add(new(prompt), options);
        engine.Step(TestContext.Current.CancellationToken);
        Assert.False(before.IsFinished);
        Scale(model, "connector.linear2.weight", 3f);
        engine.Forget();
        // The same picture, as the same object, while the first request still uses what the old weights made of it.
        RequestRun beside = engine.Add(new(prompt), options);
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Completion expected = fresh.Generate([new(prompt)], options)[0][0];
        AssertSame(expected, beside.Completions[0]!);
        Assert.NotEqual(expected.LogProbabilities, before.Completions[0]!.LogProbabilities);
        (RequestRun after, Completion own) = Complete(engine, TinyModel.Prompt(1, 3 * Page + 1, TinyModel.Picture(1)),
            options);
        Assert.Equal(3 * Page, after.CachedTokens);
        AssertSame(expected, own);
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void Tokens_that_the_caller_changes_afterwards_are_not_what_is_found()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 30, prefillTokens: Page), fresh = new(model, 30 * Page);
        var options = new SamplingOptions { MaxOutputTokens = 5, Seed = 3 };
        TokenSequence mine = TinyModel.Prompt(1, 3 * Page + 1), same = TinyModel.Prompt(1, 3 * Page + 1);
        RequestRun run = engine.Add(new(mine), options);
        engine.Step(TestContext.Current.CancellationToken);
        Array.Fill(mine.Tokens, 7);
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Completion expected = fresh.Generate([new(same)], options)[0][0];
        AssertSame(expected, run.Completions[0]!);
        AssertSame(expected, Complete(engine, same, options).Answer);
    }

    [Fact]
    public void Weights_that_are_no_numbers_leave_nothing_behind()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Keeping(model, 20, prefillTokens: Page);
        // One token's embedding is bad. It stands in a part of the prompt after which the prompt goes on.
        const int Bad = 37;
        int[] tokens = [.. TinyModel.Text(1, 3 * Page + 1).Select(token => token == Bad ? 0 : token)];
        tokens[Page + 9] = Bad;
        var request = new GenerationRequest(new TokenSequence(tokens, []));
        var options = new SamplingOptions { MaxOutputTokens = 2 };
        PersistentTensor embedding = model.Parameters["language.embedding.weight"];
        float[] weights = PersistentTensors.Read(model.Device, embedding);
        int width = weights.Length / model.Configuration.Language.VocabularySize;
        PersistentTensors.Write(model.Device, embedding,
            [.. weights.Select((weight, index) => index / width == Bad ? float.NaN : weight)]);
        RequestRun beside = engine.Add(new(TinyModel.Prompt(3, 5, TinyModel.Picture(1))),
            new() { MaxOutputTokens = 30, LogitBias = new Dictionary<int, float> { [Bad] = float.NegativeInfinity } });
        engine.Step(TestContext.Current.CancellationToken);
        RequestRun run = engine.Add(request, options);
        engine.Step(TestContext.Current.CancellationToken);
        Assert.Null(run.Failure);
        engine.Step(TestContext.Current.CancellationToken);
        Assert.Contains("after prompt token 64 of 97 are not finite",
            Assert.IsType<LogitsNotFiniteException>(run.Failure).Message, StringComparison.Ordinal);
        Assert.True(run.IsFinished);
        Assert.False(beside.IsFinished);
        engine.Remove(beside);
        // Only the page before the bad one is kept.
        Assert.Equal((1, engine.PageCount), (engine.KeptPages, engine.FreePages));
        PersistentTensors.Write(model.Device, embedding, weights);
        using var fresh = new GenerationEngine(model, 20 * Page);
        AssertSame(fresh.Generate([request], options)[0][0], Complete(engine, request.Prompt, options).Answer);
    }

    [Theory]
    [InlineData(12)]
    [InlineData(17)]
    [InlineData(60)]
    public void Whatever_comes_and_goes_is_answered_as_it_would_be_alone(int pages)
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine keeping = Keeping(model, pages, prefillTokens: 50, beside: 20), fresh = new(model, 64 * Page);
        var random = new CounterRandom(11, (ulong)pages);
        var runs = new List<(RequestRun Run, int Patience)>();
        long found = 0;
        for (int arrivals = 0; arrivals < 70 || keeping.HasWork;)
        {
            if (arrivals < 70 && random.Next(3) > 0)
            {
                arrivals++;
                // Few beginnings, so that many are alike: the rest of the text is of three kinds too.
                int length = 30 + random.Next(4) * Page / 2;
                ImageTile[] pictures = [
                    .. Enumerable.Range(0, random.Next(2)).Select(_ => TinyModel.Picture((ulong)random.Next(2)))];
                TokenSequence beginning = TinyModel.Prompt((ulong)random.Next(2), length, pictures);
                var prompt = new TokenSequence([.. beginning.Tokens,
                    .. TinyModel.Text((ulong)random.Next(3), random.Next(50))], pictures)
                { TextFrom = length };
                var options = new SamplingOptions
                {
                    MaxOutputTokens = 1 + random.Next(70),
                    Seed = (ulong)random.Next(2),
                    Temperature = random.Next(2),
                };
                runs.Add((keeping.Add(new(prompt, 1 + random.Next(3)), options), random.Next(4) == 0 ? random.Next(60)
                    : int.MaxValue));
            }

            keeping.Step(TestContext.Current.CancellationToken);
            for (int index = 0; index < runs.Count; index++)
            {
                (RequestRun run, int patience) = runs[index];
                if (patience == 0)
                    keeping.Remove(run);
                runs[index] = (run, patience - 1);
            }
        }

        foreach ((RequestRun run, _) in runs.Where(each => each.Run.IsFinished))
        {
            found += run.CachedTokens;
            Completion[] expected = fresh.Generate([run.Request], run.Options)[0];
            for (int completion = 0; completion < expected.Length; completion++)
                AssertSame(expected[completion], run.Completions[completion]!);
        }

        Assert.True(found >= 10 * Page, $"{found} tokens were found");
        Assert.Equal(pages, keeping.FreePages);
        Assert.InRange(keeping.KeptPages, 1, pages);
    }

    private static GenerationEngine Keeping(VisionLanguageModel model, int pages, int prefillTokens = 4096,
        int beside = int.MaxValue) =>
        new(model, pages * Page, prefillTokens, imageCacheBytes: 1 << 20,
            cachePrefixes: true)
        { PrefillTokensBesideDecoding = beside };

    private static (RequestRun Run, Completion Answer) Complete(GenerationEngine engine, TokenSequence prompt,
        SamplingOptions options)
    {
        int reported = -1;
        RequestRun run = engine.Add(new GenerationRequest(prompt), options, token => reported = token.CachedPromptTokens);
        while (!run.IsFinished)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Equal(run.CachedTokens, reported);
        return (run, run.Completions[0]!);
    }

    private static void Scale(VisionLanguageModel model, string name, float factor) =>
        PersistentTensors.Write(model.Device, model.Parameters[name],
            [.. PersistentTensors.Read(model.Device, model.Parameters[name]).Select(value => value * factor)]);

    private static void AssertSame(Completion expected, Completion actual)
    {
        Assert.Equal(expected.Tokens, actual.Tokens);
        Assert.Equal(expected.LogProbabilities.Select(BitConverter.SingleToInt32Bits),
            actual.LogProbabilities.Select(BitConverter.SingleToInt32Bits));
        Assert.Equal(expected.Entropies.Select(BitConverter.SingleToInt32Bits),
            actual.Entropies.Select(BitConverter.SingleToInt32Bits));
        Assert.Equal(expected.FinishReason, actual.FinishReason);
    }
}
