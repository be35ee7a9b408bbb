namespace Skylight.Text;

/// <summary>Turns text into token numbers and back.</summary>
public interface ITokenizer
{
    /// <summary>How many tokens there are; every token number is below it.</summary>
    int VocabularySize { get; }

    /// <summary>Turns text into tokens.</summary>
    /// <param name="text">The text.</param>
    /// <param name="allowSpecial">
    /// Whether the spelling of a special token becomes that token. Leave it off for text from a user, which must not be able to
    /// end a turn or open a think block.
    /// </param>
    /// <exception cref="ArgumentException">The vocabulary cannot express the text.</exception>
    int[] Encode(string text, bool allowSpecial = false);

    /// <summary>The text of some tokens, special tokens spelled out.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A token number is outside the vocabulary.</exception>
    string Decode(ReadOnlySpan<int> tokens);

    /// <summary>The number of a special token such as <c>&lt;|im_end|&gt;</c>, or null if there is none of that spelling.</summary>
    int? TokenId(string specialToken);

    /// <summary>Whether <see cref="Encode"/> can express the text without special tokens.</summary>
    bool CanEncode(string text) => true;
}
