using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Json.Schema;
using Skylight.Constraints;
using Skylight.Tensors;

namespace Skylight.Tests.Constraints;

/// <summary>
/// JSON of a schema, against a validator of somebody else's: whatever the masks let through is valid, and what is valid
/// they let through.
/// </summary>
public sealed class JsonSchemaConstraintTests
{
    private static readonly EvaluationOptions s_evaluation =
        new() { OutputFormat = OutputFormat.Flag, RequireFormatValidation = true };

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Random_answers_are_valid_and_random_values_are_reached(int part)
    {
        var random = new CounterRandom(0x15C, (ulong)part);
        int answers = 0, values = 0, schemas = 0, impossible = 0;
        for (int index = 0; index < 60; index++)
        {
            var source = new RandomSchema((ulong)(1000 * part + index));
            JsonObject schema = source.Schema();
            string text = schema.ToJsonString();
            JsonSchema validator = JsonSchema.FromText(text);
            TokenConstraint constraint;
            try
            {
                constraint = new TokenConstraint(Constraint.JsonSchema(text), FormCheck.Small);
            }
            catch (ConstraintException exception) when (exception.Message.Contains("cannot be satisfied", StringComparison.Ordinal))
            {
                Assert.All(Enumerable.Range(0, 20), _ => Assert.Null(source.Value(schema, schema)));
                impossible++;
                continue;
            }

            schemas++;
            for (int attempt = 0; attempt < 8; attempt++)
            {
                if (source.Value(schema, schema) is not { } value)
                    continue;
                Assert.True(IsValid(validator, value), $"The test's own value is not valid: {text}\n{value}");
                foreach (string spelled in Spellings(value))
                    Assert.True(FormCheck.Has(constraint, spelled, (ulong)attempt), $"{text}\n{spelled}");
                values++;
            }

            for (int walk = 0; walk < 6; walk++)
            {
                if (FormCheck.Walk(constraint, ref random) is not { } bytes)
                    continue;
                string answer = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
                Assert.True(IsValid(validator, answer), $"{text}\n{answer}");
                answers++;
            }
        }

        Assert.True(schemas > 40 && answers > 80 && values > 150,
            $"{schemas} schemas, {impossible} impossible, {answers} answers, {values} values");
    }

    [Fact]
    public void Numbers_keep_their_bounds()
    {
        string[] spellings = [.. from sign in (string[])["", "-"] from whole in (string[])["0", "1", "2", "9", "10", "11",
            "19", "20", "25", "99", "100", "101"] from fraction in (string[])["", ".0", ".05", ".25", ".5", ".50", ".75",
            ".99", ".125"] select sign + whole + fraction];
        var random = new CounterRandom(0x1B, 1);
        decimal[] steps = [0.25m, 0.5m, 1, 2, 3, 7, 10],
            bounds = [-100, -10.5m, -1, -0.25m, 0, 0.05m, 1, 9.99m, 10, 20.125m, 100];
        int held = 0;
        for (int index = 0; index < 150; index++)
        {
            bool isWhole = random.Next(2) == 0;
            var schema = new JsonObject { ["type"] = isWhole ? "integer" : "number" };
            decimal? least = Pick(bounds), most = Pick(bounds), step = random.Next(2) == 0 ? null : Pick(steps);
            bool leastIsOut = random.Next(2) == 0, mostIsOut = random.Next(2) == 0;
            if (least is { } low)
                schema[leastIsOut ? "exclusiveMinimum" : "minimum"] = low;
            if (most is { } high)
                schema[mostIsOut ? "exclusiveMaximum" : "maximum"] = high;
            if (step is { } of)
                schema["multipleOf"] = of;
            Constraint constraint;
            try
            {
                constraint = Constraint.JsonSchema(schema.ToJsonString());
            }
            catch (ConstraintException)
            {
                Assert.DoesNotContain(spellings, Expected);
                continue;
            }

            var masked = new TokenConstraint(constraint, FormCheck.Small);
            foreach (string spelled in spellings)
            {
                bool expected = Expected(spelled);
                // Zeros that a step does not need are not written; a zero with a sign is, where anything below it may be.
                bool isOdd = decimal.Parse(spelled) == 0 && spelled[0] == '-'
                    || step is not null && spelled.Contains('.') && spelled.EndsWith('0');
                if (!isOdd)
                    Assert.True(FormCheck.Has(masked, spelled) == expected, $"{schema.ToJsonString()} with {spelled}");
                held += expected ? 1 : 0;
            }

            decimal? Pick(decimal[] among) => random.Next(3) == 0 ? null : among[random.Next(among.Length)];

            bool Expected(string spelled)
            {
                decimal number = decimal.Parse(spelled, System.Globalization.CultureInfo.InvariantCulture);
                return (!isWhole || !spelled.Contains('.'))
                    && (least is not { } l || (leastIsOut ? number > l : number >= l))
                    && (most is not { } m || (mostIsOut ? number < m : number <= m))
                    && (step is not { } s || number % s == 0);
            }
        }

        Assert.True(held > 1000);
    }

    /// <summary>Each definition names the one before twice: taken apart one by one they would be 2⁶⁰.</summary>
    [Fact]
    public void Schemas_that_several_refer_to_are_taken_apart_once()
    {
        string definitions = string.Concat(Enumerable.Range(1, 60).Select(index =>
            $$""", "d{{index}}": {"allOf": [{"$ref": "#/$defs/d{{index - 1}}"}, {"$ref": "#/$defs/d{{index - 1}}"}]}"""));
        var constraint = Constraint.JsonSchema(
            $$$"""{"$ref": "#/$defs/d20", "$defs": {"d0": {"type": "boolean"}{{{definitions}}}}}""");
        Assert.True(FormCheck.Has(constraint, "true"));
        Assert.False(FormCheck.Has(constraint, "1"));
        string alternatives = string.Concat(Enumerable.Range(1, 60).Select(index =>
            $$""", "d{{index}}": {"allOf": [{"$ref": "#/$defs/d{{index - 1}}"}, {"$ref": "#/$defs/e{{index}}"}]}, "e{{index}}": {"anyOf": [{"minLength": {{index}}}, {"maxLength": {{index}}}]}"""));
        Assert.Contains("combine to more than", Assert.Throws<ConstraintException>(() => Constraint.JsonSchema(
            $$$"""{"$ref": "#/$defs/d30", "$defs": {"d0": {"type": "string"}{{{alternatives}}}}}""")).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("date", "2024-02-29", "2023-02-29", "2024-13-01", "0000-01-01", "1900-02-29")]
    [InlineData("time", "12:00:00+01:00", "12:00", "24:00:00Z")]
    [InlineData("date-time", "2024-01-31T23:59:59.5Z", "2024-01-31 23:59:59Z", "2024-01-31T23:59:59")]
    [InlineData("duration", "P1DT2H", "P", "PT", "1D")]
    [InlineData("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000")]
    [InlineData("email", "a.b@c.de", "a@", "@b", "a b@c")]
    [InlineData("hostname", "a-b.c", "-a", "a..b")]
    [InlineData("ipv4", "255.1.0.9", "256.1.1.1", "1.1.1", "01.1.1.1")]
    [InlineData("ipv6", "fe80::1:2", "12345::", "::1::2")]
    [InlineData("uri", "https://a.b/c?d=e#f", "//a", "a b:c")]
    public void Formats_are_held(string format, string good, params string[] bad)
    {
        var constraint = Constraint.JsonSchema($$"""{"type": "string", "format": "{{format}}"}""");
        Assert.True(FormCheck.Has(constraint, $"\"{good}\""));
        Assert.All(bad, text => Assert.False(FormCheck.Has(constraint, $"\"{text}\""), text));
    }

    [Theory]
    [InlineData("""{"type": "object", "properties": {"a": {"type": "string", "minLength": 5, "maxLength": 3}}, "required": ["a"]}""",
        "#/properties/a", "there is nothing that #/properties/a allows")]
    [InlineData("""{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}""", "#", "never ends")]
    [InlineData("""{"$ref": "#"}""", "#", "refers to itself")]
    [InlineData("""{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}""", "#/$defs/a",
        "refers to itself")]
    [InlineData("false", "#", "cannot be satisfied")]
    [InlineData("""{"type": []}""", "#", "cannot be satisfied")]
    [InlineData("""{"type": "integer", "minimum": 3, "maximum": 2}""", "#", "cannot be satisfied")]
    [InlineData("""{"type": "integer", "enum": ["a", 1.5]}""", "#", "cannot be satisfied")]
    [InlineData("""{"type": "array", "minItems": 3, "maxItems": 2}""", "#", "cannot be satisfied")]
    [InlineData("""{"type": "object", "additionalProperties": false, "required": ["a"]}""", "#/additionalProperties",
        "cannot be satisfied")]
    [InlineData("""{"properties": {"a": {"not": {}}}}""", "#/properties/a/not", "'not' cannot be held")]
    [InlineData("""{"requird": []}""", "#/requird", "did you mean 'required'?")]
    [InlineData("""{"type": "strin"}""", "#/type", "must be a type")]
    [InlineData("""{"type": "array", "uniqueItems": true}""", "#/uniqueItems", "all items differ")]
    [InlineData("""{"type": "array", "items": [{}]}""", "#/items", "'prefixItems'")]
    [InlineData("""{"type": "string", "format": "color"}""", "#/format", "cannot be held. Known are date")]
    [InlineData("""{"type": "string", "pattern": "(?=a)"}""", "#/pattern", "looks ahead")]
    [InlineData("""{"type": "string", "maxLength": 1e9}""", "#/maxLength", "too large")]
    [InlineData("""{"type": "string", "minLength": -1}""", "#/minLength", "0 or more")]
    [InlineData("""{"type": "number", "multipleOf": 0}""", "#/multipleOf", "above 0")]
    [InlineData("""{"type": "number", "multipleOf": 1e12}""", "#", "'multipleOf' cannot be held")]
    [InlineData("""{"type": "number", "minimum": "1"}""", "#/minimum", "must be a number")]
    [InlineData("""{"oneOf": [{"type": "number"}, {"type": "integer"}]}""", "#/oneOf", "could fit both 0 and 1")]
    [InlineData("""{"anyOf": []}""", "#/anyOf", "not empty")]
    [InlineData("""{"$ref": "http://example.org/x"}""", "#/$ref", "not within the schema")]
    [InlineData("""{"$ref": "#/$defs/x"}""", "#/$ref", "nothing at")]
    [InlineData("""{"properties": []}""", "#/properties", "must be an object")]
    [InlineData("""{"properties": {"a~/b": 1}}""", "#/properties/a~0~1b", "a schema")]
    [InlineData("[]", "#", "a schema")]
    [InlineData("""{"type": "string", "maxLength": 90000, "pattern": "^(ab|cd|ef)*$"}""", "#", "states")]
    [InlineData("""{"patternProperties": {"a": {}}}""", "#/patternProperties", "'additionalProperties'")]
    [InlineData("""{"unevaluatedProperties": false}""", "#/unevaluatedProperties", "'additionalProperties'")]
    [InlineData("""{"type": ["string", "null"], "nullable": true}""", "#/nullable", "\"null\" among the types")]
    public void What_cannot_be_held_is_refused_with_its_place(string schema, string path, string expected)
    {
        ConstraintException refused = Assert.Throws<ConstraintException>(() => Constraint.JsonSchema(schema));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.Equal(path, refused.Path);
        PlainWords.Check(refused.Message);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("")]
    [InlineData("{\"a\":1,\"a\":2}")]
    [InlineData("\"\\ud800\"")]
    public void A_schema_that_is_no_json_is_refused(string schema) => Assert.Contains("not valid JSON",
        Assert.Throws<ConstraintException>(() => Constraint.JsonSchema(schema)).Message, StringComparison.Ordinal);

    [Fact]
    public void Combined_schemas_hold_at_once()
    {
        var constraint = Constraint.JsonSchema("""
            {"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"maximum": 9}}, "required": ["b"]}],
             "properties": {"c": {"enum": [1, "x"]}}, "$defs": {"base": {"type": "object",
             "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "integer", "minimum": 8}}, "required": ["a"]}}}
            """);
        Assert.True(FormCheck.Has(constraint, """{"c":1,"a":"x","b":9}"""));
        Assert.True(FormCheck.Has(constraint, """{"a":"x","b":8,"other":null}"""));
        Assert.False(FormCheck.Has(constraint, """{"a":"x","b":7}"""));
        Assert.False(FormCheck.Has(constraint, """{"a":"xx","b":9}"""));
        Assert.False(FormCheck.Has(constraint, """{"a":"x"}"""));
        Assert.False(FormCheck.Has(constraint, """{"a":"x","b":9,"b":1}"""));
    }

    [Fact]
    public void Any_json_is_what_a_parser_reads()
    {
        var random = new CounterRandom(0xA11, 1);
        var constraint = new TokenConstraint(Constraint.Json(), FormCheck.Small);
        int read = 0;
        for (int walk = 0; walk < 200; walk++)
        {
            if (FormCheck.Walk(constraint, ref random) is not { } bytes)
                continue;
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 400 });
            read++;
        }

        Assert.True(read > 60, $"{read} were read");
        foreach (string text in (string[])["""{"a": [1, -0.5e-3, {"b": "c\u00e9\ud83d\ude42\/"}], "": {}}""", "[]", "null",
            "\"\\u0000\""])
            Assert.True(FormCheck.Has(constraint, text), text);
        foreach (string text in (string[])["{a:1}", "[1,]", "01", "\"\\ud83d\"", "\"\\ude42\"", "\"\n\"", "1.", "nul", "{\"a\" :1}"])
            Assert.False(FormCheck.Has(constraint, text), text);
        Assert.False(FormCheck.Has(Constraint.JsonObject(), "[]"));
    }

    private static bool IsValid(JsonSchema schema, string value) =>
        schema.Evaluate(JsonDocument.Parse(value).RootElement, s_evaluation).IsValid;

    /// <summary>As it is, without white space, and with a line for each member.</summary>
    private static IEnumerable<string> Spellings(string value)
    {
        var readable = new JsonSerializerOptions
        {
            WriteIndented = true,
            NewLine = "\n",
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };
        JsonElement element = JsonDocument.Parse(value).RootElement;
        yield return value;
        // The library escapes what lies beyond the basic plane, which strings with limits are not written with here.
        foreach (bool isIndented in (bool[])[false, true])
            yield return JsonSerializer.Serialize(element, new JsonSerializerOptions(readable) { WriteIndented = isIndented })
                .Replace("\\uD83D\\uDE00", "😀", StringComparison.Ordinal);
    }
}
