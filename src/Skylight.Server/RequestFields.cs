namespace Skylight.Server;

/// <summary>
/// All fields of chat completions that are known: those of OpenAI, vLLM, SGLang and llama.cpp's server. The one list from
/// which requests are checked, the table in docs/serving.md and the description at <c>/openapi.json</c> are written, and
/// the tests of all are made.
/// </summary>
internal static class RequestFields
{
    /// <summary>What messages are in.</summary>
    public const string Messages = "messages[].";

    /// <summary>What the parts of a message are in.</summary>
    public const string Parts = Messages + "content[].";

    /// <summary>What is told of a picture.</summary>
    public const string Picture = Parts + "image_url.";

    /// <summary>What is told of a tool.</summary>
    public const string Tools = "tools[].";

    /// <summary>What the calls of a message are in.</summary>
    public const string Calls = Messages + "tool_calls[].";

    /// <summary>What is told of a function.</summary>
    public const string Functions = Tools + "function.";

    private const string Form = "the form that the answer is held to (docs/structured.md)";
    private const string OtherForm = "'response_format', 'structured_outputs' and 'guided_…' are there";
    private const string OwnSpace = "white space is a space, or a line break with its indentation";
    private const string OldTools = "'tools' is there";
    private const string OwnTools = "the model calls the functions in 'tools', and what runs them is the client";
    private const string Text = "the model writes text and nothing else";
    private const string Reasoning = "thinking is always told apart, in 'reasoning_content'";
    private const string Beams = "there is no beam search";
    private const string Sampler = "there is no such sampler; 'top_p', 'top_k' and 'min_p' are";
    private const string Idle = "a number of a sampler that is refused where it is switched on";
    private const string Cache = "the cache changes no answer";
    private const string Bookkeeping = "bookkeeping of OpenAI's";

    /// <summary>The fields.</summary>
    public static IReadOnlyList<RequestField> All { get; } =
    [
        new("model", FieldUse.Used, "must be the served model's name, where it is given", "\"tiny\""),
        new("messages", FieldUse.Used, "the conversation; what it may hold is below",
            """[{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"},{"role":"user","content":"Hi"}]"""),
        new("temperature", FieldUse.Used, "0 takes the most likely token", "0.5"),
        new("top_p", FieldUse.Used, "above 0 and at most 1", "0.5"),
        new("top_k", FieldUse.Used, "0 or -1 for all tokens", "5"),
        new("min_p", FieldUse.Used, "from 0 to 1", "0.1"),
        new("repetition_penalty", FieldUse.Used, "1 changes nothing", "1.1"),
        new("frequency_penalty", FieldUse.Used,
            "from -2 to 2: taken from a token's logit for each time that the answer holds it, its thinking included", "0.5"),
        new("presence_penalty", FieldUse.Used, "from -2 to 2: taken from the logits of all tokens that the answer holds",
            "0.5"),
        new("seed", FieldUse.Used, "any whole number of 64 bits, with or without a sign", "-3"),
        new("logit_bias", FieldUse.Used, "by token number, from -100 to 100, up to 1024", """{"12":-100}"""),
        new("bad_words", FieldUse.Used,
            "words that are never written: as given, in lower case, with a capital, and after a space. A word that " +
            "is no single token is refused", "[\"Wait\"]") { Also = "\"Wait\"" },
        new("max_completion_tokens", FieldUse.Used, "the most tokens of the answer, its thinking included", "5"),
        new("max_tokens", FieldUse.Used, "the same; the two may not differ", "5"),
        new("min_tokens", FieldUse.Used,
            "no token that ends the answer is drawn before it has so many, and 'stop' is not looked for in them; a " +
            "text of 'stop' that ends behind them counts", "3"),
        new("stop", FieldUse.Used, "up to 16 texts before any of which the answer ends; not looked for in the thinking",
            "[\"END\"]") { Also = "\"END\"" },
        new("stop_token_ids", FieldUse.Used,
            "up to 1024 tokens that end the answer, beside the model's own; they are no part of its text", "[5]"),
        new("ignore_eos", FieldUse.Used, "the model's own end ends nothing", "true"),
        new("skip_special_tokens", FieldUse.Used,
            "false keeps special tokens in the text, those of grounding among them", "false"),
        new("n", FieldUse.Used, "how many answers, up to 8", "2"),
        new("stream", FieldUse.Used, "the answer in pieces", "true"),
        new("stream_options", FieldUse.Used, "with 'stream' only", """{"include_usage":true}"""),
        new("stream_options.include_usage", FieldUse.Used, "the stream ends with the usage", "true"),
        new("stream_options.include_obfuscation", FieldUse.Accepted, "pieces are never padded", "true"),
        new("stream_options.continuous_usage_stats", FieldUse.Refused, "usage comes at the end", "true", "false"),
        new("response_format", FieldUse.Used, Form, """{"type":"json_object"}"""),
        new("response_format.type", FieldUse.Used, "'text', 'json_object' or 'json_schema'", "\"json_object\""),
        new("response_format.json_schema", FieldUse.Used, "with the type of that name only",
            """{"name":"n","schema":{"type":"object"}}"""),
        new("response_format.json_schema.name", FieldUse.Used, "letters, digits, '_' and '-'", "\"n\""),
        new("response_format.json_schema.schema", FieldUse.Used, "a JSON schema", """{"type":"object"}""")
        { Also = "\"{}\"" },
        new("response_format.json_schema.description", FieldUse.Accepted, "the prompt is the messages alone", "\"d\""),
        new("response_format.json_schema.strict", FieldUse.Accepted, "schemas are held either way", "true"),
        new("response_format.schema", FieldUse.Refused, "put it into 'json_schema', with the type of that name",
            """{"type":"object"}"""),
        new("structured_outputs", FieldUse.Used, Form, """{"choice":["a"]}"""),
        new("structured_outputs.json", FieldUse.Used, "a JSON schema, or a string that holds one", """{"type":"object"}""")
        { Also = "\"{}\"" },
        new("structured_outputs.json_object", FieldUse.Used, "any JSON object", "true"),
        new("structured_outputs.regex", FieldUse.Used, "a regular expression that matches the whole answer", "\"a+\""),
        new("structured_outputs.choice", FieldUse.Used, "texts of which the answer is one", "[\"a\",\"b\"]"),
        new("structured_outputs.grammar", FieldUse.Used, "a grammar in llama.cpp's notation", "\"root ::= [a]\""),
        new("structured_outputs.structural_tag", FieldUse.Refused, OtherForm, "\"t\""),
        new("structured_outputs.whitespace_pattern", FieldUse.Refused, OwnSpace, "\" \""),
        new("structured_outputs.disable_any_whitespace", FieldUse.Refused, OwnSpace, "true", "false"),
        new("structured_outputs.disable_additional_properties", FieldUse.Refused,
            "'additionalProperties' of the schema says it", "true", "false"),
        new("structured_outputs.disable_fallback", FieldUse.Accepted, "there is one way to hold a form", "true"),
        new("guided_json", FieldUse.Used, "as 'structured_outputs.json'", """{"type":"object"}""") { Also = "\"{}\"" },
        new("guided_json_object", FieldUse.Used, "as 'structured_outputs.json_object'", "true"),
        new("guided_regex", FieldUse.Used, "as 'structured_outputs.regex'", "\"a+\""),
        new("guided_choice", FieldUse.Used, "as 'structured_outputs.choice'", "[\"a\",\"b\"]"),
        new("guided_grammar", FieldUse.Used, "as 'structured_outputs.grammar'", "\"root ::= [a]\""),
        new("tools", FieldUse.Used, "what the model may call, up to 128 functions (docs/serving.md, Tools)",
            """[{"type":"function","function":{"name":"f"}}]"""),
        new(Tools + "type", FieldUse.Used, "'function'", "\"function\""),
        new(Tools + "function", FieldUse.Used, "what can be called", """{"name":"g"}"""),
        new(Functions + "name", FieldUse.Used, "up to 64 letters, digits, '_', '-' and '.'; each once", "\"g\""),
        new(Functions + "description", FieldUse.Used, "the model reads it", "\"d\""),
        new(Functions + "parameters", FieldUse.Used, "a JSON schema of an object, to which the arguments are held",
            """{"type":"object","properties":{"a":{"type":"string"}}}"""),
        new(Functions + "strict", FieldUse.Used,
            "false takes a schema that cannot be held as well; the arguments are then any JSON object", "false"),
        new("tool_choice", FieldUse.Used, "'none', 'auto', 'required', or the function that is called", "\"required\""),
        new("tool_choice.type", FieldUse.Used, "'function'", "\"function\""),
        new("tool_choice.function", FieldUse.Used, "the function that is called", """{"name":"f"}"""),
        new("tool_choice.function.name", FieldUse.Used, "one of 'tools'", "\"f\""),
        new("parallel_tool_calls", FieldUse.Used, "false: one call at most", "false"),
        new("logprobs", FieldUse.Used,
            "log-probabilities of the chosen tokens, those of the thinking included and marked with 'reasoning', and the " +
            "entropy of the distribution in nats, 'entropy'", "true"),
        new("top_logprobs", FieldUse.Used,
            "from 0 to 20, with 'logprobs': so many of the most likely tokens at each place, fewer where no more may be " +
            "drawn", "3"),
        new("prompt_lookup_num_tokens", FieldUse.Used,
            "from 0 to 15: so many tokens at most are guessed behind the next one; the answer is the same. Else what the " +
            "server was started with (--speculate)", "4"),
        new("enable_thinking", FieldUse.Used, "whether the model thinks first", "true"),
        new("thinking", FieldUse.Used, "the same, as true and false or as an object", "true")
        { Also = """{"type":"enabled"}""" },
        new("thinking.type", FieldUse.Used, "'enabled' or 'disabled'", "\"enabled\""),
        new("thinking.budget_tokens", FieldUse.Refused,
            "thinking has no limit of its own; 'max_completion_tokens' counts it", "100"),
        new("reasoning_effort", FieldUse.Used,
            "'none' and 'minimal': no thinking; 'low', 'medium', 'high' and 'xhigh': thinking", "\"low\""),
        new("chat_template_kwargs", FieldUse.Used, "of the template's settings there is one",
            """{"enable_thinking":true}"""),
        new("chat_template_kwargs.enable_thinking", FieldUse.Used, "as 'enable_thinking'", "true"),
        new("chat_template_kwargs.thinking", FieldUse.Used, "as 'enable_thinking'", "true"),
        new("continue_final_message", FieldUse.Used,
            "true where the last message is the assistant's, which is continued; else false", "false"),
        new("add_generation_prompt", FieldUse.Used, "the opposite of 'continue_final_message'", "true"),
        new("max_tiles", FieldUse.Used, "the most tiles of a picture; a field of this server's own", "2"),

        new("user", FieldUse.Accepted, Bookkeeping, "\"u\""),
        new("metadata", FieldUse.Accepted, Bookkeeping, """{"a":"b"}"""),
        new("service_tier", FieldUse.Accepted, Bookkeeping, "\"auto\""),
        new("safety_identifier", FieldUse.Accepted, Bookkeeping, "\"s\""),
        new("prompt_cache_key", FieldUse.Accepted, Cache, "\"k\""),
        new("prompt_cache_retention", FieldUse.Accepted, Cache, "\"24h\""),
        new("cache_prompt", FieldUse.Accepted, Cache, "true"),
        new("request_id", FieldUse.Accepted, "answers have ids of the server's own", "\"r\""),
        new("rid", FieldUse.Accepted, "answers have ids of the server's own", "\"r\""),
        new("spaces_between_special_tokens", FieldUse.Accepted, "no spaces are put between tokens", "true"),
        new("guided_decoding_backend", FieldUse.Accepted, "there is one way to hold a form", "\"auto\""),
        new("dry_base", FieldUse.Accepted, Idle, "1.75"),
        new("dry_allowed_length", FieldUse.Accepted, Idle, "2"),
        new("dry_penalty_last_n", FieldUse.Accepted, Idle, "-1"),
        new("dry_sequence_breakers", FieldUse.Accepted, Idle, "[\"*\"]"),
        new("xtc_threshold", FieldUse.Accepted, Idle, "0.1"),
        new("mirostat_tau", FieldUse.Accepted, Idle, "5"),
        new("mirostat_eta", FieldUse.Accepted, Idle, "0.1"),
        new("dynatemp_exponent", FieldUse.Accepted, Idle, "1"),
        new("repeat_last_n", FieldUse.Accepted, Idle, "64"),

        new("store", FieldUse.Refused, "nothing is stored", "true", "false"),
        new("functions", FieldUse.Refused, OldTools, """[{"name":"f"}]""", "[]"),
        new("function_call", FieldUse.Refused, "'tool_choice' is there", """{"name":"f"}""", "\"none\"", "\"auto\""),
        new("web_search_options", FieldUse.Refused, OwnTools, "{}"),
        new("guided_whitespace_pattern", FieldUse.Refused, OwnSpace, "\" \""),
        new("structural_tag", FieldUse.Refused, OtherForm, "\"t\""),
        new("json_schema", FieldUse.Refused, OtherForm, "{}"),
        new("grammar", FieldUse.Refused, OtherForm, "\"root ::= a\"", "\"\""),
        new("grammar_lazy", FieldUse.Refused, OtherForm, "true", "false"),
        new("grammar_triggers", FieldUse.Refused, OtherForm, "[1]", "[]"),
        new("regex", FieldUse.Refused, OtherForm, "\"a+\""),
        new("ebnf", FieldUse.Refused, OtherForm, "\"root ::= a\""),
        new("repeat_penalty", FieldUse.Refused, "'repetition_penalty' is there", "1.1", "1"),
        new("length_penalty", FieldUse.Refused, Beams, "2", "1"),
        new("early_stopping", FieldUse.Refused, Beams, "true", "false"),
        new("use_beam_search", FieldUse.Refused, Beams, "true", "false"),
        new("num_beams", FieldUse.Refused, Beams, "4", "1"),
        new("best_of", FieldUse.Refused, "ask for several answers with 'n', and choose", "3", "1"),
        new("do_sample", FieldUse.Refused, "'temperature' above 0 samples, and 0 does not", "true"),
        new("typical_p", FieldUse.Refused, Sampler, "0.5", "1"),
        new("typ_p", FieldUse.Refused, Sampler, "0.5", "1"),
        new("top_a", FieldUse.Refused, Sampler, "0.5", "0"),
        new("tfs_z", FieldUse.Refused, Sampler, "0.5", "1"),
        new("top_n_sigma", FieldUse.Refused, Sampler, "1", "-1"),
        new("epsilon_cutoff", FieldUse.Refused, Sampler, "0.1", "0"),
        new("eta_cutoff", FieldUse.Refused, Sampler, "0.1", "0"),
        new("dynatemp_range", FieldUse.Refused, Sampler, "0.5", "0"),
        new("dry_multiplier", FieldUse.Refused, Sampler, "0.8", "0"),
        new("xtc_probability", FieldUse.Refused, Sampler, "0.5", "0"),
        new("mirostat", FieldUse.Refused, Sampler, "2", "0"),
        new("samplers", FieldUse.Refused, "their order is fixed: temperature, 'top_k', 'top_p', 'min_p'", "[\"top_k\"]"),
        new("min_keep", FieldUse.Refused, Sampler, "2", "0"),
        new("no_repeat_ngram_size", FieldUse.Refused, "'repetition_penalty' is there", "3", "0"),
        new("allowed_token_ids", FieldUse.Refused, "'logit_bias' of -100 bans tokens", "[1]"),
        new("logits_processors", FieldUse.Refused, "no code of clients is run", "[\"a.b\"]", "[]"),
        new("custom_logit_processor", FieldUse.Refused, "no code of clients is run", "\"x\""),
        new("custom_params", FieldUse.Refused, "no code of clients is run", """{"a":1}""", "{}"),
        new("include_stop_str_in_output", FieldUse.Refused, "the answer ends before its stop text", "true", "false"),
        new("no_stop_trim", FieldUse.Refused, "the answer ends before its stop text", "true", "false"),
        new("stop_regex", FieldUse.Refused, "'stop' takes plain texts", "\"a+\"", "[]"),
        new("stop_sequences", FieldUse.Refused, "'stop' is there", "[\"a\"]", "[]"),
        new("max_new_tokens", FieldUse.Refused, "'max_completion_tokens' is there", "5"),
        new("max_output_tokens", FieldUse.Refused, "'max_completion_tokens' is there", "5"),
        new("min_new_tokens", FieldUse.Refused, "'min_tokens' is there", "5", "0"),
        new("n_predict", FieldUse.Refused, "'max_completion_tokens' is there", "5", "-1"),
        new("n_keep", FieldUse.Refused, "prompts are never cut", "5", "0", "-1"),
        new("t_max_predict_ms", FieldUse.Refused, "answers have no limit of time; go away, and the answer ends", "5",
            "0", "-1"),
        new("truncate_prompt_tokens", FieldUse.Refused, "prompts are never cut; send less", "10"),
        new("truncation_side", FieldUse.Refused, "prompts are never cut; send less", "\"left\""),
        new("truncation", FieldUse.Refused, "prompts are never cut; send less", "\"auto\"", "\"disabled\""),
        new("n_probs", FieldUse.Refused, "'top_logprobs' is there", "3", "0"),
        new("prompt_logprobs", FieldUse.Refused, "'logprobs' is of the answer", "1"),
        new("post_sampling_probs", FieldUse.Refused, "log-probabilities are the model's own", "true", "false"),
        new("echo", FieldUse.Refused, "the answer holds what is new", "true", "false"),
        new("return_tokens_as_token_ids", FieldUse.Refused, "tokens are texts", "true", "false"),
        new("return_token_ids", FieldUse.Refused, "tokens are texts", "true", "false"),
        new("return_tokens", FieldUse.Refused, "tokens are texts", "true", "false"),
        new("return_hidden_states", FieldUse.Refused, Text, "true", "false"),
        new("return_progress", FieldUse.Refused, "pieces hold the answer alone", "true", "false"),
        new("timings_per_token", FieldUse.Refused, "pieces hold the answer alone", "true", "false"),
        new("response_fields", FieldUse.Refused, "answers have one form", "[\"content\"]", "[]"),
        new("include_reasoning", FieldUse.Refused, Reasoning, "false", "true"),
        new("separate_reasoning", FieldUse.Refused, Reasoning, "false", "true"),
        new("stream_reasoning", FieldUse.Refused, Reasoning, "false", "true"),
        new("reasoning_format", FieldUse.Refused, Reasoning, "\"none\"", "\"auto\"", "\"deepseek\""),
        new("reasoning", FieldUse.Refused, "'reasoning_effort' is there", """{"effort":"low"}"""),
        new("thinking_budget", FieldUse.Refused, "thinking has no limit of its own; 'max_completion_tokens' counts it",
            "100", "-1"),
        new("verbosity", FieldUse.Refused, "say in the prompt how long the answer should be", "\"low\"", "\"medium\""),
        new("prediction", FieldUse.Refused, "answers are not predicted", """{"type":"content","content":"a"}"""),
        new("modalities", FieldUse.Refused, Text, "[\"audio\"]", "[\"text\"]", "[]"),
        new("audio", FieldUse.Refused, Text, """{"voice":"v"}"""),
        new("system", FieldUse.Refused, "send a message with the role 'system'", "\"s\""),
        new("prompt", FieldUse.Refused, "'messages' is there", "\"p\""),
        new("input_ids", FieldUse.Refused, "'messages' is there", "[1]"),
        new("documents", FieldUse.Refused, "the model's template has none; put them into a message", "[{}]", "[]"),
        new("chat_template", FieldUse.Refused, "the template belongs to the model", "\"t\""),
        new("add_special_tokens", FieldUse.Refused, "the template brings all special tokens", "true", "false"),
        new("mm_processor_kwargs", FieldUse.Refused, "'max_tiles' is there", """{"max_dynamic_patch":2}""", "{}"),
        new("media_io_kwargs", FieldUse.Refused, "'max_tiles' is there", """{"a":{}}""", "{}"),
        new("max_dynamic_patch", FieldUse.Refused, "'max_tiles' is there", "2"),
        new("min_dynamic_patch", FieldUse.Refused, "'max_tiles' is there", "2"),
        new("priority", FieldUse.Refused, "requests are answered in the order in which they come", "1", "0"),
        new("cache_salt", FieldUse.Refused, "the cache of beginnings is shared by all or switched off at the server",
            "\"s\""),
        new("kv_transfer_params", FieldUse.Refused, "the cache is the server's own", "{}"),
        new("vllm_xargs", FieldUse.Refused, "there are no extensions", """{"a":1}""", "{}"),
        new("session_params", FieldUse.Refused, "send the whole conversation", "{}"),
        new("id_slot", FieldUse.Refused, "the server chooses", "1", "-1"),
        new("lora", FieldUse.Refused, "the server has one set of weights", "[{}]", "[]"),
        new("lora_path", FieldUse.Refused, "the server has one set of weights", "\"l\""),

        new(Messages + "role", FieldUse.Used, "'system' or 'developer', 'user', 'assistant', 'tool'", "\"user\""),
        new(Messages + "content", FieldUse.Used,
            "a text or a list of parts; null only of an assistant's message with 'tool_calls' or 'reasoning_content'",
            "\"Hi\""),
        new(Messages + "reasoning_content", FieldUse.Used,
            "the assistant's thinking: left out of earlier answers as the model's template does, read in the " +
            "last message", "\"Hm.\""),
        new(Messages + "reasoning", FieldUse.Used, "the same", "\"Hm.\""),
        new(Messages + "tool_calls", FieldUse.Used, "of the assistant: written into the prompt in Qwen's form",
            """[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]"""),
        new(Calls + "id", FieldUse.Used, "which call it is: its result names it", "\"2\""),
        new(Calls + "type", FieldUse.Used, "'function' (may be left out)", "\"function\""),
        new(Calls + "function", FieldUse.Used, "what was called", """{"name":"g","arguments":"{}"}"""),
        new(Calls + "function.name", FieldUse.Used, "the function", "\"g\""),
        new(Calls + "function.arguments", FieldUse.Used, "a JSON object in a string", """ "{\"a\":1}" """),
        new(Calls + "index", FieldUse.Accepted, "of the pieces of a stream", "0"),
        new(Messages + "tool_call_id", FieldUse.Used,
            "the call whose result it is: results are read in the order of the calls; without ids in that of the messages",
            "\"1\""),
        new(Messages + "name", FieldUse.Accepted, "the model's template has no names", "\"n\""),
        new(Messages + "refusal", FieldUse.Refused, "send it as 'content'", "\"No.\"", "\"\""),
        new(Messages + "function_call", FieldUse.Refused, "'tool_calls' is there", """{"name":"f","arguments":"{}"}"""),
        new(Messages + "audio", FieldUse.Refused, "the model hears nothing", """{"id":"a"}"""),
        new(Messages + "annotations", FieldUse.Accepted, "of OpenAI's own answers", "[]"),
        new(Messages + "prefix", FieldUse.Refused, "a last message of the assistant is continued without it", "false",
            "true"),
        new(Parts + "type", FieldUse.Used, "'text' or, from the user and from tools, 'image_url'", "\"text\""),
        new(Parts + "text", FieldUse.Used, "the text", "\"Hi\""),
        new(Parts + "image_url", FieldUse.Used, "a picture: an object, or the URL alone",
            "\"data:image/png;base64,iVBORw0KGgo=\""),
        new(Parts + "cache_control", FieldUse.Accepted, Cache, """{"type":"ephemeral"}"""),
        new(Picture + "url", FieldUse.Used,
            "a data URL (PNG, JPEG, PNM; from skylight serve and hosts with Skylight.ImageSharp also WebP, GIF, BMP, " +
            "TIFF, TGA), in base64 or its URL-safe form; http and https with --allow-image-urls",
            "\"data:image/png;base64,iVBORw0KGgo=\""),
        new(Picture + "detail", FieldUse.Used,
            "'low' for all pictures of a request: one tile of each; 'high' and 'auto': the checkpoint's tiling", "\"low\""),
    ];

    /// <summary>The fields of <c>POST /v1/chat/completions</c>.</summary>
    public static FieldList Chat { get; } = new(All);

    /// <inheritdoc cref="FieldList.Check"/>
    public static void Check(JsonField value, string place) => Chat.Check(value, place);
}
