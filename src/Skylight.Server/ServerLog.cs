using Microsoft.Extensions.Logging;

namespace Skylight.Server;

/// <summary>What is logged: never what was asked or answered.</summary>
internal static partial class ServerLog
{
    [LoggerMessage(1, LogLevel.Information,
        "{Id}: {Status} in {Milliseconds:F0} ms: {PromptTokens} prompt tokens ({ImageTokens} of pictures), " +
        "{CompletionTokens} written, first after {FirstMilliseconds:F0} ms, ended by {End}")]
    public static partial void Answered(ILogger logger, string id, int status, double milliseconds, int promptTokens,
        int imageTokens, int completionTokens, double firstMilliseconds, string end);

    [LoggerMessage(5, LogLevel.Information, "{Id}: {Status} in {Milliseconds:F0} ms")]
    public static partial void Told(ILogger logger, string id, int status, double milliseconds);

    // No message: it could quote the request.
    [LoggerMessage(2, LogLevel.Information, "{Id}: {Status} in {Milliseconds:F0} ms: refused ({Code}, field {Field})")]
    public static partial void Refused(ILogger logger, string id, int status, double milliseconds, string? code,
        string? field);

    [LoggerMessage(3, LogLevel.Information, "{Id}: the client went away after {Milliseconds:F0} ms")]
    public static partial void Abandoned(ILogger logger, string id, double milliseconds);

    [LoggerMessage(4, LogLevel.Error, "{Id}: {Status} in {Milliseconds:F0} ms")]
    public static partial void Failed(ILogger logger, Exception exception, string id, int status, double milliseconds);

    [LoggerMessage(6, LogLevel.Warning, "{Id}: {Count} calls of tools were begun that are none, and were given as text")]
    public static partial void BrokenToolCalls(ILogger logger, string id, int count);
}
