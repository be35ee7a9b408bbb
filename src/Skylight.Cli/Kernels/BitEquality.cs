using System.Runtime.ExceptionServices;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Cli.Kernels;

/// <summary>One row of <c>skylight kernels bits</c>.</summary>
/// <param name="Way">How the tokens were computed again.</param>
/// <param name="Tokens">How many were compared.</param>
/// <param name="Different">Of how many the token, its log-probability or its entropy has other bits.</param>
/// <param name="LargestDifference">The largest difference of two log-probabilities; null where one is not a number.</param>
internal sealed record EqualityRow(string Way, int Tokens, int Different, double? LargestDifference);

/// <summary>
/// Whether a device gives a token the same bits in every way of computing it: requests one by one and whole, the same
/// beside each other with prompts in parts, their completions scored, and trained on.
/// </summary>
internal sealed class BitEquality
{
    private const int Page = PagedAttention.PageSize, PrefillTokens = 200, PrefillBeside = 90;

    private readonly VisionLanguageModel _model;
    private readonly GenerationRequest[] _requests;
    private readonly SamplingOptions _sampling;
    private readonly int _cacheTokens;

    /// <summary>Makes requests: prompts around page borders and one of more than a span of 512 keys, with pictures, in groups.
    /// </summary>
    /// <param name="model">The model, on the device that is looked at.</param>
    /// <param name="tokens">How many tokens each completion has.</param>
    /// <param name="seed">Of prompts and completions.</param>
    /// <exception cref="ArgumentException">The model has too few positions for so many tokens.</exception>
    public BitEquality(VisionLanguageModel model, int tokens, int seed)
    {
        _model = model;
        ModelConfiguration configuration = model.Configuration;
        int picture = configuration.ImageTokenId is null ? 0 : configuration.TokensPerTile,
            room = configuration.Language.MaxPositions - picture - tokens;
        if (room < Page + 1)
            throw new ArgumentException(
                $"{tokens} tokens and a picture of {picture} leave {room} of the model's {configuration.Language.MaxPositions} " +
                $"positions for a prompt; at least {Page + 1} are needed. Give fewer with --tokens.");
        int longest = Math.Min(17 * Page + 9, room);
        var random = new Random(seed);
        (int Text, bool HasPicture, int Count)[] shapes = [(longest, true, 3), (Page - 1, false, 2), (1, false, 1),
            (Page + 1, true, 2), (Page, false, 1)];
        _requests = [.. shapes.Select((shape, index) => new GenerationRequest(
            Prompt(random, shape.Text, shape.HasPicture && picture > 0), shape.Count, (ulong)index))];
        _sampling = new SamplingOptions { MaxOutputTokens = tokens, Seed = (ulong)seed };
        _cacheTokens = _requests.Sum(
            request => request.Count * (request.Prompt.Tokens.Length + tokens + Page)) + Page;
    }

    /// <summary>Computes all tokens in every way.</summary>
    public IEnumerable<EqualityRow> Compare(CancellationToken cancellationToken = default)
    {
        Completion[][] alone = Alone(cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        Completion[] expected = [.. alone.SelectMany(all => all)];
        Completion[] beside = [.. Together(cancellationToken).SelectMany(all => all)];
        yield return Row("beside others, prompts in parts", expected, [.. beside.Select(completion => completion.Tokens)],
            [.. beside.Select(completion => completion.LogProbabilities)],
            [.. beside.Select(completion => completion.Entropies)]);
        TrainingSample[] samples = [.. _requests.Zip(alone).SelectMany(pair => pair.Second.Select(
            completion => Sample(pair.First, completion)))];
        int[][] tokens = [.. expected.Select(completion => completion.Tokens)];
        using (var scorer = new ModelScorer(_model))
        {
            BatchResult scored = scorer.Score(samples, cancellationToken: cancellationToken);
            yield return Row("scored", expected, tokens, scored.LogProbabilities, scored.Entropies);
        }

        if (_model.IsQuantized)
            yield break;
        using var trainer = new ModelTrainer(_model, TrainableModules.Connector);
        BatchResult trained = trainer.AccumulateGradients(samples, new CrossEntropyObjective(), cancellationToken);
        yield return Row("trained on", expected, tokens, trained.LogProbabilities, trained.Entropies);
    }

    private Completion[][] Alone(CancellationToken cancellationToken)
    {
        using var engine = new GenerationEngine(_model, _cacheTokens);
        return [.. _requests.Select(request => engine.Generate([request], _sampling, cancellationToken)[0])];
    }

    /// <summary>One request comes after the other, so that prompts are read in parts beside completions.</summary>
    private Completion[][] Together(CancellationToken cancellationToken)
    {
        using var engine = new GenerationEngine(_model, _cacheTokens, PrefillTokens)
        {
            PrefillTokensBesideDecoding = PrefillBeside,
        };
        var runs = new RequestRun[_requests.Length];
        for (int next = _requests.Length - 1; next >= 0 || engine.HasWork; next--)
        {
            if (next >= 0)
                runs[next] = engine.Add(_requests[next], _sampling);
            engine.Step(cancellationToken);
        }

        // A request that could not be computed beside others has failed by itself.
        if (runs.FirstOrDefault(run => run.Failure is not null)?.Failure is { } failure)
            ExceptionDispatchInfo.Throw(failure);
        return [.. runs.Select(run => run.Completions.Select(completion => completion!).ToArray())];
    }

    private TokenSequence Prompt(Random random, int text, bool hasPicture)
    {
        ModelConfiguration configuration = _model.Configuration;
        VisionConfiguration vision = configuration.Vision;
        int place = configuration.ImageTokenId ?? configuration.Language.VocabularySize,
            values = vision.ChannelCount * vision.ImageHeight * vision.ImageWidth;
        IEnumerable<int> words = Enumerable.Range(0, text).Select(_ => random.Next(Math.Min(place,
            configuration.Language.VocabularySize)));
        if (!hasPicture)
            return new TokenSequence([.. words]);
        float[] pixels = [.. Enumerable.Range(0, values).Select(_ => (random.NextSingle() * 2) - 1)];
        return new TokenSequence([.. Enumerable.Repeat(place, configuration.TokensPerTile), .. words],
            [new ImageTile(pixels, vision.ImageHeight, vision.ImageWidth)]);
    }

    private static TrainingSample Sample(GenerationRequest request, Completion completion)
    {
        int[] prompt = request.Prompt.Tokens;
        return new TrainingSample(new TokenSequence([.. prompt, .. completion.Tokens], request.Prompt.Images)
        {
            TextFrom = prompt.Length,
        }, prompt.Length, [.. Enumerable.Repeat(1f / completion.Tokens.Length, completion.Tokens.Length)]);
    }

    private static EqualityRow Row(string way, Completion[] expected, int[][] tokens, IReadOnlyList<float[]> logProbabilities,
        IReadOnlyList<float[]> entropies)
    {
        int count = 0, different = 0;
        double largest = 0;
        for (int index = 0; index < expected.Length; index++)
        {
            Completion each = expected[index];
            count += each.Tokens.Length;
            for (int token = 0; token < each.Tokens.Length; token++)
            {
                bool isThere = token < tokens[index].Length;
                if (isThere && tokens[index][token] == each.Tokens[token]
                    && SameBits(each.LogProbabilities[token], logProbabilities[index][token])
                    && SameBits(each.Entropies[token], entropies[index][token]))
                    continue;
                different++;
                if (isThere)
                    largest = Math.Max(largest, Math.Abs(each.LogProbabilities[token] - logProbabilities[index][token]));
            }
        }

        return new EqualityRow(way, count, different, double.IsFinite(largest) ? largest : null);
    }

    private static bool SameBits(float one, float other) =>
        BitConverter.SingleToInt32Bits(one) == BitConverter.SingleToInt32Bits(other);
}
