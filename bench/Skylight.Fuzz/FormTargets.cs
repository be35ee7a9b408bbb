using System.Text;
using Skylight.Constraints;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Fuzz;

/// <summary>A form for answers: what can be held begins an answer that can go on.</summary>
internal abstract class FormTarget(string name) : FuzzTarget(name)
{
    private const int MostTokens = 24, MostMessage = 4000;

    private static readonly ConstraintVocabulary s_vocabulary = new(new ByteTokenizer());

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    // Of a hundred thousand states with their edges, and what answers need of them.
    public override long AllocationLimit(int inputBytes) => (1L << 30) + (512L * inputBytes);

    public override bool IsDocumented(Exception exception) =>
        exception is ConstraintException { Message.Length: > 10 and < MostMessage };

    public override void Run(byte[] input)
    {
        var run = new ConstraintRun(new TokenConstraint(Make(Encoding.UTF8.GetString(input)), s_vocabulary));
        var random = new CounterRandom((ulong)input.Length, 1);
        for (int token = 0; token < MostTokens && run.Mask.Count > 0; token++)
        {
            int[] allowed = [.. Enumerable.Range(0, 256).Where(run.Mask.Contains)];
            run.Accept(allowed[random.Next(allowed.Length)]);
            if (run.IsStuck)
                throw new InvalidOperationException("Nothing may follow, and the answer has not its form.");
        }
    }

    protected abstract Constraint Make(string text);

    private sealed class ByteTokenizer : ITokenizer
    {
        private static readonly byte[] s_bytes = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

        public int VocabularySize => 256;

        public ReadOnlySpan<byte> TokenBytes(int token) => s_bytes.AsSpan(token, 1);

        public int[] Encode(string text, bool allowSpecial = false) => throw new NotSupportedException();

        public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false) => throw new NotSupportedException();

        public int? TokenId(string specialToken) => null;

        public bool IsSpecial(int token) => false;
    }
}

/// <summary>JSON schemas.</summary>
internal sealed class JsonSchemaTarget() : FormTarget("json-schema")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        """
        {"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$"},
         "n": {"type": "integer", "minimum": 0, "exclusiveMaximum": 100, "multipleOf": 5}, "x": {"type": ["number", "null"],
         "multipleOf": 0.25}, "d": {"type": "string", "format": "date-time"}, "child": {"$ref": "#/$defs/node"}},
         "required": ["name", "n"], "additionalProperties": false, "$defs": {"node": {"type": "array", "items":
         {"$ref": "#/$defs/node"}, "maxItems": 3}}}
        """u8.ToArray(),
        """
        {"anyOf": [{"enum": ["a", 1, null, {"b": [1]}]}, {"allOf": [{"type": "object", "minProperties": 1},
         {"additionalProperties": {"type": "boolean"}, "maxProperties": 4}]}, {"oneOf": [{"type": "array", "prefixItems":
         [{"const": 1}, true], "items": false, "minItems": 1}, {"type": "string", "format": "uuid"}]}], "title": "t"}
        """u8.ToArray(),
    ];

    protected override Constraint Make(string text) => Constraint.JsonSchema(text);
}

/// <summary>Grammars in llama.cpp's notation.</summary>
internal sealed class GrammarTarget() : FormTarget("grammar")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        "root ::= sum # c\nsum ::= product ([-+] product)*\nproduct ::= factor (\"*\" factor | \"/\" factor)*\nfactor ::= [0-9]{1,3} | \"(\" sum \")\"\n"u8
            .ToArray(),
        "root ::= (item \",\")+ end?\nitem ::= [^,\\n\\]\\x41-\\u00ff]{2} | .\nend ::= \"\\\"\\\\\\U0001F600\" | root \"!\"\n"u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words { get; } = [.. new[] { "root", "::=", "sum", "product", "|", "(", ")", "*", "+",
        "?", "{2}", "{,3}", "{1,}", "\"a\"", "[a-z]", "[^a]", ".", "\n", "#", "\\x41", "\"\"" }.Select(Encoding.UTF8.GetBytes)];

    protected override Constraint Make(string text) => Constraint.Grammar(text);
}

/// <summary>Regular expressions.</summary>
internal sealed class PatternTarget() : FormTarget("pattern")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        "^(?:[a-z\\d_]{1,8}|\\p{Lu}+?)@(?<host>[^\\s@.]+\\.)*(com|org)$"u8.ToArray(),
        "(a|b(c|d*){2,3})+\\u00e9\\x41[\\]\\-]?.*"u8.ToArray(),
    ];

    public override IReadOnlyList<byte[]> Words { get; } = [.. new[] { "(", "(?:", "(?<a>", ")", "|", "*", "+", "?", "{2,3}",
        "{0,40}", "[a-z]", "[^a]", "\\d", "\\W", "\\p{L}", "\\P{N}", "\\u{1F600}", "\\ud83d\\ude00", "^", "$", ".", "\\\\" }
        .Select(Encoding.UTF8.GetBytes)];

    protected override Constraint Make(string text) => Constraint.Regex(text);
}
