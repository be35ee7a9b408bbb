using System.Buffers;
using System.Diagnostics.CodeAnalysis;

namespace Skylight.Images;

/// <summary>
/// Files of pictures as text: base64 (RFC 4648, section 4) or its URL-safe form (section 5), with or without padding
/// and with white space.
/// </summary>
public static class ImageBase64
{
    private static readonly SearchValues<char> s_urlSafe = SearchValues.Create("-_");

    /// <summary>The bytes that a text stands for.</summary>
    /// <param name="text">The text, without what a data URL has before the comma.</param>
    /// <param name="bytes">The bytes; null if the text is not base64.</param>
    /// <returns>Whether it is.</returns>
    public static bool TryDecode(string text, [NotNullWhen(true)] out byte[]? bytes)
    {
        ArgumentNullException.ThrowIfNull(text);
        bytes = null;
        string standard = text.AsSpan().ContainsAny(s_urlSafe) ? text.Replace('-', '+').Replace('_', '/') : text;
        byte[] buffer = new byte[(standard.Length + 3) / 4 * 3];
        if (!Convert.TryFromBase64String(standard, buffer, out int written))
        {
            // Without its padding, perhaps; white space counts for nothing.
            int missing = (4 - standard.Count(character => !char.IsWhiteSpace(character)) % 4) % 4;
            if (missing is not (1 or 2)
                || !Convert.TryFromBase64String(standard + new string('=', missing), buffer, out written))
                return false;
        }

        bytes = buffer[..written];
        return true;
    }
}
