namespace Skylight.Server;

/// <summary>
/// The fields of requests for responses (<c>POST /v1/responses</c>). What they share with chat completions is taken from
/// <see cref="RequestFields"/>; all else of those is refused and says what is there instead.
/// </summary>
internal static class ResponseFields
{
    /// <summary>What the items of the input are in.</summary>
    public const string Items = "input[].";

    /// <summary>What the parts of an item are in.</summary>
    public const string Parts = Items + "content[].";

    /// <summary>What the parts of what a tool gave are in.</summary>
    public const string Results = Items + "output[].";

    /// <summary>What a summary of thinking is in.</summary>
    public const string Summaries = Items + "summary[].";

    /// <summary>What is told of the form of the text.</summary>
    public const string Format = "text.format.";

    private const string Picture = "\"data:image/png;base64,iVBORw0KGgo=\"";
    private const string Whole = "thinking is given whole, as 'reasoning_text'; there are no summaries";
    private const string NoFiles = "no files are kept: send the picture as a data URL in 'image_url'";
    private const string OwnItems = "of the server's own items";

    // Of chats: what is in them goes with them.
    private static readonly string[] s_ofChats =
    [
        "messages", "max_completion_tokens", "max_tokens", "response_format", "logprobs", "n", "reasoning_effort", "tools",
        "tool_choice", "stream_options", "continue_final_message", "add_generation_prompt",
    ];

    private static readonly RequestField[] s_own =
    [
        new("input", FieldUse.Used, "a text, or a list of items; what they may hold is below",
            """[{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"},{"role":"user","content":"Hi"}]""")
        { Also = "\"Hi\"" },
        new("instructions", FieldUse.Used,
            "the system message, before that of the input if there is one; those of 'previous_response_id' are not taken over",
            "\"Be brief.\""),
        new("previous_response_id", FieldUse.Used,
            "a stored response: the input goes on behind its conversation and its output", "\"resp_0\""),
        new("store", FieldUse.Used,
            "false: the response cannot be got or gone on from afterwards; else it is kept in memory until others need the room",
            "false"),
        new("include", FieldUse.Used,
            "'message.output_text.logprobs'; 'reasoning.encrypted_content' changes nothing, thinking is there to be read",
            "[\"message.output_text.logprobs\"]"),
        new("metadata", FieldUse.Used, "up to 16 texts by name, which the response carries", """{"a":"b"}"""),
        new("max_output_tokens", FieldUse.Used,
            "the most tokens of the response, its thinking included; one that ends there is 'incomplete'", "5"),
        new("top_logprobs", FieldUse.Used,
            "from 0 to 20: so many of the most likely tokens at each place of the text, and its log-probabilities", "3"),
        new("reasoning", FieldUse.Used, "whether the model thinks first", """{"effort":"low"}"""),
        new("reasoning.effort", FieldUse.Used,
            "'none' and 'minimal': no thinking; 'low', 'medium', 'high' and 'xhigh': thinking", "\"low\""),
        new("reasoning.summary", FieldUse.Accepted, Whole, "\"auto\""),
        new("reasoning.generate_summary", FieldUse.Accepted, Whole, "\"auto\""),
        new("text", FieldUse.Used, "the form that the text is held to (docs/structured.md)",
            """{"format":{"type":"json_object"}}"""),
        new("text.format", FieldUse.Used, "the form", """{"type":"json_object"}"""),
        new(Format + "type", FieldUse.Used, "'text', 'json_object' or 'json_schema'", "\"json_object\""),
        new(Format + "name", FieldUse.Used, "with a schema: letters, digits, '_' and '-'", "\"n\""),
        new(Format + "schema", FieldUse.Used, "a JSON schema", """{"type":"object"}""") { Also = "\"{}\"" },
        new(Format + "strict", FieldUse.Accepted, "schemas are held either way", "true"),
        new(Format + "description", FieldUse.Accepted, "the prompt is the input alone", "\"d\""),
        new("text.verbosity", FieldUse.Refused, "say in the input how long the text should be", "\"low\"", "\"medium\""),
        new("tools", FieldUse.Used, "what the model may call, up to 128 functions (Tools, below)",
            """[{"type":"function","name":"f"}]"""),
        new(RequestFields.Tools + "type", FieldUse.Used, "'function'", "\"function\""),
        new(RequestFields.Tools + "name", FieldUse.Used, "up to 64 letters, digits, '_', '-' and '.'; each once", "\"g\""),
        new(RequestFields.Tools + "description", FieldUse.Used, "the model reads it", "\"d\""),
        new(RequestFields.Tools + "parameters", FieldUse.Used,
            "a JSON schema of an object, to which the arguments are held",
            """{"type":"object","properties":{"a":{"type":"string"}}}"""),
        new(RequestFields.Tools + "strict", FieldUse.Used,
            "false takes a schema that cannot be held as well; the arguments are then any JSON object", "false"),
        new("tool_choice", FieldUse.Used, "'none', 'auto', 'required', or the function that is called", "\"required\""),
        new("tool_choice.type", FieldUse.Used, "'function'", "\"function\""),
        new("tool_choice.name", FieldUse.Used, "one of 'tools'", "\"f\""),
        new("stream_options", FieldUse.Used, "with 'stream' only", """{"include_obfuscation":true}"""),
        new("stream_options.include_obfuscation", FieldUse.Accepted, "pieces are never padded", "true"),
        new("max_tool_calls", FieldUse.Accepted, "of tools that the server runs, of which there are none", "3"),
        new("background", FieldUse.Refused, "a response is written while its client waits; 'stream' gives its pieces",
            "true", "false"),
        new("conversation", FieldUse.Refused, "'previous_response_id' is there", "\"conv_1\""),
        new("prompt", FieldUse.Refused, "no prompts are kept: write it into 'instructions' and 'input'", """{"id":"p"}"""),
        new("context_management", FieldUse.Refused, "prompts are never cut; send less", "[{}]", "[]"),

        new(Items + "type", FieldUse.Used,
            "'message' (may be left out), 'reasoning', 'function_call' or 'function_call_output'", "\"message\""),
        new(Items + "role", FieldUse.Used, "of messages: 'system' or 'developer', 'user', 'assistant'", "\"user\""),
        new(Items + "content", FieldUse.Used, "of messages: a text or a list of parts; of thinking: a list of parts",
            "\"Hi\""),
        new(Items + "name", FieldUse.Used, "of calls: the function", "\"f\""),
        new(Items + "arguments", FieldUse.Used, "of calls: a JSON object in a string", "\"{}\""),
        new(Items + "call_id", FieldUse.Used, "of calls and of what they gave: which call it is", "\"c\""),
        new(Items + "output", FieldUse.Used, "of what a call gave: a text, or a list of texts and pictures", "\"1\""),
        new(Items + "summary", FieldUse.Used, "of thinking: read where there is no 'content'",
            """[{"type":"summary_text","text":"Hm."}]"""),
        new(Items + "id", FieldUse.Accepted, OwnItems, "\"msg_1\""),
        new(Items + "status", FieldUse.Accepted, OwnItems, "\"completed\""),
        new(Items + "phase", FieldUse.Accepted, OwnItems, "\"final_answer\""),
        new(Items + "encrypted_content", FieldUse.Refused, "this server encrypts nothing: send the 'content'", "\"e\"",
            "\"\""),
        new(Parts + "type", FieldUse.Used,
            "'input_text', 'output_text', of thinking 'reasoning_text'; from the user also 'input_image'",
            "\"input_text\""),
        new(Parts + "text", FieldUse.Used, "the text", "\"Hi\""),
        new(Parts + "image_url", FieldUse.Used, "a picture, as in chat completions", Picture),
        new(Parts + "detail", FieldUse.Used,
            "'low' for all pictures of a request: one tile of each; 'high' and 'auto': the checkpoint's tiling", "\"low\""),
        new(Parts + "file_id", FieldUse.Refused, NoFiles, "\"file-1\""),
        new(Parts + "annotations", FieldUse.Accepted, OwnItems, "[]"),
        new(Parts + "logprobs", FieldUse.Accepted, OwnItems, "[]"),
        new(Results + "type", FieldUse.Used, "'input_text' or 'input_image'", "\"input_text\""),
        new(Results + "text", FieldUse.Used, "the text", "\"Hi\""),
        new(Results + "image_url", FieldUse.Used, "a picture, as in chat completions", Picture),
        new(Results + "detail", FieldUse.Used, "as in the content of messages", "\"low\""),
        new(Results + "file_id", FieldUse.Refused, NoFiles, "\"file-1\""),
        new(Summaries + "type", FieldUse.Used, "'summary_text'", "\"summary_text\""),
        new(Summaries + "text", FieldUse.Used, "the text", "\"Hm.\""),
    ];

    /// <summary>The fields.</summary>
    public static FieldList All { get; } = new([
        .. RequestFields.All.Where(field => field.Name == "model"),
        .. s_own,
        .. RequestFields.All.Where(field => field.Name != "model" && !s_ofChats.Any(name => IsIn(field, name))
            && s_own.All(own => own.Name != field.Name)).Select(InWordsOfResponses),
        .. RequestFields.All.Where(field => s_ofChats.Contains(field.Name) && s_own.All(own => own.Name != field.Name))
            .Select(AsRefused),
    ]);

    /// <summary>The table of docs/serving.md: what is not as in chat completions.</summary>
    public static string Differences { get; } = new FieldList([
        .. All.Fields.Where(field => RequestFields.All.All(other => other.Name != field.Name || other.Use != field.Use
            || (field.Use == FieldUse.Used && other.Meaning != field.Meaning))),
    ]).ToMarkdown();

    private static bool IsIn(RequestField field, string name) => field.Name == name
        || field.Name.StartsWith(name + ".", StringComparison.Ordinal)
        || field.Name.StartsWith(name + "[", StringComparison.Ordinal);

    /// <summary>What a field is refused for names others, which have other names here.</summary>
    private static RequestField InWordsOfResponses(RequestField field) => field.Use != FieldUse.Refused ? field
        : field with
        {
            Meaning = field.Meaning.Replace("'max_completion_tokens'", "'max_output_tokens'", StringComparison.Ordinal)
                .Replace("'messages'", "'input'", StringComparison.Ordinal)
                .Replace("'response_format'", "'text.format'", StringComparison.Ordinal)
                .Replace("'reasoning_content'", "items of the type 'reasoning'", StringComparison.Ordinal)
                .Replace("'logprobs' is of the answer", "log-probabilities are of the text", StringComparison.Ordinal)
                .Replace("several answers with 'n'", "several responses", StringComparison.Ordinal),
        };

    private static RequestField AsRefused(RequestField field)
    {
        (string meaning, string[] neutral) = field.Name switch
        {
            "messages" => ("'input' is there; POST /v1/chat/completions takes messages", (string[])[]),
            "max_completion_tokens" or "max_tokens" => ("'max_output_tokens' is there", []),
            "response_format" => ("'text.format' is there", []),
            "logprobs" => ("'include' with 'message.output_text.logprobs' is there", ["false"]),
            "n" => ("a request has one response: ask again", ["1"]),
            "reasoning_effort" => ("'reasoning.effort' is there", []),
            _ => ("a last message of the assistant is continued without it", []),
        };
        return new RequestField(field.Name, FieldUse.Refused, meaning,
            field.Name switch { "n" => "2", "continue_final_message" => "true", _ => field.Example }, neutral);
    }
}
