using Skylight.Training.Answers;
using Skylight.Training.Evaluation;

namespace Skylight.Training.Rewards;

/// <summary>What a row says is right.</summary>
internal static class AnswerKey
{
    /// <summary>The accepted answers: of a question with options their letters, else the texts.</summary>
    /// <exception cref="InvalidDataException">The row has no answer, or one that is none of its options.</exception>
    public static IReadOnlyList<string> Of(RewardRequest request)
    {
        if (request.Answers.Count == 0 || request.Answers.All(string.IsNullOrWhiteSpace))
            throw new InvalidDataException("the row has no answer to compare with; name the column that holds it.");
        if (request.Answers.Any(answer => answer is null))
            throw new InvalidDataException("one of the row's answers is null.");
        return request.Options.Count == 0 ? request.Answers
            : [.. request.Answers.Select(answer => Letter(answer, request.Options))];
    }

    /// <summary>
    /// Whether what follows the think block gives the answer, by the rules of <see cref="AnswerChecker"/>.
    /// </summary>
    public static bool Accepts(RewardRequest request, IReadOnlyList<string> keys, bool needsMark) =>
        request.Options.Count == 0
        ? AnswerChecker.Score(request.Turn, keys, [], needsMark).IsCorrect
        : keys.Any(key => AnswerChecker.Score(request.Turn, [key], request.Options, needsMark).IsCorrect);

    // As evaluations read their rows: the letter, else the text of one option; and, with less care, a decorated letter.
    private static string Letter(string answer, IReadOnlyList<string> options)
    {
        if (options.Count > 26)
            throw new InvalidDataException($"the row has {options.Count} options; at most 26 have a letter.");
        string trimmed = answer.Trim();
        if (trimmed is [var only] && only - 'A' is >= 0 and var place && place < options.Count)
            return trimmed;
        int[] same = [.. Enumerable.Range(0, options.Count).Where(option => options[option].Trim() == trimmed)];
        if (same.Length == 0)
            same = [.. Enumerable.Range(0, options.Count).Where(option => AnswerChecker.AreEqual(trimmed, options[option]))];
        if (same.Length == 1)
            return EvaluationItem.Letter(same[0]).ToString();
        if (same.Length == 0 && OptionRules.LetterOf(trimmed, options.Count, acceptsLowerCase: true) is { } letter)
            return letter.ToString();
        string wrong =
            $"the row's answer '{Shortened(answer)}' is {(same.Length == 0 ? "none" : "more than one")} of its " +
            $"{options.Count} options";
        throw new InvalidDataException(
            $"{wrong}; give a letter from A to {EvaluationItem.Letter(options.Count - 1)}, or the text of one option.");
    }

    /// <summary>A text as errors show it.</summary>
    public static string Shortened(string text, int most = 80)
    {
        text = string.Concat(text.Trim().Select(character => char.IsControl(character) ? ' ' : character));
        return text.Length <= most ? text : text[..most] + "…";
    }
}
