using System.Text;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Server;

namespace Skylight.Fuzz;

/// <summary>The body of a request for a response, that goes on from one that is kept.</summary>
internal sealed class ResponsesTarget : RequestTarget
{
    private readonly ResponseStore _store = new(10, 1 << 20);
    private readonly ResponseRequestReader _reader;

    public ResponsesTarget()
        : base("responses")
    {
        _store.TryAdd(new StoredResponse("resp_0", [], [new StoredTurn([Message.User("a"), Message.Assistant("b")], 100)]));
        _reader = new ResponseRequestReader(new ChatRequestReader("tiny", 151674, new SkylightServerOptions()), _store);
    }

    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"model": "tiny", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}, {"type": "message", "role": "assistant", "content": [{"type": "output_text",
        "text": "I will.", "annotations": []}]}, {"type": "function_call", "call_id": "c", "name": "zoom", "arguments": "{\"x\": 1}"}, {"type": "function_call_output", "call_id": "c",
        "output": [{"type": "input_text", "text": "Here."}]}], "instructions": "Be brief.", "previous_response_id": "resp_0", "store": true, "include": ["message.output_text.logprobs"],
        "metadata": {"a": "b"}, "max_output_tokens": 12, "top_logprobs": 2, "reasoning": {"effort": "low", "summary": "auto"}, "stream": true, "stream_options": {"include_obfuscation": false},
        "text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object", "properties": {"a": {"enum": [1, 2]}}}}}, "tools": [{"type": "function", "name": "zoom",
        "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}, "strict": true}], "tool_choice": {"type": "function", "name": "zoom"}}
        """u8.ToArray(),
        """{"input": "Hello", "temperature": 0.5, "truncation": "disabled", "background": false, "tool_choice": "auto"}"""u8.ToArray(),
    ];

    // Schemas become automata.
    public override long AllocationLimit(int inputBytes) => (16 << 20) + (64L * inputBytes);

    protected override void Read(byte[] input) => _reader.ReadAsync(input, default).GetAwaiter().GetResult();
}

/// <summary>
/// What a model writes where it may call tools: however it is cut, text and calls come out the same, complete calls have
/// arguments that are JSON objects, and nothing of what is no call is lost.
/// </summary>
internal sealed class ToolCallTarget() : FuzzTarget("tool-calls")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        Let me see.
        <tool_call>
        {"name": "f", "arguments": {"a": "x}\"]<tool_call>", "b": [1, {}]}}
        </tool_call>
        <tool_call>
        {"name": "g", "arguments": {}}
        </tool_call>
        """u8.ToArray(),
        """<tool_call>{"arguments": {"a": "</tool_call>"}, "name": "f"}</tool_call> and <tool_call>{"name": "h", "arguments": {}}</tool_call>"""u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words { get; } =
        [.. ((string[])["<tool_call>", "</tool_call>", "\"name\"", "\"arguments\"", "{", "}", "\"f\"", ": "])
            .Select(Encoding.UTF8.GetBytes)];

    public override long AllocationLimit(int inputBytes) => (8 << 20) + (4096L * inputBytes);

    public override void Run(byte[] input)
    {
        string text = Encoding.UTF8.GetString(input);
        (string Text, string Calls, int Complete) whole = Read(text, text.Length + 1), cut = Read(text, 3);
        if (whole != cut)
            throw new InvalidOperationException("Cut otherwise it reads otherwise.");
        if (whole.Complete == 0)
            throw new FormatException();
    }

    public override bool IsDocumented(Exception exception) => exception is FormatException;

    private static (string Text, string Calls, int Complete) Read(string text, int length)
    {
        var reader = new ToolCallReader(["f", "g"]);
        var calls = new ToolCallCollector();
        var read = new StringBuilder();
        for (int at = 0; at == 0 || at < text.Length; at += length)
        {
            foreach (GenerationUpdate update in reader.Append(UpdateKind.Answer,
                text.Substring(at, Math.Min(length, text.Length - at)), isEnd: at + length >= text.Length))
            {
                read.Append(update.Text);
                calls.Add(update.ToolCall);
            }
        }

        ToolCall[] complete = [.. calls.Complete];
        foreach (ToolCall call in complete)
            JsonNode.Parse(call.Arguments)!.AsObject();
        return (read.ToString(), string.Join('|', complete.Select(call => call.Name + call.Arguments)), complete.Length);
    }
}
