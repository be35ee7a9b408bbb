using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Generation;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Generation through the whole CUDA device, on the emulator: prompts in parts beside decoding, pictures, groups that
/// share pages, options of their own, plans that are recorded and replayed.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class GenerationOnCardTests(KernelFolder kernels)
{
    private const int Page = PagedAttention.PageSize;

    private static readonly ImageTile s_picture = TinyModel.Picture(1);

    /// <summary>
    /// The first is longer than a span of keys (512), which its three completions share; pictures, page borders, and
    /// options of every kind. Those that training can compute again come first.
    /// </summary>
    private static readonly (GenerationRequest Request, SamplingOptions Options)[] s_cases =
    [
        (new(TinyModel.Prompt(1, 17 * Page + 9, s_picture), 3, 1), new() { MaxOutputTokens = 9, Seed = 1 }),
        (new(TinyModel.Prompt(2, Page - 1, s_picture, TinyModel.Picture(2)), 2, 2),
            new() { Temperature = 0.7f, TopP = 0.9f, MaxOutputTokens = 12, Seed = 2 }),
        (new(TinyModel.Prompt(3, 1), 1, 3), new() { TopK = 5, MaxOutputTokens = 30, Seed = 3 }),
        (new(TinyModel.Prompt(4, Page), 1, 4), new() { Temperature = 0, MaxOutputTokens = 14 }),
        (new(TinyModel.Prompt(5, Page + 1, TinyModel.Picture(3)), 2, 5),
            new() { Temperature = 1.5f, MinP = 0.05f, MaxOutputTokens = 10, Seed = 4, RepetitionPenalty = 1.3f }),
        (new(TinyModel.Prompt(6, 45), 1, 6),
            new() { MaxOutputTokens = 10, Seed = 5,
                LogitBias = new Dictionary<int, float> { [7] = float.NegativeInfinity, [3] = 4f } }),
    ];

    private const int WithTraining = 4;

    [Fact]
    public void Rollouts_equal_training_and_what_each_request_gives_alone()
    {
        // Also on a card whose two kinds of matrix instructions round differently; the model has weights for either.
        using SimulatedCard card = new(cacheFolder: kernels.Path, rounding: "own");
        // What decoding alone and together, prefill and training choose are different tiles.
        foreach ((int rows, string constant) in ((int, string)[])[(3, "LEFT_ROWS"), (20, "PANELS"), (600, "CLUSTER")])
            Assert.Contains(constant, Assert.Single(CudaBindings.Standard.Describe(new MatMul(),
                [new(DataType.BFloat16, new Shape(rows, 32)), new(DataType.BFloat16, new Shape(80, 32), Storage.Weight)],
                card.Device.Target).Launches).Defines.Keys);
        using VisionLanguageModel model = Create(card);
        RequestRun[] together = Together(model, out int replayed);
        Assert.True(replayed > 0, "nothing was replayed");
        for (int index = 0; index < s_cases.Length; index++)
        {
            (GenerationRequest request, SamplingOptions options) = s_cases[index];
            // The prompt whole, and nothing beside it.
            using var alone = new GenerationEngine(model, 64 * Page);
            AssertSame(alone.Generate([request], options)[0], Completions(together[index]));
        }

        for (int index = 0; index < WithTraining; index++)
        {
            (GenerationRequest request, SamplingOptions options) = s_cases[index];
            Completion[] completions = Completions(together[index]);
            TrainingSample[] samples = Samples(request, completions);
            float temperature = options.Temperature == 0 ? 1 : options.Temperature;
            using var scorer = new ModelScorer(model, microBatchTokens: 700);
            AssertSame(completions, scorer.Score(samples, temperature));
            using var trainer = new ModelTrainer(model, TrainableModules.All);
            AssertSame(completions,
                trainer.AccumulateGradients(samples, new CrossEntropyObjective { Temperature = temperature }));
        }

        // They do: alike, they give other numbers.
        Emulator.Configure("rounding", "same");
        using var alike = new GenerationEngine(model, 64 * Page);
        Assert.NotEqual(Completions(together[3])[0].Entropies,
            alike.Generate([s_cases[3].Request], s_cases[3].Options)[0][0].Entropies);
    }

    [Fact]
    public void Replays_give_the_bits_of_steps_that_are_queued_one_by_one()
    {
        using SimulatedCard recording = new(cacheFolder: kernels.Path),
            stepping = new(cacheFolder: kernels.Path, captureGraphs: false);
        using VisionLanguageModel recorded = Create(recording), stepped = Create(stepping);
        RequestRun[] expected = Together(stepped, out int none), actual = Together(recorded, out int replayed);
        Assert.Equal(0, none);
        Assert.True(replayed > 10, $"{replayed} steps were replayed");
        for (int index = 0; index < s_cases.Length; index++)
            AssertSame(Completions(expected[index]), Completions(actual[index]));
    }

    [Theory]
    [InlineData(1, 1f)]
    [InlineData(8, 1f)]
    [InlineData(1, 1.2f)]
    public void A_long_completion_takes_few_plans_and_all_of_them_are_replayed(int count, float penalty)
    {
        const int NewTokens = 200, Prompt = 20;
        using SimulatedCard card = new(cacheFolder: kernels.Path);
        using VisionLanguageModel model = Create(card);
        using var engine = new GenerationEngine(model, count * (Prompt + NewTokens + Page) + Page);
        RequestRun run = engine.Add(new(TinyModel.Prompt(1, Prompt), count),
            new() { MaxOutputTokens = NewTokens, Seed = 1, RepetitionPenalty = penalty });
        int steps = 0, replayed = 0;
        while (engine.HasWork)
        {
            int before = engine.Plans.Made;
            long uploads = card.Device.Uploads, waits = card.Device.Stream.Waits;
            engine.Step(TestContext.Current.CancellationToken);
            // All small inputs go to the card as one, and all results come back with one wait.
            Assert.Equal((1, 1), (card.Device.Uploads - uploads, card.Device.Stream.Waits - waits));
            steps++;
            replayed += engine.Plans.Made == before && engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        Assert.True(run.IsFinished);
        Assert.Equal(NewTokens, steps);
        // One for the prompt, one for each width of the page table up to 7 pages (1, 2, 3, 4, 6, 8), and few more for
        // the number of changed logits.
        int plans = engine.Plans.Made;
        Assert.InRange(plans, 6, penalty == 1 ? 7 : 12);
        // A plan's first run is queued step by step; the second is recorded, and replayed as all later ones are.
        Assert.Equal(steps - plans, replayed);
    }

    [Fact]
    public async Task A_service_works_from_its_own_thread_and_training_goes_between_its_steps()
    {
        using SimulatedCard card = new(cacheFolder: kernels.Path);
        using VisionLanguageModel model = Create(card);
        (GenerationRequest Request, SamplingOptions Options)[] cases = s_cases[1..];
        Completion[][] expected = Alone(model, cases);
        await using var service = new GenerationService(new GenerationEngine(model, 40 * Page, prefillTokens: 48,
            imageCacheBytes: 1 << 20)
        { PrefillTokensBesideDecoding = 7 });
        // One leaves while its prompt is read, one after some tokens; the others do not notice.
        GenerationRequest picture = new(TinyModel.Prompt(9, 200, TinyModel.Picture(2)));
        Task<int>[] leaving = [.. new[] { 0, 3 }.Select(
            after => GenerationServiceTests.LeaveAsync(service, picture, new() { MaxOutputTokens = 300 }, after))];
        List<GeneratedToken>[] actual = await Task.WhenAll(
            cases.Select(each => Task.Run(() => Collect(service, each.Request, each.Options))));
        for (int index = 0; index < cases.Length; index++)
            AssertSame(expected[index], actual[index]);
        int[] seen = await Task.WhenAll(leaving);
        Assert.True(seen[0] == 0 && seen[1] >= 3, string.Join(", ", seen));
        await UntilIdle(service);

        // Training on the service's thread, over the same weights, is seen by the next token.
        await service.BetweenStepsAsync(engine =>
        {
            using var trainer = new ModelTrainer(model, TrainableModules.All);
            trainer.AccumulateGradients(Samples(cases[1].Request, expected[1]), new CrossEntropyObjective());
            trainer.Step(0.05f);
            engine.Forget();
        });
        List<GeneratedToken>[] after = await Task.WhenAll(
            cases.Select(each => Task.Run(() => Collect(service, each.Request, each.Options))));
        Completion[][] trained = Alone(model, cases);
        for (int index = 0; index < cases.Length; index++)
        {
            AssertSame(trained[index], after[index]);
            Assert.NotEqual(expected[index].SelectMany(completion => completion.LogProbabilities),
                trained[index].SelectMany(completion => completion.LogProbabilities));
        }

        await UntilIdle(service);
    }

    [Fact]
    public void What_is_found_in_the_cache_gives_the_bits_of_what_is_read()
    {
        using SimulatedCard card = new(cacheFolder: kernels.Path);
        using VisionLanguageModel model = Create(card);
        using GenerationEngine keeping = new(model, 64 * Page, cachePrefixes: true), fresh = new(model, 64 * Page);
        (GenerationRequest request, SamplingOptions options) = s_cases[0];
        RequestRun first = keeping.Add(request, options);
        while (!first.IsFinished)
            keeping.Step(TestContext.Current.CancellationToken);
        int[] text = [.. request.Prompt.Tokens, .. first.Completions[1]!.Tokens, .. TinyModel.Text(7, Page + 3)];
        GenerationRequest next = new(
            new TokenSequence(text, [TinyModel.Picture(1)]) { TextFrom = request.Prompt.Tokens.Length }, 2, 9);
        RequestRun second = keeping.Add(next, options);
        while (!second.IsFinished)
            keeping.Step(TestContext.Current.CancellationToken);
        Assert.Equal(17 * Page, second.CachedTokens);
        Assert.Equal(1, keeping.EncodedImages);
        AssertSame(fresh.Generate([next], options)[0], Completions(second));
    }

    [Fact]
    public void Logits_that_are_no_numbers_are_named_and_the_card_works_on()
    {
        using SimulatedCard card = new(cacheFolder: kernels.Path);
        using VisionLanguageModel model = Create(card);
        using var engine = new GenerationEngine(model, 8 * Page);
        (GenerationRequest request, SamplingOptions options) = s_cases[3];
        Completion[] expected = engine.Generate([request], options)[0];
        Skylight.Graphs.PersistentTensor head = model.Parameters["language.head.weight"];
        float[] weights = PersistentTensors.Read(card.Device, head);
        PersistentTensors.Write(card.Device, head, [.. weights.Select(_ => float.NaN)]);
        Assert.Contains("Request 0: The logits",
            Assert.Throws<LogitsNotFiniteException>(() => engine.Generate([request], options)).Message,
            StringComparison.Ordinal);
        Assert.Equal(engine.PageCount, engine.FreePages);
        PersistentTensors.Write(card.Device, head, weights);
        AssertSame(expected, engine.Generate([request], options)[0]);
    }

    private static VisionLanguageModel Create(SimulatedCard card) =>
        TinyModel.Create(device: card.Device, maxPositions: 1024);

    /// <summary>
    /// All cases at once: they come one after the other, their prompts are read in parts, and the cache is too small
    /// for all of them.
    /// </summary>
    private static RequestRun[] Together(VisionLanguageModel model, out int replayed)
    {
        using var engine = new GenerationEngine(model, 30 * Page, prefillTokens: 200) { PrefillTokensBesideDecoding = 90 };
        var runs = new List<RequestRun>();
        int most = 0, waited = 0;
        replayed = 0;
        while (runs.Count < s_cases.Length || engine.HasWork)
        {
            if (runs.Count < s_cases.Length)
                runs.Add(engine.Add(s_cases[^(runs.Count + 1)].Request, s_cases[^(runs.Count + 1)].Options));
            int before = engine.Plans.Made;
            engine.Step(TestContext.Current.CancellationToken);
            most = Math.Max(most, engine.ReadingRequests > 0 ? engine.WritingSequences : 0);
            waited += engine.WaitingRequests;
            replayed += engine.Plans.Made == before && engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        Assert.True(waited > 0, "no request waited for pages");
        Assert.True(most > 0, "no prompt was read beside completions");
        Assert.Equal(engine.PageCount, engine.FreePages);
        runs.Reverse();
        return [.. runs];
    }

    private static Completion[][] Alone(VisionLanguageModel model,
        (GenerationRequest Request, SamplingOptions Options)[] cases)
    {
        using var engine = new GenerationEngine(model, 64 * Page);
        return [.. cases.Select(each => engine.Generate([each.Request], each.Options)[0])];
    }

    private static Completion[] Completions(RequestRun run) => [.. run.Completions.Select(completion => completion!)];

    private static TrainingSample[] Samples(GenerationRequest request, Completion[] completions) =>
        [.. completions.Select(completion =>
    {
        int[] prompt = request.Prompt.Tokens;
        var sequence = new TokenSequence([.. prompt, .. completion.Tokens],
            request.Prompt.Images) { TextFrom = prompt.Length };
        return new TrainingSample(sequence, prompt.Length, [.. Enumerable.Repeat(0.01f, completion.Tokens.Length)]);
    })];

    private static async Task<List<GeneratedToken>> Collect(GenerationService service, GenerationRequest request,
        SamplingOptions options)
    {
        var tokens = new List<GeneratedToken>();
        await foreach (
            GeneratedToken token in service.GenerateAsync(request, options, TestContext.Current.CancellationToken))
            tokens.Add(token);
        return tokens;
    }

    private static Task UntilIdle(GenerationService service) => service.BetweenStepsAsync(engine =>
    {
        Assert.False(engine.HasWork);
        Assert.Equal(engine.PageCount, engine.FreePages);
    });

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

    private static void AssertSame(Completion[] expected, List<GeneratedToken> actual)
    {
        for (int completion = 0; completion < expected.Length; completion++)
        {
            GeneratedToken[] own = [.. actual.Where(token => token.Completion == completion)];
            Assert.Equal(expected[completion].Tokens, own.Select(token => token.Token));
            AssertSameBits([expected[completion].LogProbabilities], [[.. own.Select(token => token.LogProbability)]]);
            AssertSameBits([expected[completion].Entropies], [[.. own.Select(token => token.Entropy)]]);
        }
    }

    private static void AssertSame(Completion[] rollouts, BatchResult training)
    {
        AssertSameBits(rollouts.Select(completion => completion.LogProbabilities), training.LogProbabilities);
        AssertSameBits(rollouts.Select(completion => completion.Entropies), training.Entropies);
    }

    private static void AssertSameBits(IEnumerable<float[]> expected, IEnumerable<float[]> actual) =>
        Assert.Equal(expected.Select(Bits), actual.Select(Bits));

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];
}
