using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tests.Cuda;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Generation;

/// <summary>The most likely tokens beside those that are drawn, and penalties of what was written.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class LikelyTokensTests
{
    private const int Page = PagedAttention.PageSize;

    private static readonly SamplingOptions s_options = new() { MaxOutputTokens = 12, Seed = 7 };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void They_hold_the_drawn_token_with_its_bits_and_change_no_answer(bool onCard)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        using GenerationEngine engine = new(model, 64 * Page), plain = new(model, 64 * Page);
        foreach (SamplingOptions options in (SamplingOptions[])[s_options with { Temperature = 0 },
            s_options with { Temperature = 1.4f, TopK = 9 }])
        {
            var request = new GenerationRequest(TinyModel.Prompt(3, 20), 2);
            Completion[] expected = plain.Generate([request], options)[0];
            Completion[] actual = engine.Generate([request], options with { TopLogProbabilityCount = 20 })[0];
            for (int completion = 0; completion < expected.Length; completion++)
            {
                Assert.Empty(expected[completion].TopTokens);
                Assert.Equal(expected[completion].Tokens, actual[completion].Tokens);
                Assert.Equal(expected[completion].LogProbabilities, actual[completion].LogProbabilities);
                Assert.Equal(expected[completion].Entropies, actual[completion].Entropies);
                for (int index = 0; index < expected[completion].Tokens.Length; index++)
                {
                    IReadOnlyList<LikelyToken> top = actual[completion].TopTokens[index];
                    Assert.Equal(20, top.Count);
                    Assert.Equal(20, top.Select(token => token.Token).Distinct().Count());
                    Assert.Equal(top.OrderByDescending(token => token.LogProbability).ThenBy(token => token.Token), top);
                    // With top-k 9 and with 0 the drawn one is always among 20.
                    LikelyToken drawn = top.Single(token => token.Token == actual[completion].Tokens[index]);
                    Assert.Equal(actual[completion].LogProbabilities[index], drawn.LogProbability);
                    Assert.InRange(top.Sum(token => Math.Exp(token.LogProbability)), 0, 1.0001);
                }

                if (options.Temperature == 0)
                    Assert.Equal(actual[completion].Tokens, actual[completion].TopTokens.Select(top => top[0].Token));
            }
        }
    }

    [Fact]
    public void Each_request_gets_as_many_as_it_asked_for_and_none_that_is_banned()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 64 * Page);
        // Of 40 tokens three are left.
        Dictionary<int, float> bans = Enumerable.Range(0, 40).Where(token => token is not (3 or 8 or 30))
            .ToDictionary(token => token, _ => float.NegativeInfinity);
        var request = new GenerationRequest(TinyModel.Prompt(1, 9));
        RequestRun few = engine.Add(request, s_options with { TopLogProbabilityCount = 2 }),
            none = engine.Add(request, s_options),
            banned = engine.Add(request, s_options with { TopLogProbabilityCount = 20, LogitBias = bans });
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.All(few.Completions[0]!.TopTokens, top => Assert.Equal(2, top.Count));
        Assert.Empty(none.Completions[0]!.TopTokens);
        Assert.All(banned.Completions[0]!.TopTokens,
            top => Assert.Equal([3, 8, 30], top.Select(token => token.Token).Order()));
    }

    [Fact]
    public void A_step_with_them_is_one_upload_and_one_wait_and_is_replayed()
    {
        using SimulatedCard card = new();
        using VisionLanguageModel model = TinyModel.Create(device: card.Device);
        using var engine = new GenerationEngine(model, 40 * Page);
        engine.Add(new(TinyModel.Prompt(1, 20)), s_options with { MaxOutputTokens = 30, TopLogProbabilityCount = 5 });
        int replayed = 0;
        while (engine.HasWork)
        {
            int before = engine.Plans.Made;
            long uploads = card.Device.Uploads, waits = card.Device.Stream.Waits;
            engine.Step(TestContext.Current.CancellationToken);
            Assert.Equal((1, 1), (card.Device.Uploads - uploads, card.Device.Stream.Waits - waits));
            replayed += engine.Plans.Made == before && engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        Assert.True(replayed > 15, $"{replayed} steps were replayed");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Penalties_take_from_logits_what_was_written(bool onCard)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        using GenerationEngine engine = new(model, 64 * Page), biased = new(model, 64 * Page);
        var request = new GenerationRequest(TinyModel.Prompt(2, 11));
        // The first token that comes is as likely as ever; the second is drawn as with a bias on the first.
        SamplingOptions options = s_options with { MaxOutputTokens = 2, FrequencyPenalty = 1.5f, PresencePenalty = 0.25f };
        Completion penalised = engine.Generate([request], options)[0][0];
        int first = penalised.Tokens[0];
        var continued = new GenerationRequest(new TokenSequence([.. request.Prompt.Tokens, first], []));
        SamplingOptions same = s_options with { MaxOutputTokens = 1, TopLogProbabilityCount = 1, Temperature = 1 };
        RequestRun run = biased.Add(continued, same with
        {
            LogitBias = new Dictionary<int, float>
            {
                [first] = -1.75f,
                [penalised.Tokens[1]] =
                first == penalised.Tokens[1] ? -1.75f : 1e-30f
            },
        });
        while (biased.HasWork)
            biased.Step(TestContext.Current.CancellationToken);
        Assert.Equal(penalised.Entropies[1], run.Completions[0]!.Entropies[0], 1e-4f);
        // Greedily, a token that is taken from for each time cannot come for ever.
        SamplingOptions greedy = s_options with { Temperature = 0, MaxOutputTokens = 40 };
        int Most(SamplingOptions each) => engine.Generate([request], each)[0][0].Tokens.GroupBy(token => token)
            .Max(group => group.Count());
        Assert.True(Most(greedy with { FrequencyPenalty = 2 }) < Most(greedy with { FrequencyPenalty = -2 }));
    }

    /// <summary>
    /// OpenAI's definition in double precision: logit − count · frequency − (count &gt; 0) · presence, of what was written
    /// alone, with biases, top-p and min-p beside.
    /// </summary>
    [Fact]
    public void Penalties_are_those_of_the_definition_together_with_all_else()
    {
        const int Vocabulary = 40;
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 64 * Page);
        var bias = new Dictionary<int, float> { [3] = 0.75f, [4] = float.NegativeInfinity };
        SamplingOptions options = s_options with
        {
            MaxOutputTokens = 25,
            Temperature = 0.8f,
            FrequencyPenalty = 0.6f,
            PresencePenalty = -0.9f,
            LogitBias = bias,
            TopLogProbabilityCount = 20,
            TopP = 0.95f,
            MinP = 0.01f,
        };
        TokenSequence prompt = TinyModel.Prompt(2, 11);
        Completion written = engine.Generate([new(prompt)], options)[0][0];
        Assert.Contains(written.Tokens.CountBy(token => token), pair => pair.Value > 2);
        for (int index = 0; index < written.Tokens.Length; index++)
        {
            int[] before = written.Tokens[..index];
            double[] logits = PlainLogits(new TokenSequence([.. prompt.Tokens, .. before], []));
            for (int token = 0; token < Vocabulary; token++)
            {
                int count = before.Count(each => each == token);
                logits[token] += bias.GetValueOrDefault(token) - 0.6 * count - (count > 0 ? -0.9 : 0);
            }

            double largest = logits.Max() / 0.8,
                logSum = largest + Math.Log(logits.Sum(logit => Math.Exp(logit / 0.8 - largest)));
            Assert.Equal(logits[written.Tokens[index]] / 0.8 - logSum, written.LogProbabilities[index], 1e-3);
            Assert.All(written.TopTokens[index], likely => Assert.Equal(logits[likely.Token] / 0.8 - logSum,
                likely.LogProbability, 1e-3));
        }

        // The model's logits, up to a constant: 20 of them at a look, beside the greatest.
        double[] PlainLogits(TokenSequence sequence)
        {
            double[] logits = new double[Vocabulary];
            var known = new List<int>();
            while (known.Count < Vocabulary)
            {
                SamplingOptions look = s_options with
                {
                    MaxOutputTokens = 1,
                    TopLogProbabilityCount = 20,
                    LogitBias = known.Skip(1).ToDictionary(token => token, _ => float.NegativeInfinity),
                };
                IReadOnlyList<LikelyToken> top = engine.Generate([new(sequence)], look)[0][0].TopTokens[0];
                foreach (LikelyToken likely in top.Where(likely => !known.Contains(likely.Token)).ToArray())
                {
                    logits[likely.Token] = (double)likely.LogProbability - top[0].LogProbability;
                    known.Add(likely.Token);
                }
            }

            return logits;
        }
    }

    [Fact]
    public void What_is_out_of_range_is_named()
    {
        Assert.Contains("frequency penalty must be from −2 to 2, not 3", Refusal(new() { FrequencyPenalty = 3 }),
            StringComparison.Ordinal);
        Assert.Contains("presence penalty", Refusal(new() { PresencePenalty = float.NaN }), StringComparison.Ordinal);
        Assert.Contains("from 0 to 20, not 21", Refusal(new() { TopLogProbabilityCount = 21 }), StringComparison.Ordinal);

        static string Refusal(SamplingOptions options) => Assert.Throws<ArgumentException>(options.Validate).Message;
    }
}
