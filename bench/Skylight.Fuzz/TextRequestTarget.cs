using Skylight.Server;

namespace Skylight.Fuzz;

/// <summary>Bodies of the server's endpoints beside chat completions.</summary>
internal sealed class TextRequestTarget : RequestTarget
{
    private readonly ChatRequestReader _reader = new("tiny", 151674, new SkylightServerOptions());
    private readonly Action<byte[]> _read;

    public TextRequestTarget(string name)
        : base(name) => (_read, Seeds) = name switch
        {
            "completions" => ((Action<byte[]>)(input => CompletionRequest.Read(input, _reader)), (byte[][])
            [
                """
                {"model": "tiny", "prompt": ["Once upon", "a \u00e9\ud83d\ude42"], "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "seed": -3, "n": 2, "echo": true, "stream": true,
                "stream_options": {"include_usage": true}, "stop": ["a"], "logit_bias": {"12": -100}, "suffix": "", "best_of": 1, "guided_regex": "a+", "prompt_lookup_num_tokens": 4}
                """u8.ToArray(),
                """{"prompt": [[1, 2], [151673]], "logprobs": 3, "min_tokens": 2, "stop_token_ids": [5], "user": "me"}"""u8.ToArray(),
                """{"prompt": [1, 2, 3], "logprobs": null, "frequency_penalty": 0.5, "response_format": {"type": "json_object"}}"""u8
                    .ToArray(),
            ]),
            "tokenize" => (input => TokenizeRequest.ReadAsync(input, _reader, default).GetAwaiter().GetResult(),
            [
                """{"model": "tiny", "prompt": "Hello \u4f60\u597d", "return_token_strs": true, "add_special_tokens": true}"""u8
                    .ToArray(),
                """
                {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "text", "text": "What is this?"}]}, {"role": "assistant", "content": "A"}], "continue_final_message": true, "add_generation_prompt": false, "max_tiles": 2, "enable_thinking": true}
                """u8.ToArray(),
            ]),
            "detokenize" => (input => DetokenizeRequest.Read(input, _reader, 151674),
                ["""{"model": "tiny", "tokens": [1, 2, 151673]}"""u8.ToArray()]),
            _ => throw new ArgumentException($"There is no endpoint '{name}'.", nameof(name)),
        };

    public override IReadOnlyList<byte[]> Seeds { get; }

    // Patterns and schemas of completions become automata.
    public override long AllocationLimit(int inputBytes) => (Name == "completions" ? 16 << 20 : 1 << 20) + (64L * inputBytes);

    protected override void Read(byte[] input) => _read(input);
}
