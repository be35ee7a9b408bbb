using Skylight.Training.Evaluation;
using Skylight.Training.Rewards;

namespace Skylight.Training.Answers;

/// <summary>
/// Decides whether an answer is the expected one, for rewards and evaluations alike: by the rules for options first,
/// then by words, then by mathematics. Its time is bounded whatever a model writes: no search goes back, nesting and
/// comparisons are limited, and what is too long is compared as it is written. docs/evaluation.md lists the rules.
/// </summary>
public static class AnswerChecker
{
    private static readonly string[] s_refusals =
        ["Sorry, I can't help with images of people yet.", "I can't process this file.",
            "I'm sorry, but without the image provided", "Cannot determine the answer"];

    /// <summary>Whether two answers, each without the text around it, are the same.</summary>
    /// <param name="given">What was answered; an empty answer is never right.</param>
    /// <param name="expected">The key; its box, if it has one, does not count.</param>
    public static bool AreEqual(string given, string expected)
    {
        ArgumentNullException.ThrowIfNull(given);
        ArgumentNullException.ThrowIfNull(expected);
        (given, expected) = (Unbox(given), Unbox(expected));
        if (given.Length == 0 || expected.Length == 0)
            return false;
        if (string.Equals(given, expected, StringComparison.Ordinal))
            return true;
        if (given.Length > AnswerText.MostCharacters || expected.Length > AnswerText.MostCharacters)
            return false;
        if (KeyLetter(expected) is { } letter && OptionRules.LetterOf(given, 26, acceptsLowerCase: true) is { } option)
            return option == letter;
        string cleanGiven = AnswerText.Clean(given), cleanExpected = AnswerText.Clean(expected);
        string words = AnswerText.Words(cleanGiven), keyWords = AnswerText.Words(cleanExpected);
        if (words.Length == 0 || keyWords.Length == 0)
            return false;
        if (AnswerText.AreSameWords(words, keyWords))
            return true;
        return MathParser.Read(cleanGiven) is { } one && MathParser.Read(cleanExpected) is { } other
            && MathComparer.AreEqual(one, other);
    }

    /// <summary>Scores a response to a question.</summary>
    /// <param name="response">The response; only what follows its think block counts.</param>
    /// <param name="answers">What is right: the letter of an option, else every answer that is accepted.</param>
    /// <param name="options">The texts of the options; empty for an open question, or if they are not known.</param>
    /// <param name="needsMark">
    /// Whether an open answer must be marked (a box, answer tags, "the answer is …"), as a reward should ask for; else
    /// a text counts too that holds an accepted answer as words.
    /// </param>
    public static AnswerScore Score(string response, IReadOnlyList<string> answers, IReadOnlyList<string> options,
        bool needsMark)
    {
        ArgumentNullException.ThrowIfNull(answers);
        ArgumentNullException.ThrowIfNull(options);
        string text = ThinkBlock.Answer(response).ToString().Trim();
        string? marked = FinalAnswer.Marked(text);
        if (answers is [var key] && (options.Count > 0 || KeyLetter(key) is not null))
            return ScoreChoice(text, marked, KeyLetter(key) ?? '\0', key, options);
        if (marked is { Length: > 0 })
            return new AnswerScore(answers.Any(answer => AreEqual(marked, answer)), marked, AnswerRule.Boxed);
        // An empty box is an answer that is missing, not a reason to look elsewhere.
        if (marked is not null)
            return new AnswerScore(false, null, AnswerRule.None);
        if (IsRefusal(text))
            return new AnswerScore(false, null, AnswerRule.Refusal);
        if (FinalAnswer.Stated(text) is { } stated && answers.Any(answer => AreEqual(stated, answer)))
            return new AnswerScore(true, stated, AnswerRule.Stated);
        if (needsMark)
            return new AnswerScore(false, FinalAnswer.Stated(text), FinalAnswer.Stated(text) is null ? AnswerRule.None
                : AnswerRule.Stated);
        if (answers.FirstOrDefault(answer => AreEqual(text, answer)) is { } whole)
            return new AnswerScore(true, whole, AnswerRule.OptionText);
        return answers.FirstOrDefault(answer => Unbox(answer) is { Length: > 0 } bare && HoldsAsWords(text, bare))
            is { } found
            ? new AnswerScore(true, found, AnswerRule.OptionText)
            : new AnswerScore(false, null, AnswerRule.None);
    }

    private static AnswerScore ScoreChoice(string text, string? marked, char right, string key,
        IReadOnlyList<string> options)
    {
        int count = options.Count > 0 ? options.Count : 26;
        if (marked is not null)
        {
            if (marked.Length == 0)
                return new AnswerScore(false, null, AnswerRule.None);
            char? inBox = OptionRules.LetterOf(marked, count, acceptsLowerCase: true) ?? OptionOf(marked, options);
            return new AnswerScore(inBox is { } boxed ? boxed == right : options.Count == 0 && AreEqual(marked, key),
                marked, AnswerRule.Boxed);
        }

        if (IsRefusal(text) || (text == "Z" && count < 26))
            return new AnswerScore(false, null, AnswerRule.Refusal);
        if (FinalAnswer.Stated(text) is { } stated
            && (OptionRules.LetterOf(stated, count, acceptsLowerCase: false) ?? FirstWord(stated, count)
                ?? OptionOf(stated, options)) is { } said)
            return new AnswerScore(said == right, said.ToString(), AnswerRule.Stated);
        if (OptionRules.LetterOf(text, count, acceptsLowerCase: false) is { } whole)
            return new AnswerScore(whole == right, whole.ToString(), AnswerRule.OptionLetter);
        (char? letter, int found) = OptionRules.Mentioned(text, count);
        if (letter is { } named)
            return new AnswerScore(named == right, named.ToString(), AnswerRule.OptionLetter);
        if (found == 0 && (OptionOf(text, options) ?? HeldOption(text, options)) is { } held)
            return new AnswerScore(held == right, held.ToString(), AnswerRule.OptionText);
        return new AnswerScore(false, null, AnswerRule.None);
    }

    // "The answer is B as it barks": the one letter of the clause.
    private static char? FirstWord(string stated, int count) => OptionRules.Mentioned(stated, count).Letter;

    /// <summary>The only option that equals a text.</summary>
    private static char? OptionOf(string text, IReadOnlyList<string> options)
    {
        char[] same = [.. Enumerable.Range(0, Math.Min(26, options.Count))
            .Where(option => AreEqual(text, options[option])).Select(EvaluationItem.Letter)];
        return same.Length == 1 ? same[0] : null;
    }

    /// <summary>The only option whose text stands in a response as words.</summary>
    private static char? HeldOption(string text, IReadOnlyList<string> options)
    {
        char[] held = [.. Enumerable.Range(0, Math.Min(26, options.Count))
            .Where(option => HoldsAsWords(text, options[option].Trim())).Select(EvaluationItem.Letter)];
        return held.Length == 1 ? held[0] : null;
    }

    /// <summary>The letter that a key is, if it is the letter of an option.</summary>
    private static char? KeyLetter(string key)
    {
        string bare = Unbox(key);
        return bare.Length <= 32 && AnswerText.Words(AnswerText.Clean(bare))
            .Trim('(', ')', '.', ' ') is [>= 'A' and <= 'Z' and var letter] ? letter : null;
    }

    /// <summary>What stands in a box that is the whole answer.</summary>
    internal static string Unbox(string answer)
    {
        string text = answer.Trim();
        string bare = text.Trim('$', ' ');
        return bare.StartsWith(@"\boxed", StringComparison.Ordinal) || bare.StartsWith(@"\fbox", StringComparison.Ordinal)
            ? BoxedAnswer.TryFindLastBox(bare, out string? content) ? content.Trim() : text
            : text;
    }

    private static bool IsRefusal(string text) =>
        s_refusals.Any(refusal => text.Contains(refusal, StringComparison.Ordinal));

    /// <summary>Whether a text holds an answer with nothing joined to it: 2 is not in 12, 2.5, 2/3 or -2.</summary>
    private static bool HoldsAsWords(string text, string answer)
    {
        if (answer.Length == 0)
            return false;
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

    // A point, comma or stroke joins numbers if a digit stands beyond it.
    private static bool Joins(string text, int beside, int beyond) => char.IsLetterOrDigit(text[beside])
        || text[beside] is '^' or '%'
        || (text[beside] is '.' or ',' or '/' && beyond >= 0 && beyond < text.Length && char.IsDigit(text[beyond]));
}
