using Skylight.Constraints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cuda;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;
using Skylight.Text;

namespace Skylight.Tests.Generation;

/// <summary>Guessed tokens change no bit of any answer, and what they take is given back.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class SpeculationTests
{
    private const int Page = PagedAttention.PageSize, Most = SamplingOptions.MostSpeculativeTokens;

    // Tokens 0 to 37 are letters; 38 ends the answer and 39 is the picture's.
    private static readonly ConstraintVocabulary s_vocabulary =
        new(new CharacterTokenizer("abcdefghijklmnopqrstuvwxyz0123456789AB"));

    // At this temperature the tiny model repeats itself, and now and then does not.
    private static readonly SamplingOptions s_options =
        new() { MaxOutputTokens = 70, Seed = 3, Temperature = 0.4f, StopTokens = [TinyModel.StopToken] };

    private static readonly SamplingOptions[] s_kinds =
    [
        s_options with { Temperature = 0 },
        s_options,
        s_options with { Temperature = 0.6f, TopK = 6, TopP = 0.9f, MinP = 0.02f, TopLogProbabilityCount = 4 },
        s_options with { RepetitionPenalty = 0.8f, MinOutputTokens = 60 },
        s_options with { FrequencyPenalty = -0.4f, PresencePenalty = 0.3f, MaxOutputTokens = 41 },
        s_options with
        {
            FrequencyPenalty = 0.05f,
            LogitBias = new Dictionary<int, float> { [5] = 3, [9] = float.NegativeInfinity, [TinyModel.StopToken] = 1 },
        },
    ];

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(3, false)]
    [InlineData(4, false)]
    [InlineData(5, false)]
    [InlineData(2, true)]
    [InlineData(5, true)]
    public void Answers_are_the_same_bits_beside_others_and_in_fewer_passes(int kind, bool onCard)
    {
        using SimulatedCard? card = onCard ? new SimulatedCard() : null;
        using VisionLanguageModel model = TinyModel.Create(device: card?.Device);
        using GenerationEngine plain = new(model, 96 * Page), engine = new(model, 96 * Page);
        SamplingOptions options = s_kinds[kind] with { MaxOutputTokens = onCard ? 20 : s_kinds[kind].MaxOutputTokens };
        TokenConstraint form = Form();
        GenerationRequest[] requests =
        [
            new(Repeated(1, 29), 2), new(TinyModel.Prompt(4, 50, TinyModel.Picture(1)), 1, 7),
            new(Repeated(2, 64)) { Constraint = options.MinOutputTokens == 0 ? form : null },
        ];
        RequestRun[] expected = [.. requests.Select(request => plain.Add(request, options))];
        int passes = Finish(plain);
        RequestRun[] actual = [.. requests.Select(request => engine.Add(request, options with { SpeculativeTokens = 5 }))];
        // Somebody who guesses nothing is in all the passes.
        RequestRun beside = engine.Add(requests[1], options);
        Assert.True(Finish(engine) <= passes);
        for (int index = 0; index < requests.Length; index++)
            AssertSame(expected[index], actual[index]);
        AssertSame(expected[1], beside);
        Assert.InRange(engine.AcceptedTokens, 1, engine.GuessedTokens);
        Assert.Equal((0, 0), (plain.AcceptedTokens, plain.GuessedTokens));
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Theory]
    [InlineData(DataType.BFloat16)]
    [InlineData(DataType.Float32)]
    public void What_repeats_itself_comes_in_few_passes(DataType type)
    {
        using VisionLanguageModel model = TinyModel.Create(type);
        using GenerationEngine plain = new(model, 40 * Page), engine = new(model, 40 * Page);
        SamplingOptions options = s_options with { Temperature = 0, StopTokens = [], MaxOutputTokens = 150 };
        RequestRun expected = plain.Add(new(Repeated(3, 40)), options);
        Assert.Equal(150, Finish(plain));
        RequestRun actual = engine.Add(new(Repeated(3, 40)), options with { SpeculativeTokens = Most });
        int passes = Finish(engine);
        AssertSame(expected, actual);
        Assert.Equal(150 - engine.AcceptedTokens, passes);
        Assert.True(passes < 100, $"{passes} passes");
    }

    [Fact]
    public void A_pass_takes_no_page_for_longer_than_its_guess_and_none_that_is_kept()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine plain = new(model, 8 * Page, cachePrefixes: true),
            engine = new(model, 8 * Page, cachePrefixes: true);
        SamplingOptions options = s_options with { MaxOutputTokens = 100, StopTokens = [] };
        var found = new List<int>();
        foreach (GenerationEngine each in (GenerationEngine[])[plain, engine])
        {
            bool guesses = each == engine;
            // Pages are kept of this one, and more are asked for than are left.
            each.Generate([new(TinyModel.Prompt(8, 4 * Page + 3))], options with { MaxOutputTokens = 3 });
            RequestRun run = each.Add(new(Repeated(5, 60)), options with { SpeculativeTokens = guesses ? Most : 0 });
            while (each.HasWork)
            {
                each.Step(TestContext.Current.CancellationToken);
                SequenceRun sequence = run.Sequences[0];
                if (each.WritingSequences > 0)
                    Assert.Equal(KeyValueCache.PagesFor(59 + sequence.Tokens.Count), each.PageCount - each.FreePages);
            }

            Assert.Equal(each.PageCount, each.FreePages);
            // What was written is found as ever, and so is what was kept.
            foreach (int[] begun in (int[][])[[.. Repeated(5, 60).Tokens, .. run.Completions[0]!.Tokens, 1],
                TinyModel.Prompt(8, 4 * Page + 3).Tokens])
            {
                RequestRun next = each.Add(new(new TokenSequence(begun, [])), options with { MaxOutputTokens = 2 });
                Finish(each);
                found.Add(next.CachedTokens);
            }
        }

        Assert.True(engine.AcceptedTokens > 0);
        Assert.Equal(found[..2], found[2..]);
        Assert.True(found[0] > 2 * Page);
    }

    [Fact]
    public void Beside_many_answers_nothing_is_guessed()
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine plain = new(model, 128 * Page), engine = new(model, 128 * Page);
        SamplingOptions options = s_options with { MaxOutputTokens = 40, StopTokens = [] };
        GenerationRequest[] requests = [.. Enumerable.Range(0, 12).Select(index => new GenerationRequest(
            Repeated((ulong)index, 20 + index), 1, (ulong)index))];
        Completion[][] expected = [.. plain.Generate(requests, options)];
        for (int count = 12; count <= 20; count += 8)
        {
            long before = engine.GuessedTokens;
            RequestRun[] others = [.. Enumerable.Range(12, count - 12).Select(index => engine.Add(requests[0], options))];
            RequestRun[] runs = [.. requests.Select(request => engine.Add(request, options with { SpeculativeTokens = Most }))];
            while (engine.HasWork)
            {
                (long guessed, int writing) = (engine.GuessedTokens, engine.WritingSequences);
                engine.Step(TestContext.Current.CancellationToken);
                // What is left of sixteen rows.
                Assert.InRange(engine.GuessedTokens - guessed, 0, Math.Max(0, 16 - writing));
            }

            Assert.Equal(count == 12, engine.GuessedTokens > before);
            for (int index = 0; index < runs.Length; index++)
                Assert.Equal(expected[index][0].Tokens, runs[index].Completions[0]!.Tokens);
            Assert.All(others, run => Assert.Null(run.Failure));
        }
    }

    [Theory]
    [InlineData(9)]
    [InlineData(23)]
    public void Who_leaves_leaves_nothing_and_a_pass_that_is_stopped_is_run_again(int most)
    {
        using VisionLanguageModel model = TinyModel.Create();
        using GenerationEngine engine = new(model, 40 * Page), plain = new(model, 40 * Page);
        SamplingOptions options = s_options with { StopTokens = [], SpeculativeTokens = Most };
        var request = new GenerationRequest(Repeated(6, 40), 2);
        Completion[] expected = plain.Generate([request], options with { SpeculativeTokens = 0 })[0];
        RequestRun leaves = engine.Add(request, options), fails = engine.Add(request, options, token =>
        {
            if (token.Completion == 1 && --most == 0)
                throw new InvalidOperationException("enough");
        }), stays = engine.Add(request, options);
        for (int step = 0; engine.HasWork; step++)
        {
            using var cancellation = new CancellationTokenSource();
            if (step % 3 == 1)
                cancellation.CancelAfter(TimeSpan.FromMicroseconds(50));
            try
            {
                engine.Step(cancellation.Token);
            }
            catch (OperationCanceledException)
            {
                continue;
            }

            if (step >= 9)
                engine.Remove(leaves);
        }

        Assert.Equal("enough", fails.Failure!.Message);
        Assert.Equal(engine.PageCount, engine.FreePages);
        Assert.Equal(expected.Select(each => each.Tokens), stays.Completions.Select(each => each!.Tokens));
        Assert.Equal(expected.Select(each => each.Entropies), stays.Completions.Select(each => each!.Entropies));
    }

    [Fact]
    public void A_fault_behind_a_guess_comes_where_it_would_have_come()
    {
        const int Bad = 37;
        using VisionLanguageModel model = TinyModel.Create();
        float[] embedding = PersistentTensors.Read(model.Device, model.Parameters["language.embedding.weight"]);
        Array.Fill(embedding, float.NaN, Bad * model.Configuration.Language.HiddenSize, 3);
        PersistentTensors.Write(model.Device, model.Parameters["language.embedding.weight"], embedding);
        using GenerationEngine plain = new(model, 40 * Page), engine = new(model, 40 * Page);
        // The likelier the longer the answer: what repeats itself does so up to it, and guesses reach beyond.
        SamplingOptions options = s_options with { Seed = 11, LogitBias = new Dictionary<int, float> { [Bad] = 2.5f } };
        int failed = 0;
        for (ulong seed = 0; seed < 12; seed++)
        {
            var tokens = new List<int>[2];
            string?[] messages = new string?[2];
            for (int arm = 0; arm < 2; arm++)
            {
                var written = tokens[arm] = [];
                RequestRun run = (arm == 0 ? plain : engine).Add(new(Repeated(seed, 30), 1, seed),
                    options with { SpeculativeTokens = arm == 0 ? 0 : Most }, token => written.Add(token.Token));
                Finish(arm == 0 ? plain : engine);
                messages[arm] = run.Failure?.Message;
            }

            Assert.Equal(tokens[0], tokens[1]);
            Assert.Equal(messages[0], messages[1]);
            failed += messages[0] is null ? 0 : 1;
        }

        Assert.True(failed > 2 && engine.AcceptedTokens > 0, $"{failed} failed, {engine.AcceptedTokens} accepted");
        Assert.Equal(engine.PageCount, engine.FreePages);
    }

    [Fact]
    public void What_is_out_of_range_is_named()
    {
        Assert.Contains("guessed must be from 0 (none) to 15, not 16", Assert.Throws<ArgumentException>(
            new SamplingOptions { SpeculativeTokens = 16 }.Validate).Message, StringComparison.Ordinal);
    }

    /// <summary>Text that repeats itself, so that there is something to guess from the first token.</summary>
    private static TokenSequence Repeated(ulong seed, int length)
    {
        int[] part = TinyModel.Text(seed, 6);
        return new TokenSequence([.. Enumerable.Range(0, length).Select(index => part[index % part.Length])], []);
    }

    private static TokenConstraint Form() =>
        new(Constraint.Grammar("root ::= word (\"a\" word)*\nword ::= [b-z0-9AB]{1,9}"), s_vocabulary);

    private static int Finish(GenerationEngine engine)
    {
        int passes = 0;
        for (; engine.HasWork; passes++)
            engine.Step(TestContext.Current.CancellationToken);
        return passes;
    }

    private static void AssertSame(RequestRun expected, RequestRun actual)
    {
        Assert.Null(actual.Failure);
        for (int completion = 0; completion < expected.Completions.Count; completion++)
        {
            Completion one = expected.Completions[completion]!, other = actual.Completions[completion]!;
            Assert.Equal(one.Tokens, other.Tokens);
            Assert.Equal(one.FinishReason, other.FinishReason);
            Assert.Equal(one.LogProbabilities, other.LogProbabilities);
            Assert.Equal(one.Entropies, other.Entropies);
            Assert.Equal(one.TopTokens, other.TopTokens);
        }
    }
}
