using System.Diagnostics.CodeAnalysis;

namespace Skylight.Training.Rewards;

/// <summary>Finds the final answer of a response: <c>\boxed{…}</c>.</summary>
public static class BoxedAnswer
{
    private const string Command = @"\boxed";

    /// <summary>
    /// Finds the last <c>\boxed{…}</c> whose braces balance. Nested braces belong to the content, <c>\{</c> and
    /// <c>\}</c> are plain characters as in TeX, and a later box that never closes is passed over.
    /// </summary>
    /// <param name="text">The text to search.</param>
    /// <param name="content">What stands between the outer braces, unchanged.</param>
    public static bool TryFindLast(ReadOnlySpan<char> text, [NotNullWhen(true)] out string? content) =>
        TryFind(text, Command, null, out content);

    /// <summary>
    /// As <see cref="TryFindLast"/>, and also <c>\fbox{…}</c>, and a box around a number or letter without braces
    /// (<c>\boxed 5</c>).
    /// </summary>
    /// <param name="text">The text to search.</param>
    /// <param name="content">What stands in the box, unchanged.</param>
    public static bool TryFindLastBox(ReadOnlySpan<char> text, [NotNullWhen(true)] out string? content) =>
        TryFind(text, Command, @"\fbox", out content);

    // One pass, whatever the text: a box is the last if it opens last, and counts only once it is closed.
    private static bool TryFind(ReadOnlySpan<char> text, string command, string? other,
        [NotNullWhen(true)] out string? content)
    {
        var open = new Stack<(int Start, bool IsBox)>();
        (int from, int to) = (-1, -1);
        int boxBrace = -1;
        for (int at = 0; at < text.Length; at++)
        {
            switch (text[at])
            {
                case '\\':
                    int length = LengthOf(text[at..], command, other);
                    if (length == 0)
                    {
                        // The escaped character, be it a brace or another backslash; but "\\boxed" is a box behind a
                        // line's end.
                        at += at + 1 < text.Length && LengthOf(text[(at + 1)..], command, other) > 0 ? 0 : 1;
                        break;
                    }

                    int next = at + length;
                    while (next < text.Length && char.IsWhiteSpace(text[next]))
                        next++;
                    if (next < text.Length && text[next] == '{')
                        boxBrace = next;
                    else if (other is not null && BareEnd(text, next) is var end && end > next && next + 1 > from)
                        (from, to) = (next, end);
                    at += length - 1;
                    break;
                case '{':
                    open.Push((at, at == boxBrace));
                    break;
                case '}' when open.Count > 0:
                    (int start, bool isBox) = open.Pop();
                    if (isBox && start + 1 > from)
                        (from, to) = (start + 1, at);
                    break;
            }
        }

        content = from < 0 ? null : text[from..to].ToString();
        return from >= 0;
    }

    private static int LengthOf(ReadOnlySpan<char> text, string command, string? other)
    {
        int length = text.StartsWith(command, StringComparison.Ordinal) ? command.Length
            : other is not null && text.StartsWith(other, StringComparison.Ordinal) ? other.Length : 0;
        return length > 0 && length < text.Length && char.IsAsciiLetter(text[length]) ? 0 : length;
    }

    /// <summary>The end of a number or of a letter that stands alone; the place itself if there is neither.</summary>
    private static int BareEnd(ReadOnlySpan<char> text, int at)
    {
        int end = at;
        if (end < text.Length && text[end] is '-' or '−')
            end++;
        int first = end;
        while (end < text.Length
            && (char.IsAsciiDigit(text[end])
                || (text[end] == '.' && end + 1 < text.Length && char.IsAsciiDigit(text[end + 1]))))
            end++;
        if (end > first)
            return end;
        return at < text.Length && char.IsAsciiLetter(text[at])
            && (at + 1 == text.Length || !char.IsLetterOrDigit(text[at + 1])) ? at + 1 : at;
    }
}
