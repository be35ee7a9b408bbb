using System.Text;
using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>
/// The parts of JSON as they are written here: white space only where people and programs put it, and of that no
/// endless amount; strings without half surrogate pairs.
/// </summary>
internal sealed class JsonForms
{
    private const int MostIndentation = 64, MostExponentDigits = 3;

    private static readonly CharacterSet s_plain = CharacterSet.Of((0, 0x1F), ('"', '"'), ('\\', '\\')).Complement();
    private static readonly Form s_digit = new Form.OneByte((byte)'0', (byte)'9');

    private readonly Rule _space = new("white space");
    private readonly Rule _any = new("any JSON");
    private readonly Rule _anyObject = new("any object");
    private readonly Rule _anyArray = new("any array");
    private readonly Rule _string = new("any string");
    private readonly Dictionary<CharacterSet, Form> _characters = [];

    public JsonForms()
    {
        Form line = Form.Of(Form.Optional(Form.Text("\r")), Form.Text("\n"), Form.Either(
            new Form.Repeated(Form.Text(" "), 0, MostIndentation), new Form.Repeated(Form.Text("\t"), 1, MostIndentation)));
        _space.Body = Form.Either(Form.Text(" "), line);
        Space = Form.Optional(new Form.Call(_space));
        _string.Body = Form.Of(Form.Text("\""), new Form.Repeated(AnyCharacter(), 0, null), Form.Text("\""));
        Form member = Form.Of(String, Colon, Any);
        _anyObject.Body = Form.Of(Form.Text("{"), Space, Form.Optional(List(member, Space)), Form.Text("}"));
        _anyArray.Body = Form.Of(Form.Text("["), Space, Form.Optional(List(Any, Space)), Form.Text("]"));
        _any.Body = Form.Either(Object, Array, String, Number, Form.Text("true"), Form.Text("false"), Form.Text("null"));
    }

    /// <summary>A space, or a new line with its indentation, or nothing.</summary>
    public Form Space { get; }

    /// <summary>What stands between two members or items.</summary>
    public Form Comma => Form.Of(Form.Text(","), Space);

    /// <summary>What stands between a name and its value.</summary>
    public Form Colon { get; } = Form.Of(Form.Text(":"), Form.Optional(Form.Text(" ")));

    /// <summary>Any value.</summary>
    public Form Any => new Form.Call(_any);

    /// <summary>Any object.</summary>
    public Form Object => new Form.Call(_anyObject);

    /// <summary>Any array.</summary>
    public Form Array => new Form.Call(_anyArray);

    /// <summary>Any string, in any spelling.</summary>
    public Form String => new Form.Call(_string);

    /// <summary>Any whole number, without a fraction or an exponent.</summary>
    public static Form Integer { get; } = Form.Of(Form.Optional(Form.Text("-")), Form.Either(Form.Text("0"),
        Form.Of(new Form.OneByte((byte)'1', (byte)'9'), new Form.Repeated(s_digit, 0, null))));

    /// <summary>Any number.</summary>
    public static Form Number { get; } = Form.Of(Integer,
        Form.Optional(Form.Of(Form.Text("."), new Form.Repeated(s_digit, 1, null))),
        Form.Optional(Form.Of(Form.Either(Form.Text("e"), Form.Text("E")),
            Form.Optional(Form.Either(Form.Text("+"), Form.Text("-"))),
            new Form.Repeated(s_digit, 1, MostExponentDigits))));

    /// <summary>Strings of a regular set; characters are escaped only where JSON asks for it.</summary>
    public Form StringOf(CharacterNfa texts) => Form.Of(Form.Text("\""), Form.Characters(texts, Character), Form.Text("\""));

    /// <summary>One value as it is; only white space is left open.</summary>
    public Form Value(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => Bracketed("{", [.. value.EnumerateObject().Select(
            member => Form.Of(Name(member.Name), Value(member.Value)))], "}"),
        JsonValueKind.Array => Bracketed("[", [.. value.EnumerateArray().Select(Value)], "]"),
        JsonValueKind.String => Form.Text(Quoted(value.GetString()!)),
        _ => Form.Text(value.GetRawText()),
    };

    /// <summary>A member's name and the colon behind it.</summary>
    public Form Name(string name) => Form.Of(Form.Text(Quoted(name)), Colon);

    /// <summary>A string as it is written here: escaped only where JSON asks for it.</summary>
    public static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (char character in text)
            quoted.Append(Escape(character) ?? character.ToString());
        return quoted.Append('"').ToString();
    }

    private Form Bracketed(string open, Form[] items, string close)
    {
        if (items.Length == 0)
            return Form.Of(Form.Text(open), Space, Form.Text(close));
        List<Form> parts = [Form.Text(open), Space, items[0]];
        foreach (Form item in items.AsSpan(1))
            parts.AddRange([Comma, item]);
        return Form.Of([.. parts, Space, Form.Text(close)]);
    }

    private Form List(Form item, Form end) =>
        Form.Of(item, new Form.Repeated(Form.Of(Comma, item), 0, null), end);

    /// <summary>One character of a set. Where it is more than ASCII it is a rule, which many places may share.</summary>
    private Form Character(CharacterSet set)
    {
        if (_characters.TryGetValue(set, out Form? known))
            return known;
        var parts = new List<Form>();
        CharacterSet plain = set.Intersect(s_plain);
        if (!plain.IsEmpty)
            parts.Add(Utf8Form.Of(plain));
        foreach ((int first, int last) in set.Without(s_plain).Ranges)
            parts.Add(Form.OneOf(Enumerable.Range(first, last - first + 1).SelectMany(Spellings)));
        Form written = Form.Either(parts);
        if (!plain.IsEmpty && plain.Ranges[^1].Last > 0x7F)
            written = new Form.Call(new Rule("a character of a string") { Body = written });
        _characters.Add(set, written);
        return written;
    }

    private static IEnumerable<byte[]> Spellings(int character)
    {
        string[] spellings = [Escape((char)character)!, $"\\u{character:x4}", $"\\u{character:X4}"];
        return spellings.Distinct().Select(Encoding.UTF8.GetBytes);
    }

    private static string? Escape(char character) => character switch
    {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\b' => "\\b",
        '\f' => "\\f",
        < ' ' => $"\\u{(int)character:x4}",
        _ => null,
    };

    /// <summary>A character of a string in any spelling.</summary>
    private static Form AnyCharacter()
    {
        Form digit = Form.Either(s_digit, Letters('a', 'f'), Letters('A', 'F'));
        Form two = Form.Of(digit, digit), three = Form.Of(digit, digit, digit);
        Form d = Form.Either(Form.Text("d"), Form.Text("D"));
        Form notD = Form.Either(s_digit, Letters('a', 'c'), Letters('A', 'C'), Letters('e', 'f'), Letters('E', 'F'));
        Form whole = Form.Either(Form.Of(notD, three),
            Form.Of(d, new Form.OneByte((byte)'0', (byte)'7'), two));
        Form high = Form.Of(d, Form.Either(Letters('8', '9'), Letters('a', 'b'), Letters('A', 'B')), two);
        Form low = Form.Of(d, Form.Either(Letters('c', 'f'), Letters('C', 'F')), two);
        Form code = Form.Either(whole, Form.Of(high, Form.Text("\\u"), low));
        return Form.Either(Utf8Form.Of(s_plain), Form.Of(Form.Text("\\"), Form.Either(
            Form.OneOf("\"\\/bfnrt".Select(letter => new[] { (byte)letter })), Form.Of(Form.Text("u"), code))));
    }

    private static Form Letters(char first, char last) => new Form.OneByte((byte)first, (byte)last);
}
