using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Constraints;
using Skylight.Text;

namespace Skylight.Extensions.AI;

/// <summary>
/// Turns a request's options into the model's. What the model cannot do is refused, what it can do approximately is
/// said here.
/// </summary>
internal static class ChatOptionsReader
{
    /// <summary>Keys of <see cref="ChatOptions.AdditionalProperties"/> that are used.</summary>
    public const string MinP = "min_p", RepetitionPenalty = "repetition_penalty", MaximumTiles = "max_tiles",
        BannedWords = "banned_words", TopLogProbabilities = "top_logprobs", SpeculativeTokens = "prompt_lookup_num_tokens";

    private static readonly string[] s_keys =
        [MinP, RepetitionPenalty, MaximumTiles, BannedWords, TopLogProbabilities, SpeculativeTokens];

    /// <summary>Reads options.</summary>
    /// <param name="options">The request's options.</param>
    /// <param name="defaults">What is used where they say nothing.</param>
    /// <param name="client">Given to <see cref="ChatOptions.RawRepresentationFactory"/>.</param>
    /// <param name="modelName">What <see cref="ChatOptions.ModelId"/> must be, if it is given.</param>
    /// <exception cref="NotSupportedException">An option asks for something that the model cannot do; names it.</exception>
    /// <exception cref="ArgumentException">An option has an unusable value; names it.</exception>
    public static GenerationOptions Read(ChatOptions? options, GenerationOptions defaults, IChatClient client,
        string modelName)
    {
        if (options is null)
            return defaults;
        Refuse(options, modelName);
        // By convention a factory's object for some other client is left alone, and what ours has set goes before the
        // portable options.
        GenerationOptions raw = options.RawRepresentationFactory?.Invoke(client) as GenerationOptions
            ?? new GenerationOptions();
        IReadOnlyList<string> bannedWords = raw.BannedWords.Count > 0 ? raw.BannedWords
            : WordsOf(options) ?? defaults.BannedWords;
        int topTokens = raw.TopLogProbabilityCount > 0 ? raw.TopLogProbabilityCount
            : CountOf(options, TopLogProbabilities) ?? defaults.TopLogProbabilityCount;
        string[] stopTexts = [.. raw.StopSequences.Concat(options.StopSequences ?? []).Distinct()];
        return new GenerationOptions
        {
            Temperature = raw.Temperature ?? options.Temperature ?? defaults.Temperature,
            TopP = raw.TopP ?? options.TopP ?? defaults.TopP,
            TopK = raw.TopK ?? options.TopK ?? defaults.TopK,
            MinP = raw.MinP ?? (float?)NumberOf(options, MinP) ?? defaults.MinP,
            RepetitionPenalty = raw.RepetitionPenalty ?? (float?)NumberOf(options, RepetitionPenalty)
                ?? defaults.RepetitionPenalty,
            FrequencyPenalty = raw.FrequencyPenalty ?? options.FrequencyPenalty ?? defaults.FrequencyPenalty,
            PresencePenalty = raw.PresencePenalty ?? options.PresencePenalty ?? defaults.PresencePenalty,
            SpeculativeTokens = raw.SpeculativeTokens ?? CountOf(options, SpeculativeTokens) ?? defaults.SpeculativeTokens,
            LogitBias = raw.LogitBias ?? defaults.LogitBias,
            BannedWords = bannedWords,
            StopTokenIds = raw.StopTokenIds.Count > 0 ? raw.StopTokenIds : defaults.StopTokenIds,
            IgnoreEndOfSequence = raw.IgnoreEndOfSequence || defaults.IgnoreEndOfSequence,
            MinOutputTokens = raw.MinOutputTokens ?? defaults.MinOutputTokens,
            SkipSpecialTokens = raw.SkipSpecialTokens && defaults.SkipSpecialTokens,
            MaxOutputTokens = raw.MaxOutputTokens ?? options.MaxOutputTokens ?? defaults.MaxOutputTokens,
            StopSequences = stopTexts.Length > 0 ? stopTexts : defaults.StopSequences,
            Seed = raw.Seed ?? (options.Seed is { } seed ? unchecked((ulong)seed) : defaults.Seed),
            Thinking = raw.Thinking != ThinkingMode.Default ? raw.Thinking
                : ThinkingOf(options.Reasoning?.Effort) ?? defaults.Thinking,
            MaximumTiles = raw.MaximumTiles ?? CountOf(options, MaximumTiles) ?? defaults.MaximumTiles,
            Constraint = raw.Constraint
                ?? (options.ResponseFormat is null ? defaults.Constraint : FormOf(options.ResponseFormat)),
            Tools = raw.Tools.Count > 0 ? raw.Tools : options.Tools is { Count: > 0 } tools ? ToolReader.Read(tools)
                : defaults.Tools,
            ToolChoice = raw.ToolChoice != ToolChoice.Auto ? raw.ToolChoice
                : ToolReader.Read(options.ToolMode) ?? defaults.ToolChoice,
            ParallelToolCalls = raw.ParallelToolCalls && (options.AllowMultipleToolCalls ?? defaults.ParallelToolCalls),
            ReportTokens = raw.ReportTokens || topTokens > 0 || defaults.ReportTokens,
            TopLogProbabilityCount = topTokens,
        };
    }

    /// <summary>Whether the thinking is part of what the client gives.</summary>
    public static bool ShowsThinking(ChatOptions? options) => options?.Reasoning?.Output != ReasoningOutput.None;

    private static void Refuse(ChatOptions options, string modelName)
    {
        if (options.ModelId is { } model && model != modelName)
            throw new ArgumentException(
                $"{nameof(ChatOptions.ModelId)} is '{model}', but this client has '{modelName}'; leave it null, or " +
                $"use the client of that model.");
        if (options.ResponseFormat is not (null or ChatResponseFormatText or ChatResponseFormatJson))
            throw new NotSupportedException(
                $"{nameof(ChatOptions.ResponseFormat)} is of a kind that is not known; there are " +
                $"{nameof(ChatResponseFormat.Text)}, {nameof(ChatResponseFormat.Json)} and " +
                $"{nameof(ChatResponseFormat.ForJsonSchema)}, and {nameof(GenerationOptions)}." +
                $"{nameof(GenerationOptions.Constraint)} for other forms.");
        foreach (string key in options.AdditionalProperties?.Keys ?? [])
        {
            // What OpenAI's protocol asks usage of a stream with, and hosts leave in their options: it comes anyway.
            if (s_keys.Contains(key, StringComparer.OrdinalIgnoreCase) || key == "stream_options")
                continue;
            string hint = NameDistance.Nearest(key, s_keys) is { } near ? $"did you mean \"{near}\"?"
                : $"there are {string.Join(", ", s_keys)}; a GenerationOptions from " +
                    $"{nameof(ChatOptions.RawRepresentationFactory)} sets the rest.";
            throw new NotSupportedException(
                $"{nameof(ChatOptions.AdditionalProperties)}[\"{key}\"] is not known, and nothing is dropped " +
                $"silently: {hint}");
        }

        if (!string.IsNullOrEmpty(options.ConversationId))
            throw new NotSupportedException(
                $"{nameof(ChatOptions.ConversationId)} is '{options.ConversationId}', but the client keeps no " +
                $"conversations: send all messages and leave it null. (Image features of earlier turns are " +
                $"found again by content.)");
#pragma warning disable MEAI001 // Experimental, and refused.
        if (options.ContinuationToken is not null)
            throw new NotSupportedException(
                $"{nameof(ChatOptions.ContinuationToken)} is set, but answers are not made in the background and " +
                $"cannot be resumed.");
#pragma warning restore MEAI001
        if (options.Reasoning?.Output == ReasoningOutput.Summary)
            throw new NotSupportedException(
                $"{nameof(ChatOptions.Reasoning)} asks for a summary of the reasoning, but the model writes none: " +
                $"ask for {nameof(ReasoningOutput.Full)} or {nameof(ReasoningOutput.None)}.");
    }

    /// <summary>The form that a response format names; null of text.</summary>
    private static Constraint? FormOf(ChatResponseFormat format) => format is not ChatResponseFormatJson json ? null
        : json.Schema is { } schema ? Constraint.JsonSchema(schema) : Constraint.JsonObject();

    /// <summary>The model thinks or does not; there are no degrees.</summary>
    private static ThinkingMode? ThinkingOf(ReasoningEffort? effort) => effort switch
    {
        null => null,
        ReasoningEffort.None => ThinkingMode.Off,
        _ => ThinkingMode.On,
    };

    /// <summary>What stands under a key; JSON only as far as it can be read.</summary>
    private static object? ValueOf(ChatOptions options, string key)
    {
        if (options.AdditionalProperties is not { } properties || !properties.TryGetValue(key, out object? value))
            return null;
        if (value is not JsonElement element)
            return value;
        if (element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined)
            return null;
        try
        {
            return JsonText.ParseElement(JsonMarshal.GetRawUtf8Value(element).ToArray());
        }
        catch (JsonException exception)
        {
            throw new ArgumentException(
                $"{nameof(ChatOptions.AdditionalProperties)}[\"{key}\"] cannot be read: {exception.Message}", exception);
        }
    }

    private static double? NumberOf(ChatOptions options, string key)
    {
        return ValueOf(options, key) switch
        {
            null => null,
            float number => number,
            double number => number,
            decimal number => (double)number,
            int number => number,
            long number => number,
            JsonElement { ValueKind: JsonValueKind.Number } number => number.GetDouble(),
            { } value => throw Unusable(key, value, "a number"),
        };
    }

    private static int? CountOf(ChatOptions options, string key) => NumberOf(options, key) switch
    {
        null => null,
        { } number when number == Math.Truncate(number) && Math.Abs(number) <= int.MaxValue => (int)number,
        { } number => throw Unusable(key, number, "a whole number"),
    };

    private static IReadOnlyList<string>? WordsOf(ChatOptions options)
    {
        return ValueOf(options, BannedWords) switch
        {
            null => null,
            string word => [word],
            IEnumerable<string> words => [.. words],
            JsonElement { ValueKind: JsonValueKind.String } word => [word.GetString()!],
            JsonElement { ValueKind: JsonValueKind.Array } words when words.EnumerateArray()
                .All(word => word.ValueKind == JsonValueKind.String) =>
                [.. words.EnumerateArray().Select(word => word.GetString()!)],
            { } value => throw Unusable(BannedWords, value, "a list of words"),
        };
    }

    private static string Describe(object value) => value switch
    {
        string text => $"the text '{Shortened(text)}'",
        JsonElement { ValueKind: JsonValueKind.String } text => $"the text '{Shortened(text.GetString()!)}'",
        JsonElement { ValueKind: JsonValueKind.Object } => "an object",
        JsonElement { ValueKind: JsonValueKind.Array } => "a list",
        JsonElement other => Shortened(other.GetRawText()),
        bool flag => flag ? "true" : "false",
        IConvertible number => string.Create(CultureInfo.InvariantCulture, $"{number}"),
        System.Collections.IEnumerable => "a list",
        _ => "an object",
    };

    private static string Shortened(string text) => text.Length <= 80 ? text : text[..80] + "…";

    private static ArgumentException Unusable(string key, object value, string wanted) => new(
        $"{nameof(ChatOptions.AdditionalProperties)}[\"{key}\"] is {Describe(value)}; give {wanted}.");
}
