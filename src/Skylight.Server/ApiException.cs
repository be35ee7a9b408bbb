using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Images;

namespace Skylight.Server;

/// <summary>A request cannot be answered: what the client hears of it.</summary>
/// <param name="status">The HTTP status.</param>
/// <param name="message">What is wrong and what would be right.</param>
/// <param name="parameter">The field of the request that is to blame.</param>
/// <param name="code">OpenAI's name of the error, or one like it.</param>
/// <param name="innerException">What went wrong below, if anything.</param>
internal sealed class ApiException(int status, string message, string? parameter = null, string? code = null,
    Exception? innerException = null)
    : Exception(message, innerException)
{
    /// <summary>The client went away; nobody reads this status but logs and metrics.</summary>
    public const int ClientClosedRequest = 499;

    public int Status => status;

    public string? Parameter => parameter;

    public string? Code => code;

    /// <summary>The body that says it.</summary>
    public byte[] ToJson()
    {
        string type = status switch
        {
            StatusCodes.Status429TooManyRequests => "rate_limit_error",
            >= 500 => "server_error",
            _ => "invalid_request_error",
        };
        return JsonSerializer.SerializeToUtf8Bytes(new ErrorBody(new ErrorDetail(Message, type, parameter, code)),
            ServerJson.Compact.ErrorBody);
    }

    /// <summary>A request that is wrong in itself.</summary>
    public static ApiException BadRequest(string message, string? parameter = null, string? code = null) =>
        new(StatusCodes.Status400BadRequest, message, parameter, code);

    /// <summary>What the client hears of any failure: its own mistakes in full, the server's without its insides.</summary>
    public static ApiException From(Exception exception) => exception switch
    {
        ApiException known => known,
        BadHttpRequestException bad =>
            new ApiException(bad.StatusCode, bad.Message, code: bad.StatusCode == StatusCodes.Status413PayloadTooLarge
                ? "request_too_large" : null, innerException: bad),
        ImageException => new ApiException(StatusCodes.Status400BadRequest, exception.Message, "messages",
            "invalid_image", exception),
        GenerationQueueFullException => new ApiException(StatusCodes.Status429TooManyRequests, exception.Message,
            code: "rate_limit_exceeded", innerException: exception),
        ObjectDisposedException or OperationCanceledException => Draining(exception),
        OutOfDeviceMemoryException => new ApiException(StatusCodes.Status503ServiceUnavailable, exception.Message,
            code: "out_of_memory", innerException: exception),
        LogitsNotFiniteException or ImageFeaturesNotFiniteException =>
            new ApiException(StatusCodes.Status500InternalServerError, exception.Message, code: "model_error",
                innerException: exception),
        ContextLengthException length => new ApiException(
            StatusCodes.Status400BadRequest, PlainMessages.Of(length), ParameterOf(length), "context_length_exceeded", exception),
        ArgumentNullException or ArgumentOutOfRangeException => Internal(exception),
        ArgumentException argument => new ApiException(StatusCodes.Status400BadRequest, PlainMessages.Of(argument),
            ParameterOf(argument), innerException: exception),
        _ => Internal(exception),
    };

    /// <summary>The server takes no more requests.</summary>
    public static ApiException Draining(Exception? exception = null) =>
        new(StatusCodes.Status503ServiceUnavailable,
            "The server is shutting down: it takes no more requests, and ends answers that are not complete in time.",
            code: "draining", innerException: exception);

    /// <summary>The field of the request that an argument of the library's was read from.</summary>
    private static string? ParameterOf(ArgumentException exception) =>
        exception.ParamName is "messages" or "prompt" ? exception.ParamName : null;

    private static ApiException Internal(Exception exception) =>
        new(StatusCodes.Status500InternalServerError, "The server failed to answer; its log says why.",
            code: "internal_error", innerException: exception);
}
