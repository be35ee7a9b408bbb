using System.Text;

namespace Skylight.Text;

/// <summary>
/// Turns tokens into text as they come, for one answer. No piece ends within a character: bytes of an unfinished one
/// wait for the next token. All pieces together, with <see cref="Flush"/>, are what <see cref="ITokenizer.Decode"/>
/// makes of all tokens.
/// </summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="skipSpecial">Whether special tokens are left out; otherwise they are spelled out.</param>
public sealed class StreamingDecoder(ITokenizer tokenizer, bool skipSpecial = false)
{
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();

    /// <summary>Takes a token and gives the text that is complete with it; may be empty.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The token number is outside the vocabulary; it is not
    /// taken.</exception>
    public string Append(int token)
    {
        ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(token);
        return skipSpecial && tokenizer.IsSpecial(token) ? "" : Decode(bytes, flush: false);
    }

    /// <summary>Takes some tokens and gives the text that is complete with them; may be empty.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A token number is outside the vocabulary; those before it are
    /// taken.</exception>
    public string Append(ReadOnlySpan<int> tokens)
    {
        var text = new StringBuilder();
        foreach (int token in tokens)
            text.Append(Append(token));
        return text.ToString();
    }

    /// <summary>
    /// Ends the text: U+FFFD for a character that was begun and not finished, else nothing. After it a new text may
    /// begin.
    /// </summary>
    public string Flush() => Decode([], flush: true);

    private string Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        // A waiting byte may become a character of its own, U+FFFD.
        int most = bytes.Length + 4;
        Span<char> characters = most <= 256 ? stackalloc char[256] : new char[most];
        return characters[.._decoder.GetChars(bytes, characters, flush)].ToString();
    }
}
