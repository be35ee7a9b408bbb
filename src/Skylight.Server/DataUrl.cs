using Skylight.Images;

namespace Skylight.Server;

/// <summary>Pictures that are in a request themselves: <c>data:image/png;base64,…</c> (RFC 2397).</summary>
internal static class DataUrl
{
    private const string Scheme = "data:";

    public static bool Is(string url) => url.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase);

    /// <summary>The file in a data URL. The type it claims must be a picture's; what it is, its content tells.</summary>
    /// <param name="url">The URL.</param>
    /// <param name="place">Where it is in the request.</param>
    public static byte[] Decode(string url, string place)
    {
        int comma = url.IndexOf(',', StringComparison.Ordinal);
        if (comma < 0)
            throw ApiException.BadRequest(
                $"'{place}' is a data URL without a comma; expected data:image/png;base64,… or another type of picture.", place, "invalid_image_url");
        string[] header = url[Scheme.Length..comma].Split(';');
        string type = header[0].Trim();
        if (!type.StartsWith("image/", StringComparison.OrdinalIgnoreCase))
            throw ApiException.BadRequest(
                $"'{place}' is a data URL of type '{Shortened(type)}'; expected a picture, such as image/png.", place,
                "invalid_image_url");
        if (!header[^1].Trim().Equals("base64", StringComparison.OrdinalIgnoreCase))
            throw ApiException.BadRequest(
                $"'{place}' is a data URL that is not in base64; expected data:{Shortened(type)};base64,…", place,
                "invalid_image_url");
        byte[] bytes = FromBase64(url.AsSpan(comma + 1))
            ?? throw ApiException.BadRequest($"'{place}' is a data URL whose content is not valid base64.", place,
                "invalid_image_url");
        return bytes.Length > 0 ? bytes
            : throw ApiException.BadRequest($"'{place}' is a data URL without content.", place, "invalid_image_url");
    }

    private static byte[]? FromBase64(ReadOnlySpan<char> text)
    {
        // Some clients escape the data as if it were a query.
        string encoded = text.Contains('%') ? Uri.UnescapeDataString(text.ToString()) : text.ToString();
        return ImageBase64.TryDecode(encoded, out byte[]? bytes) ? bytes : null;
    }

    private static string Shortened(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
