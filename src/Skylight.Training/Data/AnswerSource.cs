using Skylight.Training.Answers;
using Skylight.Training.Evaluation;

namespace Skylight.Training.Data;

/// <summary>Answers as data sets write them.</summary>
internal static class AnswerSource
{
    private const string GradeSchoolMark = "####";

    /// <summary>
    /// What a text says is right: of a worked solution what stands in its last box or between its answer tags, or
    /// behind GSM8K's <c>####</c>; else all of it.
    /// </summary>
    public static string Extract(string text)
    {
        if (FinalAnswer.Marked(text) is { Length: > 0 } marked)
            return FinalAnswer.Marked(marked) is { Length: > 0 } inner ? inner : marked;
        int at = text.LastIndexOf(GradeSchoolMark, StringComparison.Ordinal);
        return at >= 0 && text[(at + GradeSchoolMark.Length)..].Trim() is { Length: > 0 } last
            && !last.Contains('\n', StringComparison.Ordinal) ? last : text;
    }

    /// <summary>The letter of an answer that is given as a letter or as the text of an option.</summary>
    public static string LetterOf(string answer, IReadOnlyList<string> options)
    {
        string trimmed = answer.Trim();
        if (trimmed.Length == 1 && trimmed[0] - 'A' is >= 0 and var place && place < options.Count)
            return trimmed;
        int[] same = [.. Enumerable.Range(0, options.Count).Where(option => options[option].Trim() == trimmed)];
        return same.Length == 1
            ? EvaluationItem.Letter(same[0]).ToString()
            : throw new InvalidDataException(
                $"has the answer '{answer}', but its options are A to {EvaluationItem.Letter(options.Count - 1)}: " +
                $"give one of these letters, or the text of one option.");
    }
}
