using System.CommandLine;
using System.Text;
using Skylight.Chat;
using Skylight.Constraints;

namespace Skylight.Cli.Chat;

/// <summary>The options of the commands that have a model write: how its answers are made.</summary>
internal sealed class AnswerSettings
{
    private const long MostFormBytes = 4 << 20;

    private readonly Option<string?> _system =
        new("--system")
        {
            Description =
            "What the model is told about the whole conversation; by default what belongs to the checkpoint."
        };
    private readonly Option<int?> _maxTokens =
        new("--max-tokens")
        {
            Description =
            "The most tokens of an answer, its thinking included; by default 4096 or what the context leaves."
        };
    private readonly Option<float?> _temperature =
        new("--temperature")
        {
            Description =
            "Divides the logits; 0 takes the most likely token. By default what the checkpoint says, else 0."
        };
    private readonly Option<float?> _topP =
        new("--top-p") { Description = "Only the most likely tokens that together have this probability." };
    private readonly Option<int?> _topK =
        new("--top-k") { Description = "Only so many of the most likely tokens; 0 for all." };
    private readonly Option<float?> _minP =
        new("--min-p") { Description = "Only tokens at least this much as probable as the most likely one." };
    private readonly Option<float?> _penalty =
        new("--repetition-penalty") { Description = "Above 1, makes tokens less likely that were read or written before." };
    private readonly Option<float?> _frequency =
        new("--frequency-penalty")
        {
            Description = "From -2 to 2: taken from a token's logit for each time that the answer holds it."
        };
    private readonly Option<float?> _presence =
        new("--presence-penalty")
        {
            Description = "From -2 to 2: taken from the logits of all tokens that the answer holds."
        };
    private readonly Option<ulong?> _seed = new("--seed") { Description = "The same seed gives the same answer." };
    private readonly Option<string[]> _stop =
        new("--stop") { Description = "The answer ends before this text. May be given several times." };
    private readonly Option<bool> _keepSpecial =
        new("--keep-special-tokens")
        {
            Description =
            "Show special tokens in the answer, those of grounding (<ref>, <box>) among them."
        };
    private readonly Option<string?> _think = new("--think",
        "--thinking")
    { Description = "Whether the model thinks first; by default as it was made." };
    private readonly Option<int?> _maxTiles =
        new("--max-tiles") { Description = "The most tiles of a picture; by default what the checkpoint says." };

    private readonly Option<string?> _schema =
        new("--json-schema") { Description = "A file with a JSON schema that the answer is held to." };
    private readonly Option<string?> _regex =
        new("--regex") { Description = "A regular expression that the whole answer matches." };
    private readonly Option<string[]> _choice =
        new("--choice") { Description = "A text that the answer may be, and no other. Given once for each of them." };
    private readonly Option<string?> _grammar =
        new("--grammar") { Description = "A file with a grammar in llama.cpp's notation (GBNF) that the answer is held to." };

    public AnswerSettings() => _think.AcceptOnlyFromAmong("on", "off");

    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_system, _maxTokens, _temperature, _topP, _topK, _minP, _penalty,
            _frequency, _presence, _seed, _stop, _keepSpecial, _think, _maxTiles, _schema, _regex, _choice, _grammar])
            command.Add(option);
    }

    public string? System(ParseResult parse) => parse.GetValue(_system);

    /// <summary>The options, of which none is out of its range.</summary>
    public GenerationOptions Options(ParseResult parse) => new GenerationOptions
    {
        MaxOutputTokens = parse.GetValue(_maxTokens),
        Temperature = parse.GetValue(_temperature),
        TopP = parse.GetValue(_topP),
        TopK = parse.GetValue(_topK),
        MinP = parse.GetValue(_minP),
        RepetitionPenalty = parse.GetValue(_penalty),
        FrequencyPenalty = parse.GetValue(_frequency),
        PresencePenalty = parse.GetValue(_presence),
        Seed = parse.GetValue(_seed),
        StopSequences = parse.GetValue(_stop) ?? [],
        SkipSpecialTokens = !parse.GetValue(_keepSpecial),
        Thinking = ThinkingOf(parse.GetValue(_think)),
        MaximumTiles = parse.GetValue(_maxTiles),
        Constraint = Form(parse),
    }.Validate();

    /// <summary>The form that answers are held to; null where none is named.</summary>
    private Constraint? Form(ParseResult parse)
    {
        Option[] named = [.. new Option[] { _schema, _regex, _choice, _grammar }
            .Where(option => parse.GetResult(option) is { Implicit: false })];
        if (named.Length == 0)
            return null;
        if (named.Length > 1)
            throw new ArgumentException($"{named[0].Name} and {named[1].Name} both give the answer a form: name one of them.");
        if (parse.GetValue(_regex) is { } regex)
            return Constraint.Regex(regex);
        if (parse.GetValue(_choice) is { Length: > 0 } texts)
            return Constraint.Choice(texts);
        string file = parse.GetValue(_schema) ?? parse.GetValue(_grammar)!;
        byte[] bytes = BoundedFile.Read(file, MostFormBytes);
        if (Utf8Text.Fault(bytes) is { } fault)
            throw new InvalidDataException($"'{file}' cannot be read: {fault}");
        string text = Encoding.UTF8.GetString(Utf8Text.WithoutMark(bytes).Span);
        try
        {
            return named[0] == _schema ? Constraint.JsonSchema(text) : Constraint.Grammar(text);
        }
        catch (ConstraintException exception)
        {
            throw new ConstraintException($"'{file}': {exception.Message}", exception);
        }
    }

    /// <summary>What on, off and nothing mean.</summary>
    public static ThinkingMode ThinkingOf(string? text) =>
        text switch { "on" => ThinkingMode.On, "off" => ThinkingMode.Off, _ => ThinkingMode.Default };
}
