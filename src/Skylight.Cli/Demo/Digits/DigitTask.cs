using Skylight.Tensors;

namespace Skylight.Cli.Demo.Digits;

/// <summary>
/// Makes the examples of the demo: captions of pictures, arithmetic in text, reasoning traces about pictures, and problems.
/// </summary>
/// <remarks>
/// Everything turns on what each phase may see. A caption shows how to read a picture but never calculates. A problem in text
/// states the digits as the beginning of a thought and asks to finish it: the calculation has the form that it will have in a
/// full trace, but digits are never read from a picture. Only a trace does both, and only the few of the cold start are shown;
/// the rest is left to reinforcement.
/// </remarks>
internal sealed class DigitTask
{
    private const string CaptionPrompt = "digits?";

    private readonly DigitDataset _dataset;
    private readonly float _pixelMean;
    private readonly float _pixelDeviation;

    /// <summary>Makes a source of examples.</summary>
    public DigitTask(DigitDataset dataset, DigitTaskOptions? options = null)
    {
        Options = options ?? new DigitTaskOptions();
        if (Options.Channels < 1)
            throw new ArgumentException($"A picture cannot have {Options.Channels} channels.", nameof(options));
        if (Options.Jitter is < 0 or >= DigitSet.Side)
            throw new ArgumentException($"Digits cannot be moved by up to {Options.Jitter} pixels; from 0 to {DigitSet.Side - 1}.", nameof(options));

        _dataset = dataset;

        // Of training digits only.
        (double mean, double meanSquare) = dataset.Training.Moments();
        _pixelMean = (float)mean;
        _pixelDeviation = (float)Math.Max(1e-3, Math.Sqrt(meanSquare - (mean * mean)));
    }

    /// <summary>How examples are made.</summary>
    public DigitTaskOptions Options { get; }

    /// <summary>The assistant's part of every problem's prompt: the reward judges it together with the completion.</summary>
    public static string PromptSuffix => DigitVocabulary.ThinkToken;

    /// <summary>A caption or a problem in text, by <see cref="DigitTaskOptions.CaptionShare"/>.</summary>
    public DigitExample PretrainingExample(ref CounterRandom random) =>
        random.NextDouble() < Options.CaptionShare ? Caption(ref random, DigitSplit.Training) : TextProblem(ref random);

    /// <summary>A picture and the digits on it: <c>digits?</c> → <c>7 5</c>.</summary>
    public DigitExample Caption(ref CounterRandom random, DigitSplit split)
    {
        (DigitPicture picture, int left, int right) = DrawPicture(ref random, split);
        string caption = $"{left} {right}";
        return new DigitExample(picture, CaptionPrompt, caption, caption);
    }

    /// <summary>
    /// Arithmetic without a picture: a thought that names the digits, to be finished:
    /// <c>sum?&lt;think&gt;7 and 5. </c> → <c>7+5=12&lt;/think&gt;\boxed{12}</c>.
    /// </summary>
    public DigitExample TextProblem(ref CounterRandom random)
    {
        DigitQuestion question = DrawQuestion(ref random);
        int left = random.Next(10);
        int right = random.Next(10);
        return new DigitExample(
            null,
            question.Ask() + DigitVocabulary.ThinkToken + NameDigits(ref random, left, right),
            Conclude(question, left, right),
            AnswerText(question, left, right),
            question);
    }

    /// <summary>
    /// Arithmetic without a picture, as a turn and its answer: <c>7 and 5. sum?</c> → <c>7 and 5. 7+5=12&lt;/think&gt;\boxed{12}</c>, the thought that a trace ends with.
    /// </summary>
    public static DigitExample Arithmetic(ref CounterRandom random)
    {
        DigitQuestion question = DrawQuestion(ref random);
        int left = random.Next(10);
        int right = random.Next(10);
        string named = $"{left} and {right}. ";
        return new DigitExample(null, named + question.Ask(), named + Conclude(question, left, right), AnswerText(question, left, right), question);
    }

    /// <summary>A picture, a question and a whole reasoning trace, from training digits.</summary>
    public DigitExample ColdStartExample(ref CounterRandom random) => Problem(ref random, DigitSplit.Training);

    /// <summary>
    /// A picture and a question: <c>sum?&lt;think&gt;</c>. The completion is a reference trace such as
    /// <c>7 and 3. Wait, 7 and 5. 7+5=12&lt;/think&gt;\boxed{12}</c>.
    /// </summary>
    public DigitExample Problem(ref CounterRandom random, DigitSplit split)
    {
        (DigitPicture picture, int left, int right) = DrawPicture(ref random, split);
        DigitQuestion question = DrawQuestion(ref random);
        return new DigitExample(
            picture,
            question.Ask() + DigitVocabulary.ThinkToken,
            NameDigits(ref random, left, right) + Conclude(question, left, right),
            AnswerText(question, left, right),
            question);
    }

    /// <summary>A fixed list of problems for measuring accuracy.</summary>
    /// <param name="count">How many.</param>
    /// <param name="split">Which digits.</param>
    /// <param name="seed">Not the seed of the run, so that runs are measured on the same problems.</param>
    public DigitExample[] ProblemSet(int count, DigitSplit split = DigitSplit.HeldOut, ulong seed = 0)
    {
        var random = new CounterRandom(seed, (ulong)split);
        var problems = new DigitExample[count];
        for (int index = 0; index < count; index++)
            problems[index] = Problem(ref random, split);
        return problems;
    }

    /// <summary>A picture as the model takes it: [channels, 28, 56], mean 0 and standard deviation 1 over the training pictures.</summary>
    public float[] Normalize(DigitPicture picture)
    {
        var pixels = new float[Options.Channels * DigitPicture.Height * DigitPicture.Width];
        Normalize(picture, pixels);
        return pixels;
    }

    /// <summary>As <see cref="Normalize(DigitPicture)"/>, into a row of a batch.</summary>
    public void Normalize(DigitPicture picture, Span<float> destination)
    {
        int size = picture.Pixels.Length;
        if (destination.Length != Options.Channels * size)
            throw new ArgumentException($"A picture needs {Options.Channels * size} values, but there is room for {destination.Length}.", nameof(destination));

        for (int index = 0; index < size; index++)
            destination[index] = (picture.Pixels[index] / 255f - _pixelMean) / _pixelDeviation;
        for (int channel = 1; channel < Options.Channels; channel++)
            destination[..size].CopyTo(destination[(channel * size)..]);
    }

    private (DigitPicture Picture, int Left, int Right) DrawPicture(ref CounterRandom random, DigitSplit split)
    {
        DigitSet digits = _dataset[split];
        int left = random.Next(digits.Count);
        int right = random.Next(digits.Count);
        (int X, int Y) leftBy = DrawMove(ref random, digits.Margins(left));
        (int X, int Y) rightBy = DrawMove(ref random, digits.Margins(right));
        DigitPicture picture = DigitPicture.Draw(digits.Image(left), leftBy, digits.Image(right), rightBy);
        return (picture, digits.Label(left), digits.Label(right));
    }

    private (int X, int Y) DrawMove(ref CounterRandom random, (int Left, int Top, int Right, int Bottom) margins)
    {
        int x = random.Next(-Options.Jitter, Options.Jitter + 1);
        int y = random.Next(-Options.Jitter, Options.Jitter + 1);
        return (Math.Clamp(x, -margins.Left, margins.Right), Math.Clamp(y, -margins.Top, margins.Bottom));
    }

    private static DigitQuestion DrawQuestion(ref CounterRandom random) =>
        DigitQuestions.All[random.Next(DigitQuestions.All.Length)];

    private string NameDigits(ref CounterRandom random, int left, int right)
    {
        string named = $"{left} and {right}. ";
        if (random.NextDouble() >= Options.CorrectionShare)
            return named;

        // One digit is misread, and any of the nine wrong ones is as likely.
        int wrong = random.Next(1, 10);
        return random.Next(2) == 0
            ? $"{(left + wrong) % 10} and {right}. Wait, {named}"
            : $"{left} and {(right + wrong) % 10}. Wait, {named}";
    }

    private static string Conclude(DigitQuestion question, int left, int right) =>
        $@"{question.Calculate(left, right)}{DigitVocabulary.EndThinkToken}\boxed{{{AnswerText(question, left, right)}}}";

    private static string AnswerText(DigitQuestion question, int left, int right) => $"{question.Answer(left, right)}";
}
