using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Skylight;

/// <summary>
/// The guard before text from outside: it is UTF-8, with or without a byte order mark, or refused. A decoder of the
/// base library would put U+FFFD where it cannot read, and nobody would know.
/// </summary>
public static class Utf8Text
{
    /// <summary>
    /// What keeps bytes from being UTF-8, as the end of a sentence that names the file, with what to do; null if they
    /// are.
    /// </summary>
    /// <param name="bytes">A whole text, or a part that neither begins nor ends inside of a character.</param>
    public static string? Fault(ReadOnlySpan<byte> bytes)
    {
        // A character of ASCII in UTF-16 or UTF-32 has a byte of zero beside it, which is valid UTF-8 and in no text.
        if (bytes.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]) || bytes.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF])
            || (bytes.Length >= 2 && (bytes[0] == 0 || bytes[1] == 0)))
            return "its bytes are UTF-16 or UTF-32 from line 1 on, not UTF-8; write it in UTF-8.";
        if (Utf8.IsValid(bytes))
            return null;
        int line = 1, column = 1;
        for (ReadOnlySpan<byte> rest = bytes;
            Rune.DecodeFromUtf8(rest, out Rune rune,
                out int length) == System.Buffers.OperationStatus.Done; rest = rest[length..])
        {
            bytes = rest[length..];
            (line, column) = rune.Value == '\n' ? (line + 1, 1) : (line, column + length);
        }

        return string.Create(CultureInfo.InvariantCulture,
            $"its bytes are not UTF-8: line {line}, byte {column} is 0x{bytes[0]:X2}, which begins no character " +
            $"there; write it in UTF-8.");
    }

    /// <summary>Bytes without the byte order mark of UTF-8.</summary>
    /// <param name="bytes">A text from its beginning.</param>
    public static ReadOnlyMemory<byte> WithoutMark(ReadOnlyMemory<byte> bytes) => bytes.Span.StartsWith("\uFEFF"u8)
        ? bytes[3..] : bytes;
}
