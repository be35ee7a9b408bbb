using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>
/// A form that answers are held to: at every place only tokens are drawn with which the answer can still come to have
/// it, and the answer ends only where it does. Made once and used for any number of answers, by any number of threads;
/// which tokens fit is found out as answers come along, and kept. docs/structured.md says what can be held.
/// </summary>
/// <example>
/// <code>
/// var options = new GenerationOptions { Constraint = Constraint.Choice("yes", "no") };
/// ChatAnswer answer = await model.CompleteAsync([Message.User("Is there a dog?", picture)], options);
/// </code>
/// </example>
public sealed class Constraint
{
    private const int MostThinkBreaks = 3;

    private readonly Form _form;
    private readonly string _description;

    private Constraint(string kind, string source, string description, Form form)
    {
        (Key, _description, _form) = ($"{kind}\n{source}", description, form);
        Automaton = ByteAutomatonCompiler.Compile(form, description);
    }

    /// <summary>The same for the same form, so that what is known of it can be found again.</summary>
    internal string Key { get; }

    /// <summary>The form as an automaton.</summary>
    internal ByteAutomaton Automaton { get; }

    /// <summary>Any JSON: an object, a list, a string, a number, true, false or null.</summary>
    public static Constraint Json() => new("json", "", "any JSON", new JsonForms().Any);

    /// <summary>Any JSON object.</summary>
    public static Constraint JsonObject() => new("object", "", "a JSON object", new JsonForms().Object);

    /// <summary>JSON of a schema. Properties come in the order of the schema, those that it does not name last.</summary>
    /// <param name="schema">A JSON schema: an object, true or false.</param>
    /// <exception cref="ConstraintException">The schema is broken, asks for what cannot be held, cannot be satisfied or
    /// is too large; <see cref="ConstraintException.Path"/> is the place.</exception>
    public static Constraint JsonSchema(JsonElement schema)
    {
        // Read again: who parsed it may have let pass names that come twice, and halves of characters.
        return schema.ValueKind == JsonValueKind.Undefined ? throw new ConstraintException("The schema is empty.")
            : JsonSchema(schema.GetRawText());
    }

    /// <summary>JSON of a schema.</summary>
    /// <param name="schema">A JSON schema as text.</param>
    /// <exception cref="ConstraintException">As for a schema that was parsed; or the text is no JSON.</exception>
    public static Constraint JsonSchema(string schema)
    {
        ArgumentNullException.ThrowIfNull(schema);
        Bounded(schema, "the schema");
        JsonElement parsed;
        try
        {
            parsed = JsonText.ParseElement(Encoding.UTF8.GetBytes(schema));
        }
        catch (JsonException exception)
        {
            throw new ConstraintException($"The schema is not valid JSON: {exception.Message}", exception);
        }

        return new("schema", schema, "the schema", SchemaReader.Read(parsed));
    }

    /// <summary>Texts that a regular expression matches as a whole.</summary>
    /// <param name="pattern">A regular expression, in what ECMAScript, .NET and Python have in common: no references to
    /// groups, no looking ahead or behind, no borders of words. \d and \w are those of ASCII.</param>
    /// <exception cref="ConstraintException">The pattern is broken, asks for what cannot be held, or is too large.</exception>
    public static Constraint Regex(string pattern)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        const string Name = "the regular expression";
        PatternNode node = PatternParser.Parse(Bounded(pattern, Name), Name);
        return new("regex", pattern, Name, Form.Characters(CharacterNfa.Of(node, isSearched: false, Name), Utf8Form.Of));
    }

    /// <summary>One of several texts.</summary>
    /// <param name="texts">The texts; one at least, none empty.</param>
    /// <exception cref="ConstraintException">There are none, one is empty or is there twice, or they are too
    /// many.</exception>
    public static Constraint Choice(params IReadOnlyList<string> texts)
    {
        ArgumentNullException.ThrowIfNull(texts);
        const string Name = "the choice";
        if (texts.Count == 0)
            throw new ConstraintException("A choice needs at least one text.");
        if (texts.Any(string.IsNullOrEmpty))
            throw new ConstraintException("A text of a choice cannot be empty.");
        if (texts.GroupBy(text => text, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ConstraintException($"The choice has '{Shortened(twice.Key)}' twice.");
        string source = Bounded(string.Concat(texts.Select(text => $"{text.Length}:{text}")), Name);
        foreach (string text in texts)
            EncodingOf(text, Name);
        return new("choice", source, Name, Form.OneOf(texts.Select(text => EncodingOf(text, Name))));
    }

    /// <summary>Texts of a grammar.</summary>
    /// <param name="grammar">A grammar in llama.cpp's notation (GBNF); answers are what its rule <c>root</c> says.</param>
    /// <exception cref="ConstraintException">The grammar is broken (the message names the line), a rule begins with
    /// itself or never ends, or it is too large.</exception>
    public static Constraint Grammar(string grammar)
    {
        ArgumentNullException.ThrowIfNull(grammar);
        return new("grammar", grammar, "the grammar", GrammarReader.Read(Bounded(grammar, "the grammar")));
    }

    /// <summary>One text and no other, as a part of a larger form.</summary>
    /// <exception cref="ConstraintException">The text is empty or no Unicode.</exception>
    public static Constraint Text(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Length == 0)
            throw new ConstraintException("A text that is a part of a form cannot be empty.");
        return new("text", text, "the text", new Form.Literal(EncodingOf(Bounded(text, "the text"), "the text")));
    }

    /// <summary>Forms that follow each other: literal text around a schema, say.</summary>
    /// <exception cref="ConstraintException">There are none, or together they are too large.</exception>
    public static Constraint Sequence(params IReadOnlyList<Constraint> parts) => Joined("sequence", parts, Form.Of);

    /// <summary>One of several forms.</summary>
    /// <inheritdoc cref="Sequence"/>
    public static Constraint AnyOf(params IReadOnlyList<Constraint> parts) => Joined("any", parts, Form.Either);

    /// <summary>A form several times.</summary>
    /// <param name="part">The form.</param>
    /// <param name="least">How often at least.</param>
    /// <param name="most">How often at most; null for any number.</param>
    /// <exception cref="ConstraintException">It becomes too large.</exception>
    public static Constraint Repeated(Constraint part, int least, int? most = null)
    {
        ArgumentNullException.ThrowIfNull(part);
        ArgumentOutOfRangeException.ThrowIfNegative(least);
        if (most < Math.Max(least, 1))
            throw new ArgumentOutOfRangeException(nameof(most), most, $"The most must be 1 or more, and not below {least}.");
        // As a rule it is there once, however often it is called.
        var rule = new Rule(part._description) { Body = part._form };
        return new("repeated", string.Create(CultureInfo.InvariantCulture, $"{least},{most}\n{part.Key}"), "the form",
            new Form.Repeated(new Form.Call(rule), least, most));
    }

    /// <summary>
    /// Text of any kind, which ends without a mark, or which has this form from its first mark on.
    /// </summary>
    /// <param name="mark">The mark; the form begins behind it.</param>
    internal Constraint FromMark(string mark)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(mark);
        return new("from mark", $"{mark.Length}:{mark}{Key}", _description,
            Form.Either(Form.FreeWithout(bytes), Form.Of(Form.FreeUntil(bytes), _form)));
    }

    /// <summary>The form behind a think block, in which everything may be written.</summary>
    /// <param name="isOpen">Whether the block is open already; otherwise there may be one.</param>
    internal Constraint AfterThinking(bool isOpen)
    {
        Form block = Form.Of(Form.FreeUntil(Encoding.UTF8.GetBytes(Skylight.Text.SpecialTokens.ThinkEnd)),
            new Form.Repeated(Form.Text("\n"), 0, MostThinkBreaks), _form);
        Form form = isOpen ? block
            : Form.Either(_form, Form.Of(Form.Text(Skylight.Text.SpecialTokens.ThinkStart), block));
        return new(isOpen ? "after thinking" : "perhaps after thinking", Key, _description, form);
    }

    /// <summary>What errors call it.</summary>
    internal string Describe() => _description;

    private static Constraint Joined(string kind, IReadOnlyList<Constraint> parts, Func<IReadOnlyList<Form>, Form> join)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Count == 0)
            throw new ConstraintException("A form that is joined of others needs at least one.");
        return new(kind, string.Concat(parts.Select(part => $"{part.Key.Length}:{part.Key}")),
            parts.Count == 1 ? parts[0]._description : "the form", join([.. parts.Select(part => part._form)]));
    }

    private static byte[] EncodingOf(string text, string what)
    {
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetBytes(text);
        }
        catch (EncoderFallbackException exception)
        {
            throw new ConstraintException($"A text of {what} holds half of a surrogate pair, which is no character.", exception);
        }
    }

    private static string Bounded(string text, string what) => text.Length <= ConstraintLimits.MostCharacters ? text
        : throw new ConstraintException(what, $"{what} has {text.Length} characters; {ConstraintLimits.MostCharacters} " +
            "are the most.");

    private static string Shortened(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
