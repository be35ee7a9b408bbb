using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Headers;
using Microsoft.AspNetCore.Routing;
using Microsoft.Net.Http.Headers;

namespace Skylight.Server;

/// <summary>The page for people: files of the assembly, made of <c>page/</c> beside this source.</summary>
internal static class PageEndpoints
{
    /// <summary>
    /// What the page may do: run and fetch what comes from this server, show pictures that it was given, and put nothing
    /// into itself as HTML but what DOMPurify has sanitised. No other page may show it inside of itself.
    /// </summary>
    private const string Policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; " +
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
        "require-trusted-types-for 'script'; trusted-types dompurify";

    // As index.html has it.
    private const string LimitInPage = "content=\"33554432\"";

    /// <summary>Maps <c>GET /</c> and <c>GET /page/{name}</c>.</summary>
    /// <param name="endpoints">Where.</param>
    /// <param name="maximumBodyBytes">The most bytes of a request, which the page tells people.</param>
    public static void Map(IEndpointRouteBuilder endpoints, long maximumBodyBytes)
    {
        Dictionary<string, PageFile> files = PageFile.ReadAll();
        string html = Encoding.UTF8.GetString(files["index.html"].Content);
        if (!html.Contains(LimitInPage, StringComparison.Ordinal))
            throw new InvalidOperationException($"index.html has no {LimitInPage} for the server's limit.");
        var index = new PageFile("index.html", Encoding.UTF8.GetBytes(html.Replace(LimitInPage,
            string.Create(CultureInfo.InvariantCulture, $"content=\"{maximumBodyBytes}\""), StringComparison.Ordinal)));
        string[] methods = [HttpMethods.Get, HttpMethods.Head];
        endpoints.MapMethods("/", methods, (RequestDelegate)(context => SendIndexAsync(context, index)));
        endpoints.MapMethods("/page/{name}", methods, (RequestDelegate)(context =>
            files.TryGetValue($"page/{context.Request.RouteValues["name"]}", out PageFile? file)
                ? SendAsync(context, file)
                : SkylightErrors.WriteNotFoundAsync(context)));
    }

    private static Task SendIndexAsync(HttpContext context, PageFile index)
    {
        PathString path = context.Request.PathBase + context.Request.Path;
        // The page asks for what lies beside it: under a prefix, its address must end like that of a folder.
        if (path.Value is not { Length: > 0 } text || text[^1] != '/')
        {
            context.Response.Redirect($"{path.ToUriComponent()}/{context.Request.QueryString}");
            return Task.CompletedTask;
        }

        return SendAsync(context, index);
    }

    private static Task SendAsync(HttpContext context, PageFile file)
    {
        RequestHeaders request = context.Request.GetTypedHeaders();
        IHeaderDictionary headers = context.Response.Headers;
        headers.ContentSecurityPolicy = Policy;
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=()";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        // Kept, and asked for every time whether it is still the same: a new server's page is not the old one's. Fonts
        // hardly ever change.
        headers.CacheControl = file.ContentType == "font/woff2" ? "public, max-age=86400" : "no-cache";
        headers.Vary = "Accept-Encoding";
        (byte[] content, string? encoding) = !file.IsCompressible ? (file.Content, null)
            : Takes(request, "br") ? (file.Brotli, "br")
            : Takes(request, "gzip") ? (file.Gzip, "gzip") : (file.Content, null);
        var tag = new EntityTagHeaderValue($"\"{file.Tag}{(encoding is null ? "" : $"-{encoding}")}\"");
        headers.ETag = tag.ToString();
        if (request.IfNoneMatch.Any(known => known.Compare(tag, useStrongComparison: false)
            || known.Equals(EntityTagHeaderValue.Any)))
        {
            context.Response.StatusCode = StatusCodes.Status304NotModified;
            return Task.CompletedTask;
        }

        context.Response.ContentType = file.ContentType;
        context.Response.ContentLength = content.Length;
        if (encoding is not null)
            headers.ContentEncoding = encoding;
        return HttpMethods.IsHead(context.Request.Method) ? Task.CompletedTask
            : context.Response.Body.WriteAsync(content, context.RequestAborted).AsTask();
    }

    private static bool Takes(RequestHeaders request, string encoding) => request.AcceptEncoding.Any(given =>
        given.Value.Equals(encoding, StringComparison.OrdinalIgnoreCase) && given.Quality is not 0);
}
