using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace Skylight.Training.Data;

/// <summary>
/// A list as Python writes it into a text: <c>['one', "it's", 3]</c>. JSON's lists of texts and numbers are such lists
/// too.
/// </summary>
internal static class PythonList
{
    /// <summary>Reads one.</summary>
    /// <param name="text">The text.</param>
    /// <param name="items">Its elements; strings without their quotes, other things as they are written.</param>
    /// <param name="areStrings">Whether all of them stand in quotes.</param>
    /// <returns>Whether it is a list of strings, numbers and names.</returns>
    public static bool TryParse(string text, [NotNullWhen(true)] out IReadOnlyList<string>? items, out bool areStrings)
    {
        items = null;
        areStrings = true;
        ReadOnlySpan<char> rest = text.AsSpan().Trim();
        if (rest.Length < 2 || !((rest[0] == '[' && rest[^1] == ']') || (rest[0] == '(' && rest[^1] == ')')))
            return false;
        rest = rest[1..^1].Trim();
        var found = new List<string>();
        while (rest.Length > 0)
        {
            if (rest[0] is '\'' or '"')
            {
                if (!TryReadString(ref rest, out string? item))
                    return false;
                found.Add(item);
            }
            else
            {
                areStrings = false;
                int end = rest.IndexOf(',');
                ReadOnlySpan<char> word = (end < 0 ? rest : rest[..end]).Trim();
                if (word.Length == 0 || word.ContainsAny("[](){}'\""))
                    return false;
                found.Add(word.ToString());
                rest = end < 0 ? [] : rest[end..];
            }

            rest = rest.TrimStart();
            if (rest.Length == 0)
                break;
            if (rest[0] != ',')
                return false;
            rest = rest[1..].TrimStart();
        }

        items = found;
        return true;
    }

    private static bool TryReadString(ref ReadOnlySpan<char> rest, [NotNullWhen(true)] out string? item)
    {
        char quote = rest[0];
        var text = new StringBuilder();
        for (int at = 1; at < rest.Length; at++)
        {
            char next = rest[at];
            if (next == quote)
            {
                item = text.ToString();
                rest = rest[(at + 1)..];
                return true;
            }

            if (next != '\\' || at + 1 == rest.Length)
            {
                text.Append(next);
                continue;
            }

            next = rest[++at];
            int digits = next switch { 'x' => 2, 'u' => 4, _ => 0 };
            if (digits > 0 && at + digits < rest.Length && int.TryParse(rest.Slice(at + 1, digits),
                NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int code))
            {
                text.Append((char)code);
                at += digits;
                continue;
            }

            // As Python does, a backslash that begins nothing is kept: LaTeX in such lists relies on it.
            text.Append(next switch
            {
                'n' => "\n",
                't' => "\t",
                'r' => "\r",
                '\\' => "\\",
                '\'' => "'",
                '"' => "\"",
                _ => $"\\{next}",
            });
        }

        item = null;
        return false;
    }
}
