using System.Text;

namespace Skylight.Training.Rewards;

/// <summary>
/// The rule verifier: the last balanced <c>\boxed{…}</c> outside the think block must hold the expected answer, up to spaces,
/// <c>$</c> signs, outer braces and letter case.
/// </summary>
public sealed class BoxedAnswerVerifier : IVerifier
{
    /// <inheritdoc/>
    public bool Verify(string completion, string expectedAnswer)
    {
        ArgumentNullException.ThrowIfNull(expectedAnswer);
        return BoxedAnswer.TryFindLast(ThinkBlock.Answer(completion), out string? content)
            && Normalize(content) is { Length: > 0 } answer
            && string.Equals(answer, Normalize(expectedAnswer), StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>Removes what does not change an answer: <c>$</c> signs, outer braces, and spaces (inner runs become one).</summary>
    internal static string Normalize(string answer)
    {
        string text = CollapseSpaces(answer.Replace("$", "", StringComparison.Ordinal));
        while (IsWrappedInBraces(text))
            text = text[1..^1].Trim();
        return text;
    }

    private static string CollapseSpaces(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char character in text.Trim())
        {
            if (!char.IsWhiteSpace(character))
                result.Append(character);
            else if (result[^1] != ' ')
                result.Append(' ');
        }

        return result.ToString();
    }

    // "{a}" is wrapped, "{a}{b}" is not: its first brace closes before the end.
    private static bool IsWrappedInBraces(string text)
    {
        if (text.Length < 2 || text[0] != '{' || text[^1] != '}')
            return false;

        int depth = 0;
        for (int position = 0; position < text.Length; position++)
        {
            if (text[position] == '\\')
                position++;
            else if (text[position] == '{')
                depth++;
            else if (text[position] == '}' && --depth == 0)
                return position == text.Length - 1;
        }

        return false;
    }
}
