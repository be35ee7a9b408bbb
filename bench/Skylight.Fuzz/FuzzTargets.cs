using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Server;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training.Evaluation;
using Skylight.Training.Objectives;

namespace Skylight.Fuzz;

/// <summary>All that is read from outside.</summary>
internal static class FuzzTargets
{
    /// <summary>The targets by name.</summary>
    public static IReadOnlyDictionary<string, Func<FuzzTarget>> All { get; } = Create();

    private static Dictionary<string, Func<FuzzTarget>> Create()
    {
        return new Dictionary<string, Func<FuzzTarget>>
        {
            ["safetensors"] = () => new SafetensorsTarget(),
            ["gguf"] = () => new GgufTarget(),
            ["quantised"] = () => new QuantizedTarget(),
            ["config.json"] = () => new ConfigurationTarget(),
            ["tokenizer.json"] = () => new TokenizerTarget(),
            ["png"] = () => new PictureTarget("png", ".png"),
            ["jpeg"] = () => new PictureTarget("jpeg", ".jpg"),
            ["webp"] = () => new PictureTarget("webp", ".webp"),
            ["gif"] = () => new PictureTarget("gif", ".gif"),
            ["bmp"] = () => new PictureTarget("bmp", ".bmp"),
            ["tiff"] = () => new PictureTarget("tiff", ".tif"),
            ["tga"] = () => new PictureTarget("tga", ".tga"),
            ["pnm"] = () => new PictureTarget("pnm", ".p?m"),
            ["evaluation"] = () => new EvaluationTarget(),
            ["losses"] = () => new LossesTarget(),
            ["examples"] = () => new ExamplesTarget(),
            ["parquet"] = () => new ParquetTarget(),
            ["chat-completions"] = () => new ChatCompletionsTarget(),
            ["responses"] = () => new ResponsesTarget(),
            ["tool-calls"] = () => new ToolCallTarget(),
            ["completions"] = () => new TextRequestTarget("completions"),
            ["tokenize"] = () => new TextRequestTarget("tokenize"),
            ["detokenize"] = () => new TextRequestTarget("detokenize"),
            ["chat-template"] = () => new ChatTemplateTarget(),
            ["json-schema"] = () => new JsonSchemaTarget(),
            ["grammar"] = () => new GrammarTarget(),
            ["pattern"] = () => new PatternTarget(),
            ["hub"] = () => new HubTarget(),
            ["verifier-reply"] = () => new VerifierReplyTarget(),
        };
    }

    /// <summary>Words of JSON texts: the names of their fields and their texts.</summary>
    public static IReadOnlyList<byte[]> WordsOf(IEnumerable<byte[]> texts) =>
        [.. texts.SelectMany(text => Encoding.UTF8.GetString(text).Split('"')).Where(
            word => word.Length is > 2 and < 40).Distinct().Select(word => Encoding.UTF8.GetBytes($"\"{word}\""))];
}

/// <summary>Weights: the header, and every tensor read as numbers.</summary>
internal sealed class SafetensorsTarget : FileTarget
{
    public SafetensorsTarget()
        : base("safetensors", "model.safetensors")
    {
        SafetensorsWriter.Write(FilePath,
            [
                TensorToWrite.Float32("language.weight", new Shape(3, 5), new float[15]),
                TensorToWrite.BFloat16("b", new Shape(2, 2), new BFloat16[4]),
                TensorToWrite.Int32("ids", new Shape(3), new int[3]),
                TensorToWrite.UInt8("bytes", new Shape(3), new byte[3]),
                TensorToWrite.Float32("empty", new Shape(0, 5), ReadOnlyMemory<float>.Empty),
            ],
            new Dictionary<string, string> { ["format"] = "pt", ["step"] = "7" });
        Seeds = [File.ReadAllBytes(FilePath)];
    }

    public override IReadOnlyList<byte[]> Seeds { get; }

    public override IReadOnlyList<byte[]> Words { get; } =
        [.. new[]
        {
            "\"F32\"", "\"F16\"", "\"BF16\"", "\"F64\"", "\"I64\"", "\"BOOL\"", "\"F8_E4M3\"", "\"shape\"", "\"dtype\"",
            "\"data_offsets\"", "\"__metadata__\"",
        }.Select(Encoding.UTF8.GetBytes)];

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is CheckpointException;

    /// <summary>Makes the header as long as it says, most of the time.</summary>
    public override void Repair(byte[] input, Random random)
    {
        int end = input.AsSpan().LastIndexOf((byte)'}');
        if (end > 8 && random.Next(4) != 0)
            BinaryPrimitives.WriteInt64LittleEndian(input, end + 1 - 8);
    }

    protected override void Read()
    {
        using SafetensorsFile file = SafetensorsFile.Open(FilePath);
        foreach (SafetensorsEntry entry in file.Entries)
        {
            _ = file.Bytes(entry.Name).Length;
            if (entry.Type is StoredType.Float32 or StoredType.BFloat16 or StoredType.Float16)
                file.ReadFloat32(entry.Name);
        }
    }
}

/// <summary>A model's configuration, and the parameters that it asks for.</summary>
internal sealed class ConfigurationTarget() : FileTarget("config.json", "config.json")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        .. Directory.EnumerateFiles(Repository.PathOf("tests", "golden"), "config.json", SearchOption.AllDirectories)
        .Order(StringComparer.Ordinal).Select(File.ReadAllBytes),
        .. Directory.EnumerateFiles(Repository.PathOf("tests", "golden", "configs"), "*.json")
        .Order(StringComparer.Ordinal).Select(File.ReadAllBytes),
        .. ModelFamily.Names.SelectMany(name => new[]
        {
            ModelFamily.Configuration(name).ToJson(), ModelFamily.Configuration(name).ToOriginalJson(),
        }).Select(Encoding.UTF8.GetBytes),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    // The names of the parameters of a model with as many layers as a configuration may have.
    public override long AllocationLimit(int inputBytes) => (64 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is CheckpointException;

    protected override void Read() => KeyMap.For(ModelConfiguration.Load(Folder), CheckpointNaming.HuggingFace);
}

/// <summary>A tokenizer, and a text there and back.</summary>
internal sealed class TokenizerTarget() : FileTarget("tokenizer.json", "tokenizer.json")
{
    private const string Text = "abc b ca <|im_end|><tool> é\u0301 12 你好\n\n ";

    public override IReadOnlyList<byte[]> Seeds { get; } =
        [Encoding.UTF8.GetBytes(Small(new JsonArray("b c", "a b", "ab c"))),
            Encoding.UTF8.GetBytes(Small(new JsonArray(new JsonArray("b", "c"), new JsonArray("a", "b"))))];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    // The table of as many tokens as a vocabulary may have; one token may have the last number.
    public override long AllocationLimit(int inputBytes) => (64 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is TokenizerException;

    protected override void Read()
    {
        BytePairTokenizer tokenizer = BytePairTokenizer.Load(FilePath);
        tokenizer.Decode(tokenizer.Encode(Text));
    }

    /// <summary>A tokenizer with the 256 bytes, "bc", "ab", "abc" and two added tokens.</summary>
    private static string Small(JsonArray merges)
    {
        var vocabulary = new JsonObject();
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
            vocabulary.Add((value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)value : next++)
                .ToString(), value);
        foreach (string token in (string[])["bc", "ab", "abc"])
            vocabulary.Add(token, vocabulary.Count);
        JsonObject Added(int id, string content, bool special) =>
            new()
            {
                ["id"] = id,
                ["content"] = content,
                ["single_word"] = false,
                ["lstrip"] = false,
                ["rstrip"] = false,
                ["normalized"] = false,
                ["special"] = special
            };
        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray(Added(259, "<|im_end|>", true), Added(260, "<tool>", false)),
            ["normalizer"] = new JsonObject { ["type"] = "NFC" },
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject
                    {
                        ["type"] = "Split",
                        ["pattern"] = new JsonObject { ["Regex"] = @"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+" },
                        ["behavior"] = "Isolated",
                        ["invert"] = false,
                    },
                    new JsonObject
                    {
                        ["type"] = "ByteLevel",
                        ["add_prefix_space"] = false,
                        ["trim_offsets"] = false,
                        ["use_regex"] = false,
                    }),
            },
            ["post_processor"] = null,
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = true, ["use_regex"] = true },
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["merges"] = merges,
                ["vocab"] = vocabulary,
            },
        }.ToJsonString();
    }
}

/// <summary>Questions of an evaluation.</summary>
internal sealed class EvaluationTarget() : FileTarget("evaluation", "data.jsonl")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"id": "1", "question": "What is <image 1>?", "answer": "B", "options": ["a cat", "a dog"], "image": "data.jsonl", "category": "animals", "hint": "It barks."}
        {"id": "2", "question": "1/2 + 1/2?", "answer": ["1", "1.0"], "options": null}

        """u8.ToArray(),
        """
        {"id": 3, "question": "Which?", "answer": "B", "options": {"A": "x", "B": "y"}, "images": ["data.jsonl", "data.jsonl"], "mine": {"a": [1]}}

        """u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is InvalidDataException;

    protected override void Read() => EvaluationData.Fingerprint(EvaluationData.Load(FilePath));
}

/// <summary>Reference values of policy objectives, every number of them.</summary>
internal sealed class LossesTarget() : FileTarget("losses", "losses.json")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"lengths": [2, 1], "groups": [0, 0], "rewards": [1.0, 0.2], "max_completion_length": 4, "current": [[-0.5, -1.25e-1], [-2]], "old": [[-0.5, -0.1], [-1.5]], "reference": [[-1, -1], [-1]],
        "rollout": [[-1, -1], [-1]], "advantages": {"group": [0.7, -0.7], "none": [0.4, -0.4]}, "objectives": {"grpo": {"note": "", "loss": 0.1, "gradient": [[0.1, 0], [-0.2]]}}, "pairs": [[0, 1]]}
        """u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (128L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is CheckpointException;

    protected override void Read()
    {
        LossesFile losses = LossesFile.Read(FilePath);
        foreach (string rows in (string[])["old", "reference", "rollout"])
            losses.Rows(rows);
        _ = losses.MaximumCompletionLength;
        _ = losses.Advantages().Count();
        foreach ((_, Func<LossesObjective> read) in losses.Objectives())
            read();
    }
}

/// <summary>The body of a request for chat completions, with a picture.</summary>
internal sealed class ChatCompletionsTarget() : RequestTarget("chat-completions")
{
    private readonly ChatRequestReader _reader = new("tiny", 151674, new SkylightServerOptions());

    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"model": "tiny", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=",
        "detail": "low"}}, {"type": "text", "text": "What is this?"}]}, {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"}], "temperature": 0.7, "top_p": 0.9, "top_k": 5,
        "seed": -3, "max_tokens": 12, "stop": ["a", "\u00e9\ud83d\ude42"], "logit_bias": {"12": -100, "7": 1.5}, "stream": true, "stream_options": {"include_usage": true}, "n": 2, "logprobs": true,
        "chat_template_kwargs": {"enable_thinking": true}, "reasoning_effort": "low", "response_format": {"type": "text"}, "tools": []}
        """u8.ToArray(),
        """
        {"messages": [{"role": "user", "content": "Look."}, {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "zoom", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}], "tools": [{"type": "function", "function": {"name": "zoom",
        "description": "d", "strict": true, "parameters": {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0}}, "required": ["x"]}}}], "tool_choice": {"type": "function",
        "function": {"name": "zoom"}}, "parallel_tool_calls": false}
        """u8.ToArray(),
        """{"messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 4, "presence_penalty": 0, "user": "me"}"""u8.ToArray(),
    ];

    public override long AllocationLimit(int inputBytes) => (16 << 20) + (64L * inputBytes);

    protected override void Read(byte[] input) => _reader.ReadAsync(input, default).GetAwaiter().GetResult();
}
