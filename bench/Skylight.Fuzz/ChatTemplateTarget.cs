using System.Text;
using System.Text.Json;
using Skylight.Text;
using Skylight.Text.Templates;

namespace Skylight.Fuzz;

/// <summary>
/// A checkpoint's chat template and what it is given: the template, a zero byte, and names with their values as JSON.
/// It is rendered with the names, and where it writes messages tried and used as a checkpoint's own: for prompts, and
/// for chats to learn from.
/// </summary>
internal sealed class ChatTemplateTarget() : FuzzTarget("chat-template")
{
    private const int MostSteps = 500_000;
    private static readonly CharacterTokenizer s_tokenizer = new();
    private static readonly byte[] s_names =
        """{"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true}"""u8.ToArray();

    public override IReadOnlyList<byte[]> Seeds { get; } = [.. ReadSeeds()];

    // What expressions and statements are made of, and what makes much of little.
    public override IReadOnlyList<byte[]> Words { get; } =
        [.. new[]
        {
            "{{ ", " }}", "{% ", "{%- ", " -%}", "{# ", " #}", "{% if x %}", "{% else %}", "{% endif %}",
            "{% for x in messages %}", "{% for x in range(99999) %}", "{% endfor %}", "{% set n = namespace(x=[1]) %}",
            "{% set n.x = [n.x, n.x] %}", "{% set n.x = n %}", "{% set n.x = n.x + n.x %}", "{% set x %}",
            "{% endset %}", "{% macro m(x) %}", "{% endmacro %}", "{{ m(m(1)) }}", "{% break %}", "{% raw %}",
            "{% endraw %}", "{% generation %}", "{% endgeneration %}", "messages", "loop.index0", "content", "n.x",
            "|tojson(indent=9999999999)", "|tojson", "|unique|list", "|join(',')", "|map('upper')", "|replace('a', x)",
            "|indent(99)", "|selectattr('role')", "|abs", "|int", "|length", "|list", "|reverse", "|trim", "|d('a')",
            ".split('a', 1)", ".rsplit('a', 1)", ".replace('a', 'bb', 3)", ".strip('a')", ".items()", ".get('a')",
            ".index(1)", ".count('a')", ".startswith(['a'])", "[::-1]", "[1::9223372036854775807]", "[-1]",
            "9223372036854775807", "-9223372036854775807 - 1", " ** ", " // ", " % -1", " * 99999999", " ~ ", " + ",
            " == ", " in ", " not in ", " is divisibleby(-1)", " is string", " and ", " or ", "not ", " if a else ",
            "raise_exception('a')", "strftime_now('%-d %B')", "dict(a=1)", "<think>", "</think>", "<|im_start|>",
            "<|im_end|>", "<IMG_CONTEXT>", "<image>", "enable_thinking", "\uFDD0",
        }.Select(Encoding.UTF8.GetBytes), [0]];

    // Of 32 Mi characters that may be made, as many that may be written, and what a step takes at most.
    public override long AllocationLimit(int inputBytes) => (512L << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is TemplateException
        || exception.GetType() == typeof(ArgumentException) && ((ArgumentException)exception).ParamName == "turns";

    public override void Run(byte[] input)
    {
        int end = input.AsSpan().LastIndexOf((byte)0);
        string source = Encoding.UTF8.GetString(input.AsSpan(0, end < 0 ? input.Length : end));
        Dictionary<string, object?> names = Names(input.AsMemory(end + 1)) ?? Names(s_names)!;
        JinjaTemplate.Parse(source).Render(names, mostSteps: MostSteps);
        if (!source.Contains("messages", StringComparison.Ordinal))
            return;
        List<ChatTurn> turns = Turns(names.GetValueOrDefault("messages"));
        var template = ChatTemplate.FromJinja("spoilt", source,
            new Dictionary<string, string> { ["bos_token"] = "<|im_start|>", ["eos_token"] = "<|im_end|>" });
        template.Apply(s_tokenizer, turns);
        template.WithThinking(true).Apply(s_tokenizer, turns);
        template.ApplyWithAnswers(s_tokenizer, [.. turns, ChatTurn.Assistant("<think>\na\n</think>\n\nb")]);
    }

    private static IEnumerable<byte[]> ReadSeeds()
    {
        foreach (string file in Directory.EnumerateFiles(Repository.PathOf("tests", "golden", "templates"), "*.json")
            .Order(StringComparer.Ordinal))
        {
            JsonElement golden = JsonText.ParseElement(File.ReadAllBytes(file));
            if (golden.TryGetProperty("snippets", out JsonElement snippets))
            {
                foreach (JsonElement snippet in snippets.EnumerateArray())
                    yield return Seed(snippet.GetProperty("template"), golden.GetProperty("names"));
                continue;
            }

            foreach (JsonElement item in golden.GetProperty("cases").EnumerateArray())
                yield return Seed(golden.GetProperty("template"), item.GetProperty("names"));
        }
    }

    private static byte[] Seed(JsonElement template, JsonElement names) =>
        Encoding.UTF8.GetBytes($"{template.GetString()}\0{names.GetRawText()}");

    private static Dictionary<string, object?>? Names(ReadOnlyMemory<byte> json)
    {
        try
        {
            return TemplateValue.FromJson(JsonText.ParseElement(json)) as Dictionary<string, object?>;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The messages that a host could send.</summary>
    private static List<ChatTurn> Turns(object? messages)
    {
        var turns = new List<ChatTurn>();
        foreach (Dictionary<string, object?> message in (messages as List<object?> ?? [])
            .OfType<Dictionary<string, object?>>())
        {
            object? content = message.GetValueOrDefault("content");
            string text = content as string ?? string.Concat((content as List<object?> ?? [])
                .OfType<Dictionary<string, object?>>().Select(part => part.GetValueOrDefault("text") as string));
            turns.Add(message.GetValueOrDefault("role") switch
            {
                "system" => ChatTurn.System(text),
                "assistant" => ChatTurn.Assistant(text),
                _ => content is string ? ChatTurn.User(text) : ChatTurn.User(new ChatText(text), new ChatImage(2)),
            });
        }

        return turns.Count > 0 ? turns : [ChatTurn.User("a")];
    }

    /// <summary>A token for each character, and those that prompts need.</summary>
    private sealed class CharacterTokenizer : ITokenizer
    {
        private static readonly string[] s_added =
            ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<img>", "<IMG_CONTEXT>", "</img>", "<think>", "</think>"];

        public int VocabularySize => 0x10000 + s_added.Length;

        public IReadOnlyCollection<string> AddedTokens => s_added;

        public int[] Encode(string text, bool allowSpecial = false) => [.. text.Select(character => (int)character)];

        public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false) => throw new NotSupportedException();

        public int? TokenId(string specialToken) =>
            Array.IndexOf(s_added, specialToken) is var at and >= 0 ? 0x10000 + at : null;

        public bool IsSpecial(int token) => token >= 0x10000;
    }
}
