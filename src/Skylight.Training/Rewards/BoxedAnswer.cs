using System.Diagnostics.CodeAnalysis;

namespace Skylight.Training.Rewards;

/// <summary>Finds the final answer of a response: <c>\boxed{…}</c>.</summary>
public static class BoxedAnswer
{
    private const string Command = @"\boxed";

    /// <summary>
    /// Finds the last <c>\boxed{…}</c> whose braces balance. Nested braces belong to the content, <c>\{</c> and <c>\}</c> are
    /// plain characters as in TeX, and a later box that never closes is passed over.
    /// </summary>
    /// <param name="text">The text to search.</param>
    /// <param name="content">What stands between the outer braces, unchanged.</param>
    public static bool TryFindLast(ReadOnlySpan<char> text, [NotNullWhen(true)] out string? content)
    {
        int searchEnd = text.Length;
        while (true)
        {
            int start = text[..searchEnd].LastIndexOf(Command, StringComparison.Ordinal);
            if (start < 0)
            {
                content = null;
                return false;
            }

            if (TryReadBraces(text[(start + Command.Length)..], out content))
                return true;
            searchEnd = start;
        }
    }

    private static bool TryReadBraces(ReadOnlySpan<char> text, [NotNullWhen(true)] out string? content)
    {
        content = null;
        int open = 0;
        while (open < text.Length && char.IsWhiteSpace(text[open]))
            open++;
        if (open == text.Length || text[open] != '{')
            return false;

        int depth = 0;
        for (int position = open; position < text.Length; position++)
        {
            switch (text[position])
            {
                case '\\':
                    position++; // the escaped character, be it a brace or another backslash
                    break;
                case '{':
                    depth++;
                    break;
                case '}' when --depth == 0:
                    content = text[(open + 1)..position].ToString();
                    return true;
            }
        }

        return false;
    }
}
