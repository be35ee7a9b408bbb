using Microsoft.Extensions.Logging;

namespace Skylight.Extensions.AI;

/// <summary>
/// What is logged. Neither prompts nor answers nor pixels; messages of errors neither, because they may quote them.
/// </summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Debug, "Request {ResponseId} to {Model} begins (streaming: {IsStreaming}).")]
    public static partial void Started(ILogger logger, string responseId, string model, bool isStreaming);

    [LoggerMessage(2, LogLevel.Debug,
        "Request {ResponseId} ended ({FinishReason}): {InputTokens} tokens in, {ImageTokens} of them for pictures, " +
        "{OutputTokens} out, {ReasoningTokens} of them thinking; {SecondsToFirstToken:F3} s to the first, " +
        "{Seconds:F3} s in all.")]
    public static partial void Finished(
        ILogger logger, string responseId, int inputTokens, int imageTokens, int outputTokens, int reasoningTokens,
        string? finishReason, double secondsToFirstToken, double seconds);

    [LoggerMessage(3, LogLevel.Debug, "Request {ResponseId} was cancelled after {Seconds:F3} s.")]
    public static partial void Cancelled(ILogger logger, string responseId, double seconds);

    [LoggerMessage(4, LogLevel.Debug, "Request {ResponseId} was abandoned by its reader after {Seconds:F3} s.")]
    public static partial void Abandoned(ILogger logger, string responseId, double seconds);

    [LoggerMessage(5, LogLevel.Warning, "Request {ResponseId} failed with {ErrorType} after {Seconds:F3} s.")]
    public static partial void Failed(ILogger logger, string responseId, string errorType, double seconds);

    [LoggerMessage(7, LogLevel.Information, "Loading {Model}.")]
    public static partial void Loading(ILogger logger, string model);

    [LoggerMessage(8, LogLevel.Information,
        "Loaded {Model} onto {Device} in {Seconds:F1} s: {Parameters} parameters, {ContextTokens} tokens of context.")]
    public static partial void Loaded(ILogger logger, string model, string device, double seconds, long parameters,
        int contextTokens);

    [LoggerMessage(9, LogLevel.Error, "{Model} could not be loaded.")]
    public static partial void LoadingFailed(ILogger logger, string model, Exception exception);

    [LoggerMessage(10, LogLevel.Warning, "{Model}: {Warning}")]
    public static partial void SettingIgnored(ILogger logger, string model, string warning);
}
