using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Server;

/// <summary>A response as OpenAI writes it.</summary>
internal sealed record ResponseBody(
    string Id,
    string Object,
    long CreatedAt,
    string Status,
    bool Background,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ResponseFault? Error,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ResponseEnd? IncompleteDetails,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Instructions,
    IReadOnlyDictionary<string, string> Metadata,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] int? MaxOutputTokens,
    string Model,
    IReadOnlyList<ResponseItem> Output,
    bool ParallelToolCalls,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? PreviousResponseId,
    ResponseReasoning Reasoning,
    bool Store,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] float? Temperature,
    JsonElement Text,
    JsonElement ToolChoice,
    IReadOnlyList<ResponseTool> Tools,
    int TopLogprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] float? TopP,
    string Truncation,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ResponseUsage? Usage);

/// <summary>Why a response failed.</summary>
internal sealed record ResponseFault(string Code, string Message);

/// <summary>Why a response is not complete.</summary>
internal sealed record ResponseEnd(string Reason);

/// <summary>Whether the model thinks.</summary>
internal sealed record ResponseReasoning(
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Effort,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Summary);

/// <summary>What may be called.</summary>
internal sealed record ResponseTool(string Type, string Name,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Description, JsonElement Parameters, bool Strict);

/// <summary>Thinking, a message, or a call of a function.</summary>
internal sealed record ResponseItem(string Id, string Type, string Status, string? Role = null,
    IReadOnlyList<ResponsePart>? Content = null, IReadOnlyList<JsonElement>? Summary = null, string? CallId = null,
    string? Name = null, string? Arguments = null);

/// <summary>A part of an item: text of the answer or of the thinking.</summary>
internal sealed record ResponsePart(string Type, string Text, IReadOnlyList<JsonElement>? Annotations = null,
    IReadOnlyList<TokenLogProbability>? Logprobs = null);

/// <summary>What a response took.</summary>
internal sealed record ResponseUsage(int InputTokens, PromptTokensDetails InputTokensDetails, int OutputTokens,
    CompletionTokensDetails OutputTokensDetails, int TotalTokens);

/// <summary>An event of a stream; which members it has goes by its type.</summary>
internal sealed record ResponseEvent(string Type, int SequenceNumber)
{
    public ResponseBody? Response { get; init; }

    public string? ItemId { get; init; }

    public int? OutputIndex { get; init; }

    public int? ContentIndex { get; init; }

    public ResponseItem? Item { get; init; }

    public ResponsePart? Part { get; init; }

    public string? Delta { get; init; }

    public string? Text { get; init; }

    public string? Name { get; init; }

    public string? Arguments { get; init; }

    public IReadOnlyList<TokenLogProbability>? Logprobs { get; init; }
}

/// <summary>A response was forgotten.</summary>
internal sealed record ResponseDeleted(string Id, string Object, bool Deleted);
