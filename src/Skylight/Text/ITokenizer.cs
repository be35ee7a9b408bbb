using System.Text;

namespace Skylight.Text;

/// <summary>Turns text into token numbers and back. Implementations may be used by many threads at once.</summary>
public interface ITokenizer
{
    /// <summary>How many tokens there are; every token number is below it.</summary>
    int VocabularySize { get; }

    /// <summary>Turns text into tokens.</summary>
    /// <param name="text">The text.</param>
    /// <param name="allowSpecial">
    /// Whether the spelling of a special token becomes that token. Leave it off for text from a user, which must not be
    /// able to end a turn or open a think block.
    /// </param>
    /// <exception cref="ArgumentException">The vocabulary cannot express the text.</exception>
    int[] Encode(string text, bool allowSpecial = false);

    /// <summary>The text of some tokens. Bytes that are not UTF-8 become U+FFFD.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="skipSpecial">Whether special tokens are left out; otherwise they are spelled out.</param>
    /// <exception cref="ArgumentOutOfRangeException">A token number is outside the vocabulary.</exception>
    string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false);

    /// <summary>
    /// The number of a special token such as <c>&lt;|im_end|&gt;</c>, or null if there is none of that spelling.
    /// </summary>
    int? TokenId(string specialToken);

    /// <summary>
    /// Whether a token is special: one that <see cref="Decode"/> leaves out when asked to. False outside the
    /// vocabulary.
    /// </summary>
    bool IsSpecial(int token);

    /// <summary>
    /// What a token stands for in UTF-8. It may be a part of a character: the bytes of tokens in a row make the text.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The token number is outside the vocabulary.</exception>
    ReadOnlySpan<byte> TokenBytes(int token) => Encoding.UTF8.GetBytes(Decode([token]));

    /// <summary>
    /// The spellings for which <see cref="TokenId"/> knows a token, as far as they are known; what a checkpoint's own
    /// chat template writes of them becomes that token.
    /// </summary>
    IReadOnlyCollection<string> AddedTokens => [];

    /// <summary>Whether <see cref="Encode"/> can express the text without special tokens.</summary>
    bool CanEncode(string text) => true;
}
