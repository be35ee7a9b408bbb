using Skylight.Training.Rewards;

namespace Skylight.Training.Answers;

/// <summary>Where a response says its answer.</summary>
internal static class FinalAnswer
{
    private static readonly string[] s_statements = ["answer is", "answer:", "answer：", "answer**:", "answer:**", "答案是",
        "答案为", "答案：", "答案:", "应选", "故选", "选择", "应该选", "我选", "选："];
    private static readonly string[] s_ends = [". ", ", because", ", since", ", for ", ", as ", ", so ", ", which",
        " because ", " since ", "。", "，", "；", "\n", "</answer>", "<"];

    /// <summary>The last balanced box, else what the last pair of answer tags holds.</summary>
    public static string? Marked(string text)
    {
        if (BoxedAnswer.TryFindLastBox(text, out string? boxed))
            return boxed.Trim();
        const string open = "<answer>", close = "</answer>";
        int end = text.LastIndexOf(close, StringComparison.OrdinalIgnoreCase);
        int start = end < 0 ? -1 : text.LastIndexOf(open, end, StringComparison.OrdinalIgnoreCase);
        return start < 0 ? null : text[(start + open.Length)..end].Trim();
    }

    /// <summary>
    /// What follows the last "the answer is" or its like, to the end of the clause; null if nothing is stated.
    /// </summary>
    public static string? Stated(string text)
    {
        int start = -1;
        foreach (string statement in s_statements)
        {
            int at = text.LastIndexOf(statement, StringComparison.OrdinalIgnoreCase);
            if (at >= 0)
                start = Math.Max(start, at + statement.Length);
        }

        if (start < 0)
            return null;
        string rest = text[start..].TrimStart(' ', '\t', ':', '：', '\n', '\r', '*');
        foreach (string mark in s_ends)
        {
            int at = rest.IndexOf(mark, StringComparison.Ordinal);
            // "B. the second" is one clause.
            if (at > 0 && !(mark == ". " && at <= 3 && char.IsAsciiLetterUpper(rest[at - 1])))
                rest = rest[..at];
        }

        rest = rest.Trim().Trim('*').Trim();
        return rest.Length > 0 ? rest : null;
    }
}
