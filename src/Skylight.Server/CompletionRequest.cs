using System.Text.Json;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>A prompt that is continued as it stands: a text, or tokens.</summary>
internal sealed record PlainPrompt(string? Written, int[]? Tokens)
{
    /// <summary>What the model reads.</summary>
    public PreparedPrompt Prepare(ChatModel model) => Tokens is null ? model.Prepare(Written!) : model.Prepare(Tokens);

    /// <summary>Its text.</summary>
    public string Text(ITokenizer tokenizer, bool skipsSpecial) => Written ?? tokenizer.Decode(Tokens, skipsSpecial);
}

/// <summary>What a client of the older endpoint asks for.</summary>
/// <param name="Prompts">The prompts.</param>
/// <param name="Options">How texts are made.</param>
/// <param name="Count">How many of each prompt.</param>
/// <param name="Echo">Whether texts begin with their prompts.</param>
/// <param name="TopTokens">How many of the most likely tokens are told with each token; null where no token is told.</param>
/// <param name="Stream">Whether they come in pieces.</param>
/// <param name="IncludeUsage">Whether a stream ends with the usage.</param>
internal sealed record CompletionRequest(IReadOnlyList<PlainPrompt> Prompts, GenerationOptions Options, int Count, bool Echo,
    int? TopTokens, bool Stream, bool IncludeUsage)
{
    private const int MostPrompts = 64;

    // Where a request says nothing: OpenAI's number.
    private const int DefaultTokens = 16;

    /// <summary>Reads a request.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="reader">Reads what chats have too.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public static CompletionRequest Read(ReadOnlyMemory<byte> body, ChatRequestReader reader)
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        reader.CheckRoot(root, TextFields.Completions);
        (bool stream, bool includeUsage, int count) = reader.ReadDelivery(root);
        int? topTokens = root["logprobs"]?.Integer(0, SamplingOptions.MostTopLogProbabilities);
        bool echo = root["echo"]?.Boolean() ?? false;
        if (echo && topTokens is not null)
            throw ApiException.BadRequest(
                "'echo' with 'logprobs' asks for the log-probabilities of the prompt, which are not computed: leave one of " +
                "them out.", "logprobs", "unsupported_parameter");
        GenerationOptions options = reader.ReadOptions(root);
        return new CompletionRequest(
            ReadPrompts(root.Required("prompt")),
            options with
            {
                MaxOutputTokens = options.MaxOutputTokens ?? Math.Max(DefaultTokens, options.MinOutputTokens ?? 0),
                ReportTokens = topTokens is not null,
                TopLogProbabilityCount = topTokens ?? 0,
            },
            count, echo, topTokens, stream, includeUsage);
    }

    private static List<PlainPrompt> ReadPrompts(JsonField field)
    {
        if (field.Kind == JsonValueKind.String)
            return [new PlainPrompt(field.Text(), null)];
        if (field.Kind != JsonValueKind.Array || field.Count == 0)
            throw field.Wrong("a text, a list of texts, a list of token numbers, or a list of such lists");
        JsonField[] items = [.. field.Items()];
        if (items[0].Kind == JsonValueKind.Number)
            return [new PlainPrompt(null, ReadTokens(field))];
        if (items.Length > MostPrompts)
            throw ApiException.BadRequest(
                $"'{field.Path}' has {items.Length} prompts; at most {MostPrompts} are allowed.", field.Path);
        return [.. items.Select(item => item.Kind == JsonValueKind.Array ? new PlainPrompt(null, ReadTokens(item))
            : new PlainPrompt(item.Text(), null))];
    }

    /// <summary>A list of token numbers; which there are the model says.</summary>
    internal static int[] ReadTokens(JsonField field) => [.. field.Items().Select(item => item.Integer(0, int.MaxValue))];

    /// <summary>The options of one of the texts: each has its own random numbers, those of every prompt the same.</summary>
    public GenerationOptions OptionsOf(int choice) => Options.Seed is { } seed
        ? Options with { Seed = unchecked(seed + (ulong)(choice % Count)) } : Options;
}
