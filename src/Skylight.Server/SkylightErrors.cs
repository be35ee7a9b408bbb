using Microsoft.AspNetCore.Http;

namespace Skylight.Server;

/// <summary>Errors in OpenAI's form, for what a host refuses itself.</summary>
public static class SkylightErrors
{
    /// <summary>Refuses a request.</summary>
    /// <param name="context">The request; its answer must not have begun.</param>
    /// <param name="status">The HTTP status.</param>
    /// <param name="message">What is wrong and what would be right.</param>
    /// <param name="code">A name of the error for programs.</param>
    public static Task WriteAsync(HttpContext context, int status, string message, string? code = null)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentException.ThrowIfNullOrEmpty(message);
        return ModelService.WriteErrorAsync(context, new ApiException(status, message, code: code));
    }

    /// <summary>
    /// Says that there is nothing at this address, and what there is: for a fallback of hosts that serve nothing else.
    /// </summary>
    /// <param name="context">The request.</param>
    public static Task WriteNotFoundAsync(HttpContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        string path = context.Request.Path.Value is { Length: <= 100 } known ? known : "such address";
        if (ServerRoutes.All.FirstOrDefault(route => route.Path == path)?.Method is not { } allowed)
            return WriteAsync(context, StatusCodes.Status404NotFound,
                $"There is no {path} here. There are: {ServerRoutes.Words}.", "not_found");
        context.Response.Headers.Allow = allowed;
        return WriteAsync(context, StatusCodes.Status405MethodNotAllowed,
            $"{path} takes {allowed}, not {context.Request.Method}.", "method_not_allowed");
    }
}
