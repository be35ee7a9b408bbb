using System.Text.Json;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Extensions.AI;

namespace Skylight.Tests.Extensions;

/// <summary>Every option is either used or refused.</summary>
public class ChatOptionsTests
{
    private const string Name = "a-model";

    [Fact]
    public void Every_option_arrives()
    {
        GenerationOptions read = Read(new ChatOptions
        {
            Temperature = 0.5f,
            TopP = 0.75f,
            TopK = 7,
            Seed = -1,
            StopSequences = ["END"],
            MaxOutputTokens = 12,
            ModelId = Name,
            ResponseFormat = ChatResponseFormat.Text,
            FrequencyPenalty = 0.25f,
            PresencePenalty = -1,
            ToolMode = ChatToolMode.None,
            Reasoning = new ReasoningOptions { Effort = ReasoningEffort.Low },
            AdditionalProperties = new()
            {
                ["min_p"] = 0.1f,
                ["repetition_penalty"] = 1.5,
                ["max_tiles"] = 3,
                ["top_logprobs"] = 4,
                ["prompt_lookup_num_tokens"] = 6,
                ["banned_words"] = new[] { "Wait", "Hmm" }
            },
        });
        Assert.Equal((0.5f, 0.75f, 7, ulong.MaxValue, 12),
            (read.Temperature, read.TopP, read.TopK, read.Seed, read.MaxOutputTokens));
        Assert.Equal((0.1f, 1.5f, 3, ThinkingMode.On),
            (read.MinP, read.RepetitionPenalty, read.MaximumTiles, read.Thinking));
        Assert.Equal(["END"], read.StopSequences);
        Assert.Equal(["Wait", "Hmm"], read.BannedWords);
        Assert.Equal((0.25f, -1f), (read.FrequencyPenalty, read.PresencePenalty));
        // What is told of tokens needs tokens.
        Assert.Equal(6, read.SpeculativeTokens);
        Assert.Equal((4, true), (read.TopLogProbabilityCount, read.ReportTokens));
    }

    [Fact]
    public void What_is_not_given_follows_the_defaults()
    {
        var defaults = new GenerationOptions
        {
            Temperature = 1,
            TopP = 0.5f,
            TopK = 4,
            MinP = 0.2f,
            RepetitionPenalty = 2,
            LogitBias = new Dictionary<int, float> { [1] = 2 },
            BannedWords = ["a"],
            MaxOutputTokens = 5,
            StopSequences = ["b"],
            Seed = 6,
            Thinking = ThinkingMode.On,
            MaximumTiles = 2,
            ReportTokens = true,
            StopTokenIds = [3],
            IgnoreEndOfSequence = true,
            MinOutputTokens = 2,
            SkipSpecialTokens = false,
        };
        Assert.Same(defaults, Read(null, defaults));
        GenerationOptions read = Read(new ChatOptions(), defaults);
        Assert.Equal(defaults, read with { StopSequences = defaults.StopSequences, BannedWords = defaults.BannedWords });
        Assert.Equal(["b"], read.StopSequences);
        Assert.Equal(["a"], read.BannedWords);
    }

    [Fact]
    public void Raw_options_go_before_portable_ones_and_those_for_another_client_are_left_alone()
    {
        var raw = new GenerationOptions
        {
            Temperature = 0.25f,
            Seed = 9,
            StopSequences = ["raw"],
            LogitBias = new Dictionary<int, float> { [3] = 1 },
            ReportTokens = true,
            Thinking = ThinkingMode.Off,
        };
        var options = new ChatOptions
        {
            Temperature = 1,
            TopK = 3,
            StopSequences = ["portable", "raw"],
            RawRepresentationFactory = _ => raw,
            Reasoning = new() { Effort = ReasoningEffort.High },
        };
        GenerationOptions read = Read(options);
        Assert.Equal((0.25f, 3, 9ul, true, ThinkingMode.Off),
            (read.Temperature, read.TopK, read.Seed, read.ReportTokens, read.Thinking));
        Assert.Equal(["raw", "portable"], read.StopSequences);
        Assert.Same(raw.LogitBias, read.LogitBias);
        options.RawRepresentationFactory = _ => "for somebody else";
        Assert.Equal(1, Read(options).Temperature);
    }

    [Theory]
    [InlineData(ReasoningEffort.None, ThinkingMode.Off)]
    [InlineData(ReasoningEffort.Low, ThinkingMode.On)]
    [InlineData(ReasoningEffort.ExtraHigh, ThinkingMode.On)]
    [InlineData(null, ThinkingMode.Default)]
    public void Effort_says_whether_the_model_thinks(ReasoningEffort? effort, ThinkingMode expected) =>
        Assert.Equal(expected, Read(new ChatOptions { Reasoning = new ReasoningOptions { Effort = effort } }).Thinking);

    [Fact]
    public void Properties_that_came_as_json_are_read()
    {
        JsonElement json = JsonDocument.Parse("""{"min_p": 0.25, "max_tiles": 2, "banned_words": ["Wait"]}""").RootElement;
        var options = new ChatOptions { AdditionalProperties = [] };
        foreach (JsonProperty property in json.EnumerateObject())
            options.AdditionalProperties[property.Name] = property.Value;
        GenerationOptions read = Read(options);
        Assert.Equal((0.25f, 2), (read.MinP, read.MaximumTiles));
        Assert.Equal(["Wait"], read.BannedWords);
    }

    public static TheoryData<string, ChatOptions> Refused => new()
    {
        { "is a HostedWebSearchTool; the model calls functions", new() { Tools = [new HostedWebSearchTool()] } },
        { "ConversationId is 'c1'", new() { ConversationId = "c1" } },
        { "[\"repetition_penality\"] is not known, and nothing is dropped silently: did you mean " +
            "\"repetition_penalty\"?", new() { AdditionalProperties = new() { ["repetition_penality"] = 1.1 } } },
        { "[\"other\"] is not known, and nothing is dropped silently: there are min_p",
            new() { AdditionalProperties = new() { ["other"] = "x" } } },
        { "asks for a summary", new() { Reasoning = new() { Output = ReasoningOutput.Summary } } },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void What_the_model_cannot_do_is_refused_by_name(string message, ChatOptions options) =>
        Assert.Contains(message, Assert.Throws<NotSupportedException>(() => Read(options)).Message,
            StringComparison.Ordinal);

    public static TheoryData<string, ChatOptions> Broken => new()
    {
        { "'gpt-4'", new() { ModelId = "gpt-4" } },
        { "[\"min_p\"] is the text 'much'; give a number", new() { AdditionalProperties = new() { ["min_p"] = "much" } } },
        { "[\"max_tiles\"] is 1.5; give a whole number", new() { AdditionalProperties = new() { ["max_tiles"] = 1.5 } } },
        { "[\"repetition_penalty\"] is true; give a number",
            new() { AdditionalProperties = new() { ["repetition_penalty"] = true } } },
        { "[\"banned_words\"] cannot be read: a text at byte 1 holds half of a surrogate pair",
            new() { AdditionalProperties = new() { ["banned_words"] = Json("\"\\ud800\"") } } },
        { "[\"banned_words\"] cannot be read: a text at byte 2 holds half",
            new() { AdditionalProperties = new() { ["banned_words"] = Json("[\"\\udc00\"]") } } },
        { "[\"min_p\"] cannot be read: a text", new() { AdditionalProperties = new() { ["min_p"] = Json("\"\\ud800\"") } } },
        { "[\"min_p\"] is an object; give a number",
            new() { AdditionalProperties = new() { ["min_p"] = Json("{\"a\":1}") } } },
        { "[\"max_tiles\"] is", new() { AdditionalProperties = new() { ["max_tiles"] = Json("1e999") } } },
        { "[\"min_p\"] is an object; give a number", new() { AdditionalProperties = new() { ["min_p"] = new object() } } },
        { "[\"banned_words\"] is a list; give a list of words",
            new() { AdditionalProperties = new() { ["banned_words"] = new[] { 1 } } } },
        { "[\"banned_words\"] is 3; give a list of words", new() { AdditionalProperties = new() { ["banned_words"] = 3 } } },
    };

    [Theory]
    [MemberData(nameof(Broken))]
    public void An_unusable_value_is_named(string message, ChatOptions options)
    {
        string error = Assert.Throws<ArgumentException>(() => Read(options)).Message;
        Assert.Contains(message, error, StringComparison.Ordinal);
        PlainWords.Check(error);
    }

    private static JsonElement Json(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        return document.RootElement.Clone();
    }

    /// <summary>A new version of the abstractions may bring options that would be ignored silently.</summary>
    [Fact]
    public void No_option_is_unknown_to_the_tests()
    {
        string[] known =
        [
            "AdditionalProperties", "AllowBackgroundResponses", "AllowMultipleToolCalls", "ContinuationToken",
            "ConversationId", "FrequencyPenalty", "Instructions", "MaxOutputTokens",
            "ModelId", "PresencePenalty", "RawRepresentationFactory", "Reasoning", "ResponseFormat", "Seed",
            "StopSequences", "Temperature", "ToolMode", "Tools", "TopK", "TopP",
        ];
        Assert.Equal(known,
            typeof(ChatOptions).GetProperties().Select(property => property.Name).Order(StringComparer.Ordinal));
    }

    private static GenerationOptions Read(ChatOptions? options, GenerationOptions? defaults = null) =>
        ChatOptionsReader.Read(options, defaults ?? new GenerationOptions(), new NoClient(), Name);

    private sealed class NoClient : IChatClient
    {
        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options,
            CancellationToken cancellationToken) => throw new NotSupportedException();

        public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages,
            ChatOptions? options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public object? GetService(Type serviceType, object? serviceKey) => null;

        public void Dispose()
        {
        }
    }
}
