using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Rewards;

namespace Skylight.Cli.Demo;

/// <summary>What a greedy test found.</summary>
internal sealed record TestResult(int Correct, int Count, CriticalTokenEntropy Entropy, IReadOnlyList<ExampleAnswer> Answers)
{
    public double Accuracy => (double)Correct / Count;
}

/// <summary>Turns examples into tokens, and judges and tests what a model makes of them.</summary>
internal sealed class DigitClassroom(DigitTask task, CharacterTokenizer tokenizer, ModelConfiguration configuration)
{
    private readonly int _end = tokenizer.TokenId(DigitVocabulary.EndToken)!.Value;
    // The paper's: 0.8 for the answer, 0.2 for the form.
    public RewardSet Rewards { get; } = new([
        new RewardTerm(RewardCatalog.Create("answer", new Dictionary<string, string>()), 0.8, "accuracy"),
        new RewardTerm(RewardCatalog.Create("format", new Dictionary<string, string>()), 0.2, "format")]);

    public CriticalTokens CriticalTokens { get; } = new(tokenizer);

    public DigitTask Task => task;

    /// <summary>Picture and prompt: image places first.</summary>
    public TokenSequence Prompt(DigitExample example)
    {
        int[] text = tokenizer.Encode(example.Prompt, allowSpecial: true);
        if (example.Picture is not { } picture)
            return new TokenSequence(text);
        var image = new ImageTile(task.Normalize(picture), DigitPicture.Height, DigitPicture.Width);
        int[] places = new int[configuration.TokensPerImage(image.Height, image.Width)];
        Array.Fill(places, configuration.ImageTokenId!.Value);
        return new TokenSequence([.. places, .. text], [image]);
    }

    /// <summary>Samples for supervised tuning: the mean cross-entropy over all completion tokens.</summary>
    public TrainingSample[] Supervised(IReadOnlyList<DigitExample> examples)
    {
        var sequences = examples.Select(example => (Prompt: Prompt(example), Completion: (int[])[.. tokenizer.Encode(example.Completion, allowSpecial: true), _end])).ToArray();
        float weight = 1f / sequences.Sum(sequence => sequence.Completion.Length);
        return [.. sequences.Select(sequence => new TrainingSample(
            new TokenSequence([.. sequence.Prompt.Tokens, .. sequence.Completion], sequence.Prompt.Images) { TextFrom = sequence.Prompt.Tokens.Length }, sequence.Prompt.Tokens.Length,
            [.. Enumerable.Repeat(weight, sequence.Completion.Length)]))];
    }

    /// <summary>A prompt whose completions are judged by the final answer and the form.</summary>
    public GrpoPrompt Problem(DigitExample example) => new(Prompt(example), completion => Request(example, completion));

    public bool IsRight(DigitExample example, Completion completion) => Rewards.ScoreAsync([Request(example, completion)]).GetAwaiter().GetResult()[0]["accuracy"] > 0;

    private RewardRequest Request(DigitExample example, Completion completion) => new()
    {
        Id = example.Prompt,
        Completion = Text(completion),
        PromptSuffix = DigitTask.PromptSuffix,
        Finished = completion.FinishReason == FinishReason.Stop,
        Answers = [example.Answer],
        TokenCount = completion.Tokens.Length,
    };

    /// <summary>Answers problems greedily.</summary>
    public TestResult Test(GenerationEngine engine, IReadOnlyList<DigitExample> problems, int maxNewTokens, CancellationToken cancellationToken)
    {
        IReadOnlyList<Completion[]> completions = engine.Generate(
            [.. problems.Select(problem => new GenerationRequest(Prompt(problem)))],
            new SamplingOptions { Temperature = 0, MaxNewTokens = maxNewTokens, StopTokens = [_end] }, cancellationToken);
        var entropy = default(CriticalTokenEntropy);
        var answers = new List<ExampleAnswer>();
        for (int index = 0; index < problems.Count; index++)
        {
            Completion completion = completions[index][0];
            entropy += CriticalTokens.Measure(completion.Tokens, completion.Entropies, CriticalTokens.EndsInsideThink(Prompt(problems[index]).Tokens));
            answers.Add(new ExampleAnswer(Text(completion), IsRight(problems[index], completion)));
        }

        return new TestResult(answers.Count(answer => answer.Correct), problems.Count, entropy, answers);
    }

    /// <summary>The entropies of sampled answers: greedy ones seldom hesitate.</summary>
    public CriticalTokenEntropy MeasureEntropy(GenerationEngine engine, IReadOnlyList<DigitExample> problems, int answersPerProblem, SamplingOptions sampling, CancellationToken cancellationToken)
    {
        IReadOnlyList<Completion[]> completions = engine.Generate(
            [.. problems.Select((problem, index) => new GenerationRequest(Prompt(problem), answersPerProblem, (ulong)index))], sampling, cancellationToken);
        var entropy = default(CriticalTokenEntropy);
        for (int index = 0; index < problems.Count; index++)
        {
            bool thinks = CriticalTokens.EndsInsideThink(Prompt(problems[index]).Tokens);
            foreach (Completion completion in completions[index])
                entropy += CriticalTokens.Measure(completion.Tokens, completion.Entropies, thinks);
        }

        return entropy;
    }

    /// <summary>The share of pictures whose caption is right: both digits.</summary>
    public double TestCaptions(GenerationEngine engine, int count, CancellationToken cancellationToken)
    {
        var random = new CounterRandom(1, 0xCA9710);
        var captions = new List<DigitExample>();
        for (int index = 0; index < count; index++)
            captions.Add(task.Caption(ref random, DigitSplit.HeldOut));
        IReadOnlyList<Completion[]> completions = engine.Generate(
            [.. captions.Select(caption => new GenerationRequest(Prompt(caption)))],
            new SamplingOptions { Temperature = 0, MaxNewTokens = 8, StopTokens = [_end] }, cancellationToken);
        return completions.Zip(captions).Count(pair => Text(pair.First[0]) == pair.Second.Answer) / (double)count;
    }

    /// <summary>What the model wrote, without the end token.</summary>
    public string Text(Completion completion) =>
        tokenizer.Decode(completion.FinishReason == FinishReason.Stop ? completion.Tokens.AsSpan(..^1) : completion.Tokens);

    public SamplingOptions Rollouts(DemoSettings settings) =>
        new() { Temperature = 1, MaxNewTokens = settings.MaxNewTokens, StopTokens = [_end], Seed = settings.Seed };
}
