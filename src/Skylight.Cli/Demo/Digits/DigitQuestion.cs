namespace Skylight.Cli.Demo.Digits;

/// <summary>What is asked about two digits.</summary>
internal enum DigitQuestion
{
    /// <summary>Their sum.</summary>
    Sum,

    /// <summary>How far they are apart.</summary>
    Difference,

    /// <summary>The larger of them.</summary>
    Larger,

    /// <summary>The smaller of them.</summary>
    Smaller,
}

/// <summary>How each question is asked, calculated and answered.</summary>
internal static class DigitQuestions
{
    /// <summary>All questions.</summary>
    public static ReadOnlySpan<DigitQuestion> All =>
        [DigitQuestion.Sum, DigitQuestion.Difference, DigitQuestion.Larger, DigitQuestion.Smaller];

    /// <summary>The question as the model reads it: short, for every character is a token.</summary>
    public static string Ask(this DigitQuestion question) => question switch
    {
        DigitQuestion.Sum => "sum?",
        DigitQuestion.Difference => "diff?",
        DigitQuestion.Larger => "larger?",
        DigitQuestion.Smaller => "smaller?",
        _ => throw new ArgumentOutOfRangeException(nameof(question), question, "There is no such question."),
    };

    /// <summary>The question as a person reads it.</summary>
    public static string Describe(this DigitQuestion question) => question switch
    {
        DigitQuestion.Sum => "What is the sum of the two digits?",
        DigitQuestion.Difference => "What is the difference between the two digits?",
        DigitQuestion.Larger => "Which of the two digits is larger?",
        DigitQuestion.Smaller => "Which of the two digits is smaller?",
        _ => throw new ArgumentOutOfRangeException(nameof(question), question, "There is no such question."),
    };

    /// <summary>The right answer.</summary>
    public static int Answer(this DigitQuestion question, int left, int right) => question switch
    {
        DigitQuestion.Sum => left + right,
        DigitQuestion.Difference => Math.Abs(left - right),
        DigitQuestion.Larger => Math.Max(left, right),
        DigitQuestion.Smaller => Math.Min(left, right),
        _ => throw new ArgumentOutOfRangeException(nameof(question), question, "There is no such question."),
    };

    /// <summary>
    /// The step that leads from the digits to the answer, such as <c>7+5=12</c> or <c>7&gt;5</c>. In a comparison the answer
    /// stands first.
    /// </summary>
    public static string Calculate(this DigitQuestion question, int left, int right)
    {
        (int larger, int smaller) = (Math.Max(left, right), Math.Min(left, right));
        return question switch
        {
            DigitQuestion.Sum => $"{left}+{right}={left + right}",
            DigitQuestion.Difference => $"{larger}-{smaller}={larger - smaller}",
            _ when left == right => $"{left}={right}",
            DigitQuestion.Larger => $"{larger}>{smaller}",
            DigitQuestion.Smaller => $"{smaller}<{larger}",
            _ => throw new ArgumentOutOfRangeException(nameof(question), question, "There is no such question."),
        };
    }
}
