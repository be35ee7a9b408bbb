using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>The kinds of values; whole numbers are told from others.</summary>
[Flags]
internal enum ValueTypes
{
    None = 0,
    Null = 1,
    Boolean = 2,
    Object = 4,
    Array = 8,
    String = 16,
    Whole = 32,
    Fraction = 64,
    Number = Whole | Fraction,
    All = 127,
}

/// <summary>What schemas that hold at once say of single values.</summary>
internal sealed class SchemaFacts
{
    private static readonly string[] s_inside = ["properties", "required", "additionalProperties", "minProperties",
        "maxProperties", "items", "prefixItems", "minItems", "maxItems"];

    private readonly IReadOnlyList<SchemaPlace> _places;
    private CharacterNfa? _strings;

    /// <summary>Reads the keywords of one alternative.</summary>
    /// <param name="places">Schemas that hold at once.</param>
    /// <param name="path">Where errors say they are.</param>
    public SchemaFacts(IReadOnlyList<SchemaPlace> places, string path)
    {
        (_places, Path) = (places, path);
        Types = Given("type").Aggregate(ValueTypes.All, (types, type) => types & TypesOf(type));
        Values = ReadValues();
    }

    /// <summary>Where the schemas are.</summary>
    public string Path { get; }

    /// <summary>The schemas.</summary>
    public IReadOnlyList<SchemaPlace> Places => _places;

    /// <summary>The types that are allowed.</summary>
    public ValueTypes Types { get; }

    /// <summary>The values that are allowed, where they are listed.</summary>
    public IReadOnlyList<JsonElement>? Values { get; }

    /// <summary>What is said by a keyword, in all schemas that have it.</summary>
    public IEnumerable<SchemaPlace> Given(string keyword) =>
        _places.Select(place => place[keyword]).OfType<SchemaPlace>();

    /// <summary>The greatest of several counts; null if there is none.</summary>
    public int? Least(string keyword) => Given(keyword).Max(place => (int?)place.Count());

    /// <summary>The least of several counts.</summary>
    public int? Most(string keyword) => Given(keyword).Min(place => (int?)place.Count());

    /// <summary>Which numbers are allowed.</summary>
    public NumberRange Numbers
    {
        get
        {
            (DecimalNumber? least, bool leastIsOut) = Bound("minimum", "exclusiveMinimum", 1);
            (DecimalNumber? most, bool mostIsOut) = Bound("maximum", "exclusiveMaximum", -1);
            var range = new NumberRange((Types & ValueTypes.Fraction) == 0, least, leastIsOut, most, mostIsOut, Step());
            foreach (SchemaPlace format in Given("format"))
                range = SchemaFormats.Narrow(range, format);
            return range;
        }
    }

    /// <summary>Whether strings are limited.</summary>
    public bool LimitsStrings => Given("pattern").Any() || Given("minLength").Any() || Given("maxLength").Any()
        || Given("format").Any(format => SchemaFormats.PatternOf(format) is not null);

    /// <summary>Which strings are allowed.</summary>
    /// <exception cref="ConstraintException">A pattern or a format cannot be held.</exception>
    public CharacterNfa Strings()
    {
        if (_strings is not null)
            return _strings;
        CharacterNfa? texts = null;
        foreach (SchemaPlace pattern in Given("pattern"))
            Add(CharacterNfa.Of(PatternParser.Parse(pattern.Text(), pattern.Path), isSearched: true, pattern.Path));
        foreach (SchemaPlace format in Given("format"))
        {
            if (SchemaFormats.PatternOf(format) is { } pattern)
                Add(CharacterNfa.Of(PatternParser.Parse(pattern, format.Path), isSearched: false, format.Path));
        }

        int? least = Least("minLength"), most = Most("maxLength");
        if (texts is null || least > 0 || most is not null)
            Add(CharacterNfa.OfLength(least ?? 0, most, Path));
        return _strings = texts!;

        void Add(CharacterNfa more) => texts = texts is null ? more : texts.Intersect(more, Path);
    }

    private (DecimalNumber? Bound, bool IsOut) Bound(string within, string outside, int sign)
    {
        DecimalNumber? bound = null;
        bool isOut = false;
        foreach ((SchemaPlace place, bool excludes) in Given(within).Select(place => (place, false))
            .Concat(Given(outside).Select(place => (place, true))))
        {
            DecimalNumber number = place.Number();
            int order = bound is { } known ? sign * number.CompareTo(known) : 1;
            if (order > 0)
                (bound, isOut) = (number, excludes);
            else if (order == 0)
                isOut |= excludes;
        }

        return (bound, isOut);
    }

    private DecimalNumber? Step()
    {
        DecimalNumber? step = null;
        foreach (SchemaPlace place in Given("multipleOf"))
        {
            DecimalNumber number = place.Number();
            if (number.Mantissa.Sign <= 0)
                throw place.Wrong("above 0");
            step = step is { } known ? DecimalNumber.LeastCommonMultiple(known, number) : number;
        }

        return step;
    }

    private static ValueTypes TypesOf(SchemaPlace type)
    {
        if (type.Value.ValueKind == JsonValueKind.Array)
            return type.Items().Aggregate(ValueTypes.None, (types, item) => types | TypeOf(item));
        return TypeOf(type);

        static ValueTypes TypeOf(SchemaPlace place) => (place.Value.ValueKind == JsonValueKind.String ? place.Text() : "") switch
        {
            "null" => ValueTypes.Null,
            "boolean" => ValueTypes.Boolean,
            "object" => ValueTypes.Object,
            "array" => ValueTypes.Array,
            "string" => ValueTypes.String,
            "integer" => ValueTypes.Whole,
            "number" => ValueTypes.Number,
            _ => throw place.Wrong("a type: \"string\", \"number\", \"integer\", \"boolean\", \"object\", \"array\", " +
                "\"null\", or a list of them"),
        };
    }

    /// <summary>The listed values that all lists have, and that the other keywords allow.</summary>
    private List<JsonElement>? ReadValues()
    {
        List<JsonElement>? values = null;
        foreach (SchemaPlace constant in Given("const"))
            Keep([constant.Value], constant);
        foreach (SchemaPlace list in Given("enum"))
            Keep([.. list.Items().Select(item => item.Value)], list);
        return values is null ? null : [.. values.Where(IsAllowed)];

        void Keep(List<JsonElement> more, SchemaPlace place)
        {
            if (values is null)
            {
                values = more;
                return;
            }

            if (values.Concat(more).Any(value => KeyOf(value) is null))
                throw new ConstraintException(place.Path,
                    $"{place.Path}: several lists of values that hold objects or lists cannot be held at once.");
            HashSet<string> keys = [.. more.Select(value => KeyOf(value)!)];
            values = [.. values.Where(value => keys.Contains(KeyOf(value)!))];
        }
    }

    /// <summary>A text that equal values have in common; null of objects and lists.</summary>
    public static string? KeyOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object or JsonValueKind.Array => null,
        JsonValueKind.String => $"\"{value.GetString()}",
        JsonValueKind.Number => DecimalNumber.Parse(value)?.ToString() ?? value.GetRawText(),
        _ => value.GetRawText(),
    };

    private bool IsAllowed(JsonElement value)
    {
        if ((TypeOf(value) & Types) == 0)
            return false;
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                return !LimitsStrings || Strings().Matches(value.GetString()!);
            case JsonValueKind.Number:
                return DecimalNumber.Parse(value) is { } number && (Numbers with { IsWhole = false }).Contains(number);
            case JsonValueKind.Object or JsonValueKind.Array:
                string? inside = s_inside.FirstOrDefault(keyword => Given(keyword).Any());
                return inside is null ? true : throw new ConstraintException($"{Path}/{inside}",
                    $"{Path}: '{inside}' cannot be held beside listed objects or lists; leave it out.");
            default:
                return true;
        }
    }

    /// <summary>The type of a value.</summary>
    public static ValueTypes TypeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => ValueTypes.Null,
        JsonValueKind.True or JsonValueKind.False => ValueTypes.Boolean,
        JsonValueKind.Object => ValueTypes.Object,
        JsonValueKind.Array => ValueTypes.Array,
        JsonValueKind.String => ValueTypes.String,
        _ => DecimalNumber.Parse(value) is { Scale: 0 } ? ValueTypes.Whole : ValueTypes.Fraction,
    };
}
