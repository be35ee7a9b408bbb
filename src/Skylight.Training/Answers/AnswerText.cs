using System.Text;

namespace Skylight.Training.Answers;

/// <summary>The writing of answers: what does not change one is taken away, in one pass over the text.</summary>
internal static class AnswerText
{
    /// <summary>Longer answers are compared as they are written.</summary>
    public const int MostCharacters = 2048;

    private static readonly HashSet<string> s_wrappers = new(StringComparer.Ordinal)
    {
        "text", "textbf", "textit", "textrm", "texttt", "textsf", "textnormal", "mathrm", "mathbf", "mathit", "mathsf",
        "mathtt", "mathcal", "mbox", "hbox", "operatorname", "boldsymbol", "bm", "boxed", "fbox", "framebox",
    };

    private static readonly HashSet<string> s_ignored = new(StringComparer.Ordinal)
    {
        "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "displaystyle", "textstyle",
        "limits", "quad", "qquad", "rm", "bf", "it", "thinspace",
    };

    /// <summary>Whether a command only changes how its argument looks.</summary>
    public static bool IsWrapper(string command) => s_wrappers.Contains(command);

    /// <summary>Whether a wrapper holds words and not mathematics.</summary>
    public static bool IsWordWrapper(string command) =>
        IsWrapper(command)
            && command is not ("mathbf" or "mathit" or "boldsymbol" or "bm" or "boxed" or "fbox" or "framebox");

    /// <summary>Writes every character and command one way; wrappers stay, for what they hold is read as words.</summary>
    public static string Clean(string answer)
    {
        var text = new StringBuilder(answer.Length);
        for (int at = 0; at < answer.Length; at++)
        {
            char character = answer[at];
            if (character is >= '！' and <= '～')
                character = (char)(character - 0xFEE0);
            if (character == '\\' && at + 1 < answer.Length)
            {
                char next = answer[at + 1];
                if (!char.IsAsciiLetter(next))
                {
                    at++;
                    text.Append(next switch
                    {
                        '!' => "",
                        ',' or ';' or ':' or ' ' or '>' or '(' or ')' or '[' or ']' => " ",
                        '%' => "%",
                        '$' => "\\dollar ",
                        _ => "\\" + next,
                    });
                    continue;
                }

                int end = at + 1;
                while (end < answer.Length && char.IsAsciiLetter(answer[end]))
                    end++;
                string command = answer[(at + 1)..end];
                at = end - 1;
                // "\left." stands for no bracket at all.
                if (s_ignored.Contains(command))
                {
                    at += command is "left" or "right" && end < answer.Length && answer[end] == '.' ? 1 : 0;
                    text.Append(' ');
                    continue;
                }

                string renamed = Rename(command);
                if (char.IsAsciiLetter(renamed[0]) || renamed[0] is '{' or '}')
                    text.Append('\\');
                text.Append(renamed).Append(' ');
                continue;
            }

            text.Append(character switch
            {
                '−' or '–' or '—' or '﹣' or '‐' or '‑' => "-",
                '×' or '·' or '⋅' or '∙' => "\\times ",
                '÷' => "/",
                'π' => "\\pi ",
                '∞' => "\\infty ",
                '≤' or '⩽' => "\\le ",
                '≥' or '⩾' => "\\ge ",
                '≠' => "\\ne ",
                '√' => "\\sqrt ",
                '±' => "\\pm ",
                '∪' => "\\cup ",
                '∈' => "\\in ",
                '∅' => "\\emptyset ",
                '°' => "^\\circ ",
                'º' or '˚' => "^\\circ ",
                '²' => "^2",
                '³' => "^3",
                '½' => "\\frac{1}{2}",
                '¼' => "\\frac{1}{4}",
                '¾' => "\\frac{3}{4}",
                'µ' => "μ",
                'Ω' => "Ω",
                '、' => ",",
                '。' => " ",
                '$' or '‘' or '’' or '“' or '”' or '`' => "",
                '~' => " ",
                _ when char.IsWhiteSpace(character) => " ",
                _ when char.GetUnicodeCategory(character) == System.Globalization.UnicodeCategory.Format => "",
                _ => character.ToString(),
            });
        }

        return text.ToString().Trim().TrimEnd('.', ';').Trim();
    }

    /// <summary>What is left of an answer as words: without wrappers and braces around it, in single spaces.</summary>
    public static string Words(string cleaned)
    {
        var text = new StringBuilder(cleaned.Length);
        for (int at = 0; at < cleaned.Length; at++)
        {
            if (cleaned[at] == '\\' && TryCommand(cleaned, at, out string command, out int end) && IsWrapper(command))
            {
                at = end - 1;
                continue;
            }

            if (cleaned[at] != ' ')
                text.Append(cleaned[at]);
            // A number and its unit may stand apart or not: 5 m, 5m.
            else if (text.Length > 0 && text[^1] != ' '
                && !(char.IsAsciiDigit(text[^1]) && at + 1 < cleaned.Length && char.IsLetter(cleaned[at + 1])))
                text.Append(' ');
        }

        string words = text.ToString().Trim();
        while (IsWrappedInBraces(words))
            words = words[1..^1].Trim();
        return words;
    }

    /// <summary>The command at a place, with its end.</summary>
    public static bool TryCommand(string text, int at, out string command, out int end)
    {
        end = at + 1;
        while (end < text.Length && char.IsAsciiLetter(text[end]))
            end++;
        command = text[(at + 1)..end];
        return command.Length > 0;
    }

    /// <summary>
    /// Whether words are the same but for case. Where case tells units or names apart (mW and MW, x and X of a
    /// formula), it counts.
    /// </summary>
    public static bool AreSameWords(string given, string expected)
    {
        if (string.Equals(given, expected, StringComparison.Ordinal))
            return true;
        if (!string.Equals(given, expected, StringComparison.OrdinalIgnoreCase))
            return false;
        for (int at = 0; at < given.Length; at++)
        {
            if (!char.IsLetter(given[at]))
                continue;
            int end = at;
            while (end < given.Length && char.IsLetter(given[end]))
                end++;
            string one = given[at..end], other = expected[at..end];
            if (one != other
                && ((one.Length == 1 && given.Length > 1) || (at > 0 && given[at - 1] == '\\') || !IsNatural(one)
                    || !IsNatural(other) || (AnswerUnit.IsKnown(one) && AnswerUnit.IsKnown(other) && one.Length < 4)))
                return false;
            at = end;
        }

        return true;
    }

    private static bool IsNatural(string word) => word[1..].All(char.IsLower)
        || word[1..].All(letter => !char.IsLower(letter)) && !char.IsLower(word[0]);

    private static string Rename(string command) => command switch
    {
        "dfrac" or "tfrac" or "cfrac" => "frac",
        "leq" or "leqslant" => "le",
        "geq" or "geqslant" => "ge",
        "neq" => "ne",
        "lt" => "<",
        "gt" => ">",
        "cdot" or "ast" => "times",
        "div" => "/",
        "varnothing" => "emptyset",
        "lbrace" => "{",
        "rbrace" => "}",
        "degree" or "degrees" => "degree",
        "dbinom" or "tbinom" => "binom",
        "varphi" => "phi",
        "varepsilon" => "epsilon",
        "Omega" => "Omega",
        _ => command,
    };

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
