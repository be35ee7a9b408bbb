using System.Collections.Frozen;
using System.Text;

namespace Skylight.Text;

/// <summary>
/// A tokenizer for small models: one token for each character of a given alphabet, and one for each special token.
/// Special tokens have the lowest numbers, in the order given; the alphabet follows, in the order given.
/// </summary>
public sealed class CharacterTokenizer : ITokenizer
{
    private readonly string[] _texts;
    private readonly FrozenDictionary<char, int> _characters;
    private readonly FrozenDictionary<string, int> _specials;
    private readonly KeyValuePair<string, int>[] _specialsLongestFirst;

    /// <summary>Makes a tokenizer.</summary>
    /// <param name="alphabet">The characters that plain text may hold; each once.</param>
    /// <param name="specialTokens">Spellings that are one token each when the caller allows it; none may be empty or
    /// repeated.</param>
    /// <exception cref="ArgumentException">A character or a special token is repeated, a special token is empty, or a
    /// character needs two UTF-16 units.</exception>
    public CharacterTokenizer(string alphabet, params ReadOnlySpan<string> specialTokens)
    {
        ArgumentNullException.ThrowIfNull(alphabet);

        var texts = new List<string>(specialTokens.Length + alphabet.Length);
        var specials = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (string special in specialTokens)
        {
            if (string.IsNullOrEmpty(special))
                throw new ArgumentException("A special token cannot be empty.", nameof(specialTokens));
            if (!specials.TryAdd(special, texts.Count))
                throw new ArgumentException($"The special token '{special}' is given twice.", nameof(specialTokens));
            texts.Add(special);
        }

        var characters = new Dictionary<char, int>();
        foreach (char character in alphabet)
        {
            if (char.IsSurrogate(character))
                throw new ArgumentException($"The alphabet holds {Describe(character)}, which is half of a character.",
                    nameof(alphabet));
            if (!characters.TryAdd(character, texts.Count))
                throw new ArgumentException($"The alphabet holds {Describe(character)} twice.", nameof(alphabet));
            texts.Add(character.ToString());
        }

        _texts = [.. texts];
        _characters = characters.ToFrozenDictionary();
        _specials = specials.ToFrozenDictionary(StringComparer.Ordinal);
        _specialsLongestFirst = [.. specials.OrderByDescending(special => special.Key.Length)];
    }

    /// <inheritdoc/>
    public int VocabularySize => _texts.Length;

    /// <inheritdoc/>
    public int? TokenId(string specialToken) => _specials.TryGetValue(specialToken, out int id) ? id : null;

    /// <inheritdoc/>
    public bool IsSpecial(int token) => token >= 0 && token < _specials.Count;

    /// <inheritdoc/>
    public bool CanEncode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.All(_characters.ContainsKey);
    }

    /// <inheritdoc/>
    public int[] Encode(string text, bool allowSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);

        var tokens = new List<int>(text.Length);
        int position = 0;
        while (position < text.Length)
        {
            if (allowSpecial && TryMatchSpecial(text, position, out int special))
            {
                tokens.Add(special);
                position += _texts[special].Length;
            }
            else if (_characters.TryGetValue(text[position], out int token))
            {
                tokens.Add(token);
                position++;
            }
            else
            {
                throw new ArgumentException(
                    $"The vocabulary has no token for {Describe(text[position])} at position {position} of \"{text}\"; " +
                    "add it to the alphabet of this tokenizer or remove it from the text.",
                    nameof(text));
            }
        }

        return [.. tokens];
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false)
    {
        var text = new StringBuilder(tokens.Length);
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)_texts.Length)
            {
                throw new ArgumentOutOfRangeException(
                    nameof(tokens), token, $"Token {token} is outside the vocabulary of {_texts.Length} tokens.");
            }

            if (!skipSpecial || token >= _specials.Count)
                text.Append(_texts[token]);
        }

        return text.ToString();
    }

    private bool TryMatchSpecial(string text, int position, out int token)
    {
        foreach ((string special, int id) in _specialsLongestFirst)
        {
            if (string.CompareOrdinal(text, position, special, 0, special.Length) == 0)
            {
                token = id;
                return true;
            }
        }

        token = -1;
        return false;
    }

    private static string Describe(char character) =>
        char.IsControl(character) || char.IsSurrogate(character) ? $"U+{(int)character:X4}"
            : $"'{character}' (U+{(int)character:X4})";
}
