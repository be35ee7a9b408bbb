using System.Text.RegularExpressions;
using Skylight.Training.Answers;
using Skylight.Training.Rewards;

namespace Skylight.Training.Evaluation;

/// <summary>What told which answer a response gives.</summary>
public enum AnswerRule
{
    /// <summary>Nothing: the response counts as wrong.</summary>
    None,

    /// <summary>The letter of exactly one option stands in it as a word.</summary>
    OptionLetter,

    /// <summary>The text of exactly one option, or of an accepted answer, stands in it.</summary>
    OptionText,

    /// <summary>Its last balanced <c>\boxed{…}</c>.</summary>
    Boxed,

    /// <summary>It declines to answer.</summary>
    Refusal,

    /// <summary>It says that the answer is this.</summary>
    Stated,
}

/// <summary>The rules that responses are scored by.</summary>
public enum ScoringRules
{
    /// <summary><see cref="AnswerChecker"/>, which rewards use too.</summary>
    Checker,

    /// <summary>
    /// Those of the paper's repository and of VLMEvalKit, for comparing with published figures:
    /// <see cref="AnswerScoring"/>.
    /// </summary>
    Paper,
}

/// <summary>How a response was scored.</summary>
/// <param name="IsCorrect">Whether it is right.</param>
/// <param name="Given">The answer that was found: a letter, or what stands in the box; null if none was.</param>
/// <param name="Rule">What it was found by.</param>
public readonly record struct AnswerScore(bool IsCorrect, string? Given, AnswerRule Rule);

/// <summary>
/// Scores responses by rules alone, after VLMEvalKit's multiple-choice matching and Skywork-R1V's rule for MMMU: a
/// response is right if the option that can be inferred from it is, or if its last <c>\boxed{…}</c> is. There is no
/// judge model: a response that says the right thing in other words is wrong here.
/// </summary>
public static partial class AnswerScoring
{
    private static readonly string[] s_refusals =
        ["Sorry, I can't help with images of people yet.", "I can't process this file.",
            "I'm sorry, but without the image provided", "Cannot determine the answer"];

    private static readonly char[] s_punctuation = [.. ".()[],:;!*#{}"];

    /// <summary>Scores a response by the rules that are asked for.</summary>
    /// <param name="item">The question.</param>
    /// <param name="response">The response; only what follows its think block counts.</param>
    /// <param name="rules">The rules.</param>
    public static AnswerScore Score(EvaluationItem item, string response, ScoringRules rules)
    {
        ArgumentNullException.ThrowIfNull(item);
        return rules switch
        {
            ScoringRules.Checker => AnswerChecker.Score(response, item.Answers, item.Options, needsMark: false),
            ScoringRules.Paper => Score(item, response),
            _ => throw new ArgumentOutOfRangeException(nameof(rules), rules, "These rules are not known."),
        };
    }

    /// <summary>Scores a response by the paper's rules.</summary>
    /// <param name="item">The question.</param>
    /// <param name="response">The response; only what follows its think block counts.</param>
    public static AnswerScore Score(EvaluationItem item, string response)
    {
        ArgumentNullException.ThrowIfNull(item);
        string text = ThinkBlock.Answer(response).ToString();
        return item.IsMultipleChoice ? ScoreChoice(item, text) : ScoreOpen(item, text);
    }

    /// <summary>
    /// What does not count in a boxed answer is taken away: <c>$</c>, LaTeX commands in lower case, white space, one
    /// brace at either end; the rest in lower case. Skywork-R1V's rule; it makes <c>\text{B}</c> the same as B, but
    /// also <c>2\pi</c> the same as 2.
    /// </summary>
    public static string Normalize(string answer)
    {
        ArgumentNullException.ThrowIfNull(answer);
        string text = Decoration().Replace(answer, "");
        if (text.StartsWith('{'))
            text = text[1..];
        if (text.EndsWith('}'))
            text = text[..^1];
        return text.ToLowerInvariant();
    }

    private static AnswerScore ScoreChoice(EvaluationItem item, string text)
    {
        char right = item.Answers[0][0];
        (char? option, AnswerRule rule) = InferOption(text, item.Options);
        if (option == right)
            return new AnswerScore(true, option.ToString(), rule);
        if (BoxedAnswer.TryFindLast(text, out string? boxed) && boxed.Trim() is { Length: > 0 } given)
        {
            if (Same(given, item.Answers[0]) || OptionOf(given, item.Options) == right)
                return new AnswerScore(true, given, AnswerRule.Boxed);
            if (option is null && rule == AnswerRule.None)
                return new AnswerScore(false, given, AnswerRule.Boxed);
        }

        return new AnswerScore(false, option?.ToString(), rule);
    }

    private static AnswerScore ScoreOpen(EvaluationItem item, string text)
    {
        // A boxed answer is the one that is meant: other texts around it are the way to it.
        if (BoxedAnswer.TryFindLast(text, out string? boxed) && boxed.Trim() is { Length: > 0 } given)
            return new AnswerScore(item.Answers.Any(answer => Same(given, answer)), given, AnswerRule.Boxed);
        if (IsRefusal(text))
            return new AnswerScore(false, null, AnswerRule.Refusal);
        return item.Answers.FirstOrDefault(answer => HoldsAsWords(text, answer.Trim())) is { } found
            ? new AnswerScore(true, found, AnswerRule.OptionText)
            : new AnswerScore(false, null, AnswerRule.None);
    }

    /// <summary>
    /// The option that a text chooses: the only one whose letter is a word of it; failing that, the only one whose text
    /// it holds.
    /// </summary>
    internal static (char? Option, AnswerRule Rule) InferOption(string text, IReadOnlyList<string> options)
    {
        if (IsRefusal(text))
            return (null, AnswerRule.Refusal);
        string spaced = text;
        foreach (char mark in s_punctuation)
            spaced = spaced.Replace(mark, ' ');
        HashSet<string> words = [.. spaced.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)];
        char[] letters = [.. Enumerable.Range(0, options.Count).Select(EvaluationItem.Letter)
            .Where(letter => words.Contains(letter.ToString()))];
        if (letters.Length == 1)
            return (letters[0], AnswerRule.OptionLetter);
        if (letters.Length == 0 && words.Contains("Z"))
            return (null, AnswerRule.Refusal);
        string lower = text.ToLowerInvariant();
        char[] held = [.. Enumerable.Range(0, options.Count)
            .Where(option => lower.Contains(options[option].ToLowerInvariant(), StringComparison.Ordinal))
            .Select(EvaluationItem.Letter)];
        return held.Length == 1 ? (held[0], AnswerRule.OptionText) : (null, AnswerRule.None);
    }

    /// <summary>The only option whose text a box holds.</summary>
    private static char? OptionOf(string boxed, IReadOnlyList<string> options)
    {
        char[] same = [.. Enumerable.Range(0, options.Count).Where(option => Same(boxed, options[option]))
            .Select(EvaluationItem.Letter)];
        return same.Length == 1 ? same[0] : null;
    }

    private static bool Same(string given, string expected)
    {
        if (given.Trim() == expected.Trim())
            return true;
        // Of \pi and \theta alone nothing is left, which does not make them the same.
        return Normalize(given) is { Length: > 0 } normal && normal == Normalize(expected);
    }

    private static bool IsRefusal(string text) =>
        s_refusals.Any(refusal => text.Contains(refusal, StringComparison.Ordinal));

    /// <summary>Whether a text holds an answer with no letter or digit against it: 2 is not in 12 or 2.5.</summary>
    private static bool HoldsAsWords(string text, string answer)
    {
        for (int at = text.IndexOf(answer, StringComparison.OrdinalIgnoreCase); at >= 0;
            at = text.IndexOf(answer, at + 1, StringComparison.OrdinalIgnoreCase))
        {
            int end = at + answer.Length;
            bool begins = at == 0 || !char.IsLetterOrDigit(answer[0]) || !Joins(text, at - 1, at - 2);
            bool ends = end == text.Length || !char.IsLetterOrDigit(answer[^1]) || !Joins(text, end, end + 1);
            if (begins && ends && !(char.IsDigit(answer[0]) && at > 0 && text[at - 1] is '-' or '−'))
                return true;
        }

        return false;
    }

    // A point or comma joins numbers if a digit stands beyond it.
    private static bool Joins(string text, int beside, int beyond) =>
        char.IsLetterOrDigit(text[beside])
            || (text[beside] is '.' or ',' && beyond >= 0 && beyond < text.Length && char.IsDigit(text[beyond]));

    [GeneratedRegex(@"\$|\\[a-z]+|\s+", RegexOptions.CultureInvariant)]
    private static partial Regex Decoration();
}
