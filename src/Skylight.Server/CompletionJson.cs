using System.Text.Json.Serialization;

namespace Skylight.Server;

/// <summary>Texts that go on from prompts, or in a stream a piece of one of them.</summary>
internal sealed record TextCompletion(string Id, string Object, long Created, string Model,
    IReadOnlyList<TextChoice> Choices, ChatUsage? Usage);

/// <summary>One of the texts.</summary>
internal sealed record TextChoice(
    int Index,
    string Text,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] TextLogProbabilities? Logprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>The tokens of a text in OpenAI's older form.</summary>
/// <param name="Tokens">Their texts; <c>bytes:\xe4…</c> of those that are parts of a character.</param>
/// <param name="TokenLogprobs">Their log-probabilities.</param>
/// <param name="TopLogprobs">The most likely tokens in the place of each; null where none are asked for.</param>
/// <param name="TextOffset">How many characters (code points) of the text have begun before each.</param>
internal sealed record TextLogProbabilities(
    IReadOnlyList<string> Tokens,
    IReadOnlyList<float> TokenLogprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] IReadOnlyList<Dictionary<string, float>>? TopLogprobs,
    IReadOnlyList<int> TextOffset);

/// <summary>The tokens of a text or a conversation, as vLLM gives them.</summary>
internal sealed record Tokenized(int Count, int MaxModelLen, IReadOnlyList<int> Tokens,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] IReadOnlyList<string>? TokenStrs);

/// <summary>The text of tokens, as vLLM gives it.</summary>
internal sealed record Detokenized(string Prompt);
