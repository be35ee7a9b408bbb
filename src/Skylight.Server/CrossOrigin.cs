using Microsoft.AspNetCore.Http;

namespace Skylight.Server;

/// <summary>
/// Lets pages of other sites ask: which of them, a browser is told by these headers. Nothing is told where no origin is
/// allowed, so that browsers keep all of them away.
/// </summary>
/// <param name="origins">The origins, or <see cref="Any"/>.</param>
internal sealed class CrossOrigin(IReadOnlyList<string> origins)
{
    /// <summary>In place of an origin: all of them.</summary>
    public const string Any = "*";

    // Browsers ask again after so many seconds.
    private const string Age = "600";

    /// <summary>Whether any origin is allowed.</summary>
    public bool IsOn => origins.Count > 0;

    /// <summary>What is wrong with an origin; null if nothing is.</summary>
    public static string? Fault(string origin)
    {
        if (origin == Any || (Uri.TryCreate(origin, UriKind.Absolute, out Uri? uri)
            && uri.Scheme is "http" or "https"
            && origin.Equals(uri.GetLeftPart(UriPartial.Authority), StringComparison.OrdinalIgnoreCase)
            && uri.UserInfo.Length == 0))
            return null;
        return $"'{origin}' is not the origin of a page: give scheme, host and port as in https://example.com:8443, without " +
            $"a path, or {Any} for all.";
    }

    /// <summary>An endpoint whose answers say who may read them, errors included.</summary>
    public RequestDelegate Wrap(RequestDelegate endpoint) => !IsOn ? endpoint : context =>
    {
        Allow(context);
        return endpoint(context);
    };

    /// <summary>Answers the question that a browser asks before it sends a request; it comes without a key.</summary>
    public Task PreflightAsync(HttpContext context)
    {
        IHeaderDictionary asked = context.Request.Headers, told = context.Response.Headers;
        if (!Allow(context))
            return ModelService.WriteErrorAsync(context, new ApiException(StatusCodes.Status403Forbidden,
                "Pages of this origin may not ask: the server allows origins that it was started with (--cors-origin).",
                code: "origin_not_allowed"));
        told.AccessControlAllowMethods = "GET, POST, DELETE";
        // Clients send headers of their own, and none of them means anything here: no request has cookies.
        string wanted = asked.AccessControlRequestHeaders.ToString();
        told.AccessControlAllowHeaders = wanted.Length > 0 ? wanted : "authorization, content-type";
        told.AccessControlMaxAge = Age;
        if (asked["Access-Control-Request-Private-Network"] == "true")
            told["Access-Control-Allow-Private-Network"] = "true";
        context.Response.StatusCode = StatusCodes.Status204NoContent;
        return Task.CompletedTask;
    }

    private bool Allow(HttpContext context)
    {
        IHeaderDictionary told = context.Response.Headers;
        told.Append("Vary", "Origin");
        string origin = context.Request.Headers.Origin.ToString();
        bool any = origins.Contains(Any);
        if (origin.Length == 0 || !(any || origins.Contains(origin, StringComparer.OrdinalIgnoreCase)))
            return false;
        told.AccessControlAllowOrigin = any ? Any : origin;
        told.AccessControlExposeHeaders = "Retry-After";
        return true;
    }
}
