using Skylight.Constraints;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tests.Cuda;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;
using Skylight.Text;

namespace Skylight.Tests.Generation;

/// <summary>Answers held to a form in the engine, beside others that are not, on the CPU and on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ConstrainedGenerationTests
{
    private const int Page = PagedAttention.PageSize;

    // Token 0 to 35, 36 and 37 are letters; 38 ends the answer and 39 is the picture's.
    private const string Letters = "abcdefghijklmnopqrstuvwxyz0123456789AB";

    private static readonly CharacterTokenizer s_tokenizer = new(Letters);
    private static readonly ConstraintVocabulary s_vocabulary = new(s_tokenizer);

    private static readonly SamplingOptions s_options =
        new() { MaxOutputTokens = 24, Seed = 7, StopTokens = [TinyModel.StopToken] };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Answers_have_their_forms_and_others_keep_every_bit(bool onCard)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        using GenerationEngine engine = new(model, 96 * Page, prefillTokens: Page), alone = new(model, 96 * Page);
        TokenConstraint[] forms = [Of(Constraint.Regex("[ab]{3,9}0*")), Of(Constraint.Choice("yes", "no", "nope")),
            Of(Constraint.Grammar("root ::= \"a\" root \"b\" | \"c\""))];
        var free = new List<RequestRun>();
        var held = new List<(RequestRun Run, int Form)>();
        for (int round = 0; round < (onCard ? 2 : 6); round++)
        {
            for (int index = 0; index < 3; index++)
            {
                // Greedy, drawn, from few tokens, and with biases that would like other tokens.
                SamplingOptions options = s_options with
                {
                    Seed = (ulong)(10 * round + index),
                    Temperature = index == 0 ? 0 : 1.3f,
                    TopK = index == 1 ? 5 : 0,
                    LogitBias = index == 2 ? new Dictionary<int, float> { [30] = 50, [TinyModel.StopToken] = -2 }
                        : System.Collections.Frozen.FrozenDictionary<int, float>.Empty,
                    RepetitionPenalty = index == 1 ? 1.2f : 1f,
                };
                var request = new GenerationRequest(TinyModel.Prompt((ulong)(round + index), 5 + 17 * index), 1 + index % 2);
                free.Add(engine.Add(request, options));
                held.Add((engine.Add(request with { Constraint = forms[(round + index) % 3] }, options), (round + index) % 3));
            }

            for (int step = 0; step < 4; step++)
                engine.Step(TestContext.Current.CancellationToken);
        }

        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        int ended = 0;
        foreach ((RequestRun run, int form) in held)
        {
            Assert.Null(run.Failure);
            Completion[] expected = alone.Generate([run.Request], run.Options)[0];
            for (int completion = 0; completion < expected.Length; completion++)
            {
                Completion actual = run.Completions[completion]!;
                AssertSame(expected[completion], actual);
                string text = s_tokenizer.Decode([.. actual.Tokens.Where(token => token != TinyModel.StopToken)]);
                bool isStopped = actual.FinishReason == FinishReason.Stop;
                Assert.Equal(isStopped, actual.Tokens[^1] == TinyModel.StopToken);
                Assert.True(isStopped ? FollowsToTheEnd(forms[form], text) : text.Length == 24, text);
                Assert.All(actual.LogProbabilities, value => Assert.InRange(value, -100, 0));
                Assert.All(actual.Entropies, value => Assert.InRange(value, 0, 4));
                ended += isStopped ? 1 : 0;
            }
        }

        Assert.True(ended >= held.Count / 2, $"{ended} ended");
        foreach (RequestRun run in free)
        {
            Completion[] expected = alone.Generate([run.Request], run.Options)[0];
            for (int completion = 0; completion < expected.Length; completion++)
                AssertSame(expected[completion], run.Completions[completion]!);
        }

        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void Where_everything_may_come_nothing_changes()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 64 * Page);
        // Of 40 tokens only the last has no text; it is banned in both.
        SamplingOptions options = s_options with
        {
            LogitBias = new Dictionary<int, float> { [39] = float.NegativeInfinity },
            MaxOutputTokens = 12,
        };
        var request = new GenerationRequest(TinyModel.Prompt(3, 20), 4);
        Completion[] plain = engine.Generate([request], options)[0];
        Completion[] held = engine.Generate([request with { Constraint = Of(Constraint.Regex("[a-zA-Z0-9]*")) }], options)[0];
        for (int completion = 0; completion < plain.Length; completion++)
            AssertSame(plain[completion], held[completion]);
    }

    [Fact]
    public void A_step_with_masks_is_one_upload_and_one_wait_and_is_replayed()
    {
        using SimulatedCard card = new();
        using VisionLanguageModel model = TinyModel.Create(device: card.Device);
        using var engine = new GenerationEngine(model, 40 * Page);
        TokenConstraint form = Of(Constraint.Regex("[ab]{40}"));
        RequestRun run = engine.Add(new(TinyModel.Prompt(1, 20), 3) { Constraint = form },
            s_options with { MaxOutputTokens = 60 });
        engine.Add(new(TinyModel.Prompt(2, 20)), s_options with { MaxOutputTokens = 41 });
        int replayed = 0;
        while (engine.HasWork)
        {
            int before = engine.Plans.Made;
            long uploads = card.Device.Uploads, waits = card.Device.Stream.Waits;
            engine.Step(TestContext.Current.CancellationToken);
            Assert.Equal((1, 1), (card.Device.Uploads - uploads, card.Device.Stream.Waits - waits));
            replayed += engine.Plans.Made == before && engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        Assert.True(replayed > 20, $"{replayed} steps were replayed");
        Assert.All(run.Completions, completion => Assert.Equal((41, FinishReason.Stop),
            (completion!.Tokens.Length, completion.FinishReason)));
    }

    [Fact]
    public void A_form_in_which_nothing_may_follow_ends_its_request_alone()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = new(model, 64 * Page), alone = new(model, 64 * Page);
        var request = new GenerationRequest(TinyModel.Prompt(1, 20));
        // No token spells a comma, and a bias bans the one letter that may come.
        RequestRun stuck = engine.Add(request with { Constraint = Of(Constraint.Text("ab,c")) }, s_options);
        RequestRun banned = engine.Add(request with { Constraint = Of(Constraint.Text("abc")) },
            s_options with { LogitBias = new Dictionary<int, float> { [1] = float.NegativeInfinity } });
        RequestRun beside = engine.Add(request, s_options);
        while (engine.HasWork)
            engine.Step(TestContext.Current.CancellationToken);
        Assert.Contains("no token with which the answer could go on in its form after 2 tokens",
            Assert.IsType<ConstraintException>(stuck.Failure).Message, StringComparison.Ordinal);
        Assert.Contains("every token that the form of the answer allows is banned", banned.Failure!.Message,
            StringComparison.Ordinal);
        AssertSame(alone.Generate([request], s_options)[0][0], beside.Completions[0]!);
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void What_contradicts_a_form_is_refused()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using var engine = new GenerationEngine(model, 64 * Page);
        var request = new GenerationRequest(TinyModel.Prompt(1, 20)) { Constraint = Of(Constraint.Text("abc")) };
        Assert.Contains("a token that ends it", Refusal(s_options with { StopTokens = [] }), StringComparison.Ordinal);
        Assert.Contains("at least 2 tokens", Refusal(s_options with { MinOutputTokens = 2 }), StringComparison.Ordinal);
        request = request with { Constraint = Of(Constraint.Text(",")) };
        Assert.Contains("could begin", Refusal(s_options), StringComparison.Ordinal);
        request = request with
        {
            Constraint = new TokenConstraint(Constraint.Text("a"),
                new ConstraintVocabulary(new CharacterTokenizer(Letters + "CDEFGHIJ"))),
        };
        Assert.Contains("vocabulary of 46 tokens", Refusal(s_options), StringComparison.Ordinal);
        Assert.Equal(0, engine.WaitingRequests);

        string Refusal(SamplingOptions options) =>
            Assert.ThrowsAny<ArgumentException>(() => engine.Add(request, options)).Message;
    }

    private static TokenConstraint Of(Constraint constraint) => new(constraint, s_vocabulary);

    private static bool FollowsToTheEnd(TokenConstraint constraint, string text)
    {
        var run = new ConstraintRun(constraint);
        foreach (int token in s_tokenizer.Encode(text))
            run.Accept(token);
        return run.IsComplete;
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
