using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Cli.Demo.Digits;

/// <summary>
/// Makes the examples of the demo: captions of pictures, arithmetic in text, reasoning traces about pictures, and problems.
/// </summary>
/// <remarks>
/// Everything turns on what each phase may see. A caption shows how to read a picture but never calculates. Arithmetic
/// in text states the digits: the calculation has the form that it will have in a full trace, but digits are never read
/// from a picture. Only a trace does both, and only the few of the cold start are shown; the rest is left to reinforcement.
/// </remarks>
internal sealed class DigitTask
{
    private const string CaptionPrompt = "digits?";

    private readonly DigitDataset _dataset;

    /// <summary>Makes a source of examples.</summary>
    public DigitTask(DigitDataset dataset, DigitTaskOptions? options = null)
    {
        Options = options ?? new DigitTaskOptions();
        if (Options.Jitter is < 0 or >= DigitSet.Side)
            throw new ArgumentException(
                $"Digits cannot be moved by up to {Options.Jitter} pixels; from 0 to {DigitSet.Side - 1}.", nameof(options));

        _dataset = dataset;
    }

    /// <summary>How examples are made.</summary>
    public DigitTaskOptions Options { get; }

    /// <summary>A picture and the digits on it: <c>digits?</c> → <c>7 5</c>.</summary>
    public DigitExample Caption(ref CounterRandom random, DigitSplit split)
    {
        (DigitPicture picture, int left, int right) = DrawPicture(ref random, split);
        string caption = $"{left} {right}";
        return new DigitExample(picture, CaptionPrompt, caption, caption);
    }

    /// <summary>
    /// Arithmetic without a picture, as a turn and its answer: <c>7 and 5. sum?</c> → <c>7 and 5.
    /// 7+5=12&lt;/think&gt;\boxed{12}</c>, the thought that a trace ends with.
    /// </summary>
    public static DigitExample Arithmetic(ref CounterRandom random)
    {
        DigitQuestion question = DrawQuestion(ref random);
        int left = random.Next(10);
        int right = random.Next(10);
        string named = $"{left} and {right}. ";
        return new DigitExample(null, named + question.Ask(), named + Conclude(question, left, right),
            AnswerText(question, left, right), question);
    }

    /// <summary>
    /// A picture and a question: <c>sum?</c>. The completion is a reference trace, which begins inside the thought:
    /// <c>7 and 3. Wait, 7 and 5. 7+5=12&lt;/think&gt;\boxed{12}</c>.
    /// </summary>
    public DigitExample Problem(ref CounterRandom random, DigitSplit split)
    {
        (DigitPicture picture, int left, int right) = DrawPicture(ref random, split);
        DigitQuestion question = DrawQuestion(ref random);
        return new DigitExample(
            picture,
            question.Ask(),
            NameDigits(ref random, left, right) + Conclude(question, left, right),
            AnswerText(question, left, right),
            question);
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
        $@"{question.Calculate(left, right)}{SpecialTokens.ThinkEnd}\boxed{{{AnswerText(question, left, right)}}}";

    private static string AnswerText(DigitQuestion question, int left, int right) => $"{question.Answer(left, right)}";
}
