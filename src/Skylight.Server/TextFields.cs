namespace Skylight.Server;

/// <summary>
/// The fields of requests that have a text and no conversation: <c>/v1/completions</c>, <c>/tokenize</c> and
/// <c>/detokenize</c>. What they share with chat completions is taken from <see cref="RequestFields"/>.
/// </summary>
internal static class TextFields
{
    private const string Chats = "it belongs to conversations: POST /v1/chat/completions has it";
    private const string NoSpecial = "the model's tokenizer adds none";

    // Fields of chats that a text has no use for; what is in them goes with them.
    private static readonly string[] s_ofChats =
    [
        "messages", "enable_thinking", "thinking", "reasoning_effort", "chat_template_kwargs", "continue_final_message",
        "add_generation_prompt", "max_tiles", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
        "top_logprobs", "max_completion_tokens",
    ];

    private static readonly RequestField[] s_own =
    [
        new("prompt", FieldUse.Used,
            "a text, a list of up to 64 texts, a list of token numbers, or a list of such lists; spellings of special tokens " +
            "are those tokens, and no template is applied", "\"Hi\"") { Also = "[\"Hi\",\"Ho\"]" },
        new("max_tokens", FieldUse.Used, "the most tokens of a text; 16 where it is left out, as OpenAI has it", "5"),
        new("logprobs", FieldUse.Used,
            "a number from 0 to 20: log-probabilities of the tokens, and so many of the most likely ones at each place", "2"),
        new("echo", FieldUse.Used, "the text begins with the prompt; not with 'logprobs'", "true"),
        new("suffix", FieldUse.Refused, "the model was not trained to fill gaps", "\"s\"", "\"\""),
        new("add_special_tokens", FieldUse.Accepted, NoSpecial, "true"),
    ];

    /// <summary>The fields of <c>POST /v1/completions</c>.</summary>
    public static FieldList Completions { get; } = new([
        .. RequestFields.All.Where(field => field.Name == "model"),
        .. s_own,
        .. RequestFields.All.Where(field => field.Name != "model" && !s_ofChats.Any(name => IsIn(field, name))
            && !s_own.Any(own => own.Name == field.Name)),
        .. RequestFields.All.Where(field => s_ofChats.Contains(field.Name)).Select(AsRefused),
    ]);

    /// <summary>The table of docs/serving.md: what is not as in chat completions.</summary>
    public static string Differences { get; } =
        new FieldList([.. Completions.Fields.Where(field => !RequestFields.All.Contains(field))]).ToMarkdown();

    /// <summary>The fields of <c>POST /tokenize</c>.</summary>
    public static FieldList Tokenize { get; } = new([
        .. RequestFields.All.Where(field => field.Name == "model"),
        new("prompt", FieldUse.Used, "a text, or 'messages'; spellings of special tokens are those tokens", "\"Hi\""),
        .. RequestFields.All.Where(field => IsIn(field, "messages")),
        new("return_token_strs", FieldUse.Used, "the tokens' texts as well, in 'token_strs'", "true"),
        .. RequestFields.All.Where(field => IsIn(field, "enable_thinking") || IsIn(field, "chat_template_kwargs")
            || field.Name is "continue_final_message" or "add_generation_prompt" or "max_tiles")
            .Select(field => field with { Meaning = "with 'messages', as in chat completions" }),
        new("add_special_tokens", FieldUse.Accepted, NoSpecial, "true"),
    ]);

    /// <summary>The table of docs/serving.md: messages hold what they hold in chat completions.</summary>
    public static string OfTokenize { get; } = new FieldList([.. Tokenize.Fields.Where(
        field => !field.Name.StartsWith(RequestFields.Messages, StringComparison.Ordinal))]).ToMarkdown();

    /// <summary>The fields of <c>POST /detokenize</c>.</summary>
    public static FieldList Detokenize { get; } = new([
        .. RequestFields.All.Where(field => field.Name == "model"),
        new("tokens", FieldUse.Used, "numbers of tokens", "[1,2]"),
    ]);

    private static bool IsIn(RequestField field, string name) => field.Name == name
        || field.Name.StartsWith(name + ".", StringComparison.Ordinal)
        || field.Name.StartsWith(name + "[", StringComparison.Ordinal);

    /// <summary>The field, refused where a chat uses it; what changes nothing there changes nothing here.</summary>
    private static RequestField AsRefused(RequestField field) => field.Use != FieldUse.Used ? field
        : new RequestField(field.Name, FieldUse.Refused, field.Name switch
        {
            "messages" => "'prompt' is there; POST /v1/chat/completions takes messages",
            "top_logprobs" => "'logprobs' is a number here",
            "max_completion_tokens" => "'max_tokens' is there",
            _ => Chats,
        }, field.Example, field.Neutral);
}
