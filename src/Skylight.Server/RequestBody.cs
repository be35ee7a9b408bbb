using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Skylight.Server;

/// <summary>Reads bodies, and no more of them than is allowed.</summary>
internal static class RequestBody
{
    private const int FirstCapacity = 64 << 10;

    /// <summary>A whole body.</summary>
    /// <param name="context">The request.</param>
    /// <param name="most">The most bytes.</param>
    /// <exception cref="ApiException">The body is too long, compressed, or of another type than JSON.</exception>
    public static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpContext context, long most)
    {
        HttpRequest request = context.Request;
        if (!request.HasJsonContentType())
            throw new ApiException(StatusCodes.Status415UnsupportedMediaType,
                $"The Content-Type must be application/json, not " +
                $"{(request.ContentType is { Length: > 0 } type ? $"'{type}'" : "missing")}.",
                code: "unsupported_media_type");
        if (request.Headers.ContentEncoding is [{ Length: > 0 } encoding, ..]
            && !encoding.Equals("identity", StringComparison.OrdinalIgnoreCase))
            throw new ApiException(StatusCodes.Status415UnsupportedMediaType,
                $"The Content-Encoding is '{encoding}'; send the body as it is, not compressed.",
                code: "unsupported_content_encoding");
        if (request.ContentLength > most)
            throw TooLarge(most);
        // The server's own limit is that of pages, not of pictures.
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
            limit.MaxRequestBodySize = most;
        // Grows with what comes, not with what a client says will come.
        var body = new MemoryStream(FirstCapacity);
        byte[] buffer = new byte[FirstCapacity];
        int read;
        while ((read = await request.Body.ReadAsync(buffer, context.RequestAborted).ConfigureAwait(false)) > 0)
        {
            if (body.Length + read > most)
                throw TooLarge(most);
            body.Write(buffer, 0, read);
        }

        return body.GetBuffer().AsMemory(0, (int)body.Length);
    }

    private static ApiException TooLarge(long most) =>
        new(StatusCodes.Status413PayloadTooLarge,
            $"The body has more than the {most:N0} bytes that are allowed: send fewer or smaller pictures.",
            code: "request_too_large");
}
