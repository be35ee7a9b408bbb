using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Skylight.Server;

/// <summary>An endpoint.</summary>
/// <param name="Method">GET, POST or DELETE.</param>
/// <param name="Path">Where it is.</param>
/// <param name="Summary">What it gives.</param>
/// <param name="Handler">What answers.</param>
/// <param name="Fields">The fields of its requests; null where it takes no body.</param>
/// <param name="Answer">The form of its answers; null where they are not JSON, or not described.</param>
/// <param name="Piece">The form of the pieces of a stream, where there is one.</param>
internal sealed record ServerRoute(string Method, string Path, string Summary,
    Func<ModelService, Func<HttpContext, Task>> Handler, FieldList? Fields = null, JsonTypeInfo? Answer = null,
    JsonTypeInfo? Piece = null)
{
    /// <summary>Whether it can be read without a key.</summary>
    public bool IsOpen { get; init; }

    /// <summary>Whether it only says that there is nothing of the kind.</summary>
    public bool IsRefusal { get; init; }
}

/// <summary>
/// All endpoints: the one list from which they are mapped, errors name them, and <c>/openapi.json</c> is written.
/// </summary>
internal static class ServerRoutes
{
    /// <summary>The endpoints.</summary>
    public static IReadOnlyList<ServerRoute> All { get; } =
    [
        new("POST", "/v1/chat/completions", "Answers to a conversation with pictures, whole or streamed",
            service => service.CompleteAsync, RequestFields.Chat, ServerJson.Compact.ChatCompletion,
            ServerJson.Compact.ChatChunk),
        new("POST", "/v1/completions", "Texts that go on from prompts, whole or streamed",
            service => service.CompleteTextAsync, TextFields.Completions, ServerJson.Compact.TextCompletion,
            ServerJson.Compact.TextCompletion),
        new("POST", "/v1/responses", "A response: thinking, text and calls of tools as items, whole or streamed",
            service => service.RespondAsync, ResponseFields.All, ServerJson.Compact.ResponseBody,
            ServerJson.Compact.ResponseEvent),
        new("GET", "/v1/responses/{id}", "A response that is stored", service => service.GetResponseAsync,
            Answer: ServerJson.Compact.ResponseBody),
        new("DELETE", "/v1/responses/{id}", "Forgets a response", service => service.DeleteResponseAsync,
            Answer: ServerJson.Compact.ResponseDeleted),
        new("GET", "/v1/responses/{id}/input_items", "The conversation that a stored response answers, by pages",
            service => service.ListInputItemsAsync, Answer: ServerJson.Compact.InputItemList),
        new("POST", "/v1/responses/{id}/cancel", "Refused: no response is made in the background",
            service => service.RefuseCancelAsync) { IsRefusal = true },
        new("POST", "/v1/embeddings", "Refused: the model makes no embeddings", service => service.RefuseEmbeddingsAsync)
        { IsRefusal = true },
        new("POST", "/tokenize", "The tokens of a text or a conversation", service => service.TokenizeAsync,
            TextFields.Tokenize, ServerJson.Compact.Tokenized),
        new("POST", "/detokenize", "The text of tokens", service => service.DetokenizeAsync, TextFields.Detokenize,
            ServerJson.Compact.Detokenized),
        new("GET", "/v1/models", "The model", service => service.ListModelsAsync, Answer: ServerJson.Compact.ModelList),
        new("GET", "/v1/models/{**id}", "The model of a name", service => service.DescribeModelAsync,
            Answer: ServerJson.Compact.ModelCard),
        new("GET", "/health", "Whether requests are taken", service => service.ReportHealthAsync,
            Answer: ServerJson.Compact.Health) { IsOpen = true },
        new("GET", "/metrics", "Counters for Prometheus, in its text format", service => service.ReportMetricsAsync),
        new("GET", "/openapi.json", "This description", service => service.DescribeAsync),
    ];

    /// <summary>What there is, in words.</summary>
    public static string Words { get; } = string.Join(", ", All
        .Where(route => !route.IsRefusal && !route.Path.Contains('{')).Select(route => $"{route.Method} {route.Path}"));
}
