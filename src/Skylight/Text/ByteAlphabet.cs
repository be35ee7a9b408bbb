namespace Skylight.Text;

/// <summary>
/// How byte-level tokenizers write bytes as printable characters in their files: printable Latin-1 stands for itself,
/// the other bytes in order for U+0100 and up. Source: GPT-2's <c>bytes_to_unicode</c>.
/// </summary>
internal static class ByteAlphabet
{
    private const int CharacterCount = 256 + 68;

    private static readonly char[] Characters = new char[256];
    private static readonly short[] Bytes = new short[CharacterCount];

    static ByteAlphabet()
    {
        Array.Fill(Bytes, (short)-1);
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
        {
            char character = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)value : next++;
            Characters[value] = character;
            Bytes[character] = (short)value;
        }
    }

    /// <summary>The character that a byte is written as.</summary>
    public static char CharacterOf(byte value) => Characters[value];

    /// <summary>
    /// Reads a spelling in UTF-8 as the bytes that it stands for; false if it has a character that stands for none.
    /// </summary>
    public static bool TryDecode(ReadOnlySpan<byte> spelling, Span<byte> bytes, out int written)
    {
        written = 0;
        for (int i = 0; i < spelling.Length; i++)
        {
            int character = spelling[i];
            if (character >= 0x80)
            {
                // All of the alphabet is below U+0800: two bytes.
                if ((character & 0xE0) != 0xC0 || i + 1 == spelling.Length)
                    return false;
                character = ((character & 0x1F) << 6) | (spelling[++i] & 0x3F);
            }

            if (character >= CharacterCount || Bytes[character] < 0)
                return false;
            bytes[written++] = (byte)Bytes[character];
        }

        return true;
    }
}
