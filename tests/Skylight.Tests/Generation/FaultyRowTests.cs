using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cuda;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Generation;

/// <summary>
/// What goes wrong with one request fails that request; the others' tokens are bit for bit those they would have alone.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class FaultyRowTests
{
    private const int Page = PagedAttention.PageSize;

    // The token with a bad embedding. It is in no healthy prompt, and nobody may write it.
    private const int Bad = 37;

    private static readonly Dictionary<int, float> s_unwritten = new() { [Bad] = float.NegativeInfinity };

    [Theory]
    [InlineData(false, float.NaN)]
    [InlineData(false, float.PositiveInfinity)]
    [InlineData(true, float.NaN)]
    public void Logits_that_are_not_finite_fail_their_request_alone(bool onCard, float bad)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        Poison(model, bad);
        // Pages come and go: those that a faulty request has left are written again in part, with its numbers behind.
        using GenerationEngine engine = Engine(model), alone = new(model, 64 * Page);
        var healthy = new List<RequestRun>();
        var faulty = new List<RequestRun>();
        for (int round = 0; round < (onCard ? 2 : 6); round++)
        {
            for (int index = 0; index < 3; index++)
                healthy.Add(
                    engine.Add(new(Healthy((ulong)(10 * round + index), 5 + 31 * index), 1 + index % 2, (ulong)index),
                        Options(round)));
            faulty.Add(engine.Add(new(Faulty((ulong)round, 3 * Page, at: (round * 17) % (3 * Page)), 2), Options(round)));
            // Its first own token is bad.
            faulty.Add(engine.Add(new(Healthy(99, 40)),
                Options(round) with { LogitBias = new Dictionary<int, float> { [Bad] = 1e6f } }));
            for (int step = 0; step < 5; step++)
                engine.Step(TestContext.Current.CancellationToken);
        }

        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.All(faulty,
            run => Assert.Contains("not finite", Assert.IsType<LogitsNotFiniteException>(run.Failure).Message,
                StringComparison.Ordinal));
        Assert.Contains("prompt token", faulty[0].Failure!.Message, StringComparison.Ordinal);
        Assert.Contains("for token 2 of completion 1", faulty[1].Failure!.Message, StringComparison.Ordinal);
        Assert.Equal(engine.PageCount, engine.FreePages);
        foreach (RequestRun run in healthy)
        {
            Assert.Null(run.Failure);
            Completion[] expected = alone.Generate([run.Request], run.Options)[0];
            for (int completion = 0; completion < expected.Length; completion++)
                AssertSame(expected[completion], run.Completions[completion]!);
        }
    }

    [Fact]
    public void Pages_of_a_faulty_request_are_found_by_nobody()
    {
        using VisionLanguageModel model = TinyModel.Create();
        float[] weights = Poison(model, float.NaN);
        using GenerationEngine engine = Engine(model), alone = new(model, 64 * Page);
        TokenSequence prompt = Faulty(1, 4 * Page + 1, at: Page + 30);
        RequestRun run = engine.Add(new(prompt), Options(0));
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.NotNull(run.Failure);
        // As if the fault had been one of the machine's, that does not come again.
        PersistentTensors.Write(model.Device, model.Parameters["language.embedding.weight"], weights);
        RequestRun again = engine.Add(new(prompt), Options(0));
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.InRange(again.CachedTokens, 0, Page);
        AssertSame(alone.Generate([new(prompt)], Options(0))[0][0], again.Completions[0]!);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_picture_that_is_not_finite_fails_those_that_hold_it_and_is_not_kept(bool onCard)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        using GenerationEngine engine = Engine(model), alone = new(model, 64 * Page);
        ImageTile good = TinyModel.Picture(1),
            bad = new([.. TinyModel.Picture(2).Pixels.Select((pixel, index) => index == 100 ? float.NaN : pixel)], 28, 28);
        GenerationRequest[] requests =
        [
            new(TinyModel.Prompt(1, 40, good)), new(TinyModel.Prompt(2, 40, good, bad)),
            new(TinyModel.Prompt(3, 40, bad)), new(TinyModel.Prompt(4, 40)),
            new(TinyModel.Prompt(5, 40, TinyModel.Picture(3), good)),
        ];
        foreach (int round in (int[])[0, 1])
        {
            RequestRun[] runs = [.. requests.Select(request => engine.Add(request, Options(3)))];
            while (engine.HasWork)
                engine.Step(TestContext.Current.CancellationToken);
            Assert.Contains("tile 2 of the prompt's 2",
                Assert.IsType<ImageFeaturesNotFiniteException>(runs[1].Failure).Message, StringComparison.Ordinal);
            Assert.Contains("tile 1 of the prompt's 1",
                Assert.IsType<ImageFeaturesNotFiniteException>(runs[2].Failure).Message, StringComparison.Ordinal);
            foreach (int index in (int[])[0, 3, 4])
                AssertSame(alone.Generate([requests[index]], Options(3))[0][0], runs[index].Completions[0]!);
        }

        Assert.Equal(2 * TinyModel.TokensPerImage * 32 * sizeof(float), engine.ImageCacheBytes);
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void A_callback_that_throws_and_lists_that_change_fail_nobody_else()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Engine(model), alone = new(model, 64 * Page);
        var request = new GenerationRequest(Healthy(1, 40), 2);
        int[] mine = [.. request.Prompt.Tokens];
        var bias = new Dictionary<int, float>(s_unwritten);
        var stops = new List<int> { 3 };
        RequestRun healthy = engine.Add(request, Options(1));
        RequestRun changing = engine.Add(new(new TokenSequence(mine)),
            Options(1) with { LogitBias = bias, StopTokens = stops });
        int heard = 0;
        RequestRun throwing = engine.Add(request, Options(1), _ =>
        {
            if (++heard == 3)
                throw new InvalidOperationException("The caller's own.");
        });
        Array.Fill(mine, 1 << 20);
        bias[1 << 20] = float.NaN;
        stops.Clear();
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Equal("The caller's own.", Assert.IsType<InvalidOperationException>(throwing.Failure).Message);
        Assert.Equal(3, heard);
        Completion[] expected = alone.Generate([request], Options(1))[0];
        AssertSame(expected[0], healthy.Completions[0]!);
        AssertSame(expected[1], healthy.Completions[1]!);
        AssertSame(alone.Generate([new(request.Prompt)], Options(1) with { StopTokens = [3] })[0][0],
            changing.Completions[0]!);
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void Where_every_token_is_banned_the_request_hears_of_it()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = Engine(model), alone = new(model, 64 * Page);
        GenerationRequest request = new(Healthy(1, 20));
        RequestRun banned = engine.Add(request,
            Options(1) with
            {
                LogitBias = Enumerable.Range(0, 40).ToDictionary(token => token, _ => float.NegativeInfinity),
            });
        RequestRun beside = engine.Add(request, Options(1));
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Contains("every token is banned", banned.Failure!.Message, StringComparison.Ordinal);
        AssertSame(alone.Generate([request], Options(1))[0][0], beside.Completions[0]!);
    }

    [Fact]
    public async Task Callers_of_a_service_hear_of_their_own_faults_only()
    {
        using VisionLanguageModel model = TinyModel.Create();
        Poison(model, float.NaN);
        using var alone = new GenerationEngine(model, 64 * Page);
        await using var service = new GenerationService(Engine(model));
        Task<List<GeneratedToken>>[] calls = [.. Enumerable.Range(0, 24).Select(index => CollectAsync(
            new(index % 3 == 0 ? Faulty((ulong)index, 50, at: index) : Healthy((ulong)index, 10 + index)), Options(index)))];
        for (int index = 0; index < calls.Length; index++)
        {
            if (index % 3 == 0)
                await Assert.ThrowsAsync<LogitsNotFiniteException>(() => calls[index]);
            else
                Assert.Equal(alone.Generate([new(Healthy((ulong)index, 10 + index))], Options(index))[0][0].Tokens,
                    (await calls[index]).Select(token => token.Token));
        }

        async Task<List<GeneratedToken>> CollectAsync(GenerationRequest request, SamplingOptions options)
        {
            var tokens = new List<GeneratedToken>();
            await foreach (
                GeneratedToken token in service.GenerateAsync(request, options, TestContext.Current.CancellationToken))
                tokens.Add(token);
            return tokens;
        }
    }

    private static GenerationEngine Engine(VisionLanguageModel model) =>
        new(model, 24 * Page, prefillTokens: Page, imageCacheBytes: 1 << 20, cachePrefixes: true);

    private static SamplingOptions Options(int seed) =>
        new() { MaxOutputTokens = 20, Seed = (ulong)seed, Temperature = seed % 3 == 2 ? 0 : 1, LogitBias = s_unwritten };

    private static TokenSequence Healthy(ulong seed, int length) =>
        new([.. TinyModel.Text(seed, length).Select(token => token == Bad ? 0 : token)]);

    private static TokenSequence Faulty(ulong seed, int length, int at)
    {
        TokenSequence sequence = Healthy(seed, length);
        sequence.Tokens[at] = Bad;
        return sequence;
    }

    /// <summary>Spoils the embedding of a token, and gives what the weights were.</summary>
    private static float[] Poison(VisionLanguageModel model, float bad)
    {
        PersistentTensor embedding = model.Parameters["language.embedding.weight"];
        float[] weights = PersistentTensors.Read(model.Device, embedding);
        int width = weights.Length / model.Configuration.Language.VocabularySize;
        PersistentTensors.Write(model.Device, embedding,
            [.. weights.Select((weight, index) => index / width == Bad ? bad : weight)]);
        return weights;
    }

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
