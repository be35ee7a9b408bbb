using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>What went wrong, as OpenAI says it.</summary>
internal sealed record ErrorBody(ErrorDetail Error);

/// <summary>The error.</summary>
internal sealed record ErrorDetail(
    string Message,
    string Type,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Param,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Code);

/// <summary>A whole answer.</summary>
internal sealed record ChatCompletion(string Id, string Object, long Created, string Model,
    IReadOnlyList<ChatChoice> Choices, ChatUsage Usage);

/// <summary>One of the answers.</summary>
internal sealed record ChatChoice(
    int Index,
    ChatMessage Message,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ChatLogProbabilities? Logprobs,
    string FinishReason);

/// <summary>What the model says; its thinking is in a field of its own, as other servers have it.</summary>
internal sealed record ChatMessage(
    string Role,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Content,
    string? ReasoningContent,
    IReadOnlyList<ToolCallBody>? ToolCalls,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Refusal);

/// <summary>A piece of an answer.</summary>
internal sealed record ChatChunk(string Id, string Object, long Created, string Model,
    IReadOnlyList<ChunkChoice> Choices, ChatUsage? Usage);

/// <summary>A piece of one of the answers.</summary>
internal sealed record ChunkChoice(
    int Index,
    ChunkDelta Delta,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ChatLogProbabilities? Logprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>What is new in a piece.</summary>
internal sealed record ChunkDelta(string? Role = null, string? Content = null, string? ReasoningContent = null,
    IReadOnlyList<ToolCallBody>? ToolCalls = null);

/// <summary>A call of a tool, or a piece of one: only pieces have an index, and only first pieces id, type and
/// name.</summary>
internal sealed record ToolCallBody(int? Index, string? Id, string? Type, FunctionBody Function);

/// <summary>The tool and its arguments, a JSON object as text.</summary>
internal sealed record FunctionBody(string? Name, string Arguments);

/// <summary>The tokens of an answer.</summary>
internal sealed record ChatLogProbabilities(IReadOnlyList<TokenLogProbability> Content,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Refusal);

/// <summary>A token; its bytes may be a part of a character.</summary>
/// <param name="Token">Its text.</param>
/// <param name="Logprob">Its log-probability.</param>
/// <param name="Bytes">Its bytes.</param>
/// <param name="TopLogprobs">The most likely tokens in its place.</param>
/// <param name="Entropy">The entropy of the distribution in nats; a field of this server's own.</param>
/// <param name="Reasoning">True of tokens of the thinking; a field of this server's own.</param>
internal sealed record TokenLogProbability(string Token, float Logprob, int[] Bytes,
    IReadOnlyList<TopLogProbability> TopLogprobs, float Entropy, bool? Reasoning);

/// <summary>One of the most likely tokens.</summary>
internal sealed record TopLogProbability(string Token, float Logprob, int[] Bytes);

/// <summary>What an answer took.</summary>
internal sealed record ChatUsage(int PromptTokens, int CompletionTokens, int TotalTokens,
    PromptTokensDetails PromptTokensDetails, CompletionTokensDetails CompletionTokensDetails);

/// <summary>Tokens of the prompt that did not have to be read again, and those that stand for pictures.</summary>
internal sealed record PromptTokensDetails(int CachedTokens, int ImageTokens);

/// <summary>Tokens of the think block, and those that were guessed, where any were: in no other count.</summary>
internal sealed record CompletionTokensDetails(int ReasoningTokens, int? AcceptedPredictionTokens = null,
    int? RejectedPredictionTokens = null)
{
    /// <summary>Of some answers together.</summary>
    public static CompletionTokensDetails Of(IReadOnlyCollection<Usage> usages)
    {
        int guessed = usages.Sum(usage => usage.GuessedTokens), accepted = usages.Sum(usage => usage.AcceptedTokens);
        var details = new CompletionTokensDetails(usages.Sum(usage => usage.ThinkingTokens));
        return guessed == 0 ? details
            : details with { AcceptedPredictionTokens = accepted, RejectedPredictionTokens = guessed - accepted };
    }
}

/// <summary>The models.</summary>
internal sealed record ModelList(string Object, IReadOnlyList<ModelCard> Data);

/// <summary>A model.</summary>
internal sealed record ModelCard(string Id, string Object, long Created, string OwnedBy, int MaxModelLen);

/// <summary>Whether the server can be asked.</summary>
internal sealed record Health(string Status, string Model);

/// <summary>How all this is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(ErrorBody))]
[JsonSerializable(typeof(ChatCompletion))]
[JsonSerializable(typeof(ChatChunk))]
[JsonSerializable(typeof(TextCompletion))]
[JsonSerializable(typeof(ResponseBody))]
[JsonSerializable(typeof(ResponseEvent))]
[JsonSerializable(typeof(ResponseDeleted))]
[JsonSerializable(typeof(InputItemList))]
[JsonSerializable(typeof(InputPart[]))]
[JsonSerializable(typeof(string))]
[JsonSerializable(typeof(Tokenized))]
[JsonSerializable(typeof(Detokenized))]
[JsonSerializable(typeof(ModelList))]
[JsonSerializable(typeof(Health))]
internal sealed partial class ServerJson : JsonSerializerContext
{
    /// <summary>With all characters as they are: escaped, a Chinese answer would have twice its bytes.</summary>
    public static ServerJson Compact =>
        field ??= new(new JsonSerializerOptions(Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}
