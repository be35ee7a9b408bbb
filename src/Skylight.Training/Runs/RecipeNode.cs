using System.Globalization;
using Skylight.Text;
using YamlDotNet.RepresentationModel;

namespace Skylight.Training.Runs;

/// <summary>Where the values of a recipe come from.</summary>
/// <param name="File">The recipe as messages call it.</param>
internal sealed record RecipeSource(string File)
{
    private readonly Dictionary<YamlNode, string> _settings = new(ReferenceEqualityComparer.Instance);

    /// <summary>Notes that a value and all that is in it comes from the command line.</summary>
    public void Set(YamlNode node, string setting)
    {
        foreach (YamlNode each in node.AllNodes)
            _settings[each] = setting;
    }

    /// <summary>The place of a value, as messages begin with it.</summary>
    public string PlaceOf(YamlNode node) =>
        _settings.TryGetValue(node, out string? setting) ? $"{File}, --set {setting}"
            : node.Start.Line > 0 ? $"{File}, line {node.Start.Line}" : File;
}

/// <summary>A value in a recipe with the place where it stands, so that every fault names file, line and key.</summary>
internal sealed class RecipeNode(RecipeSource source, string path, YamlNode yaml)
{
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    /// <summary>Where the value stands: keys from the top, with dots; empty for the whole recipe.</summary>
    public string Path => path;

    /// <summary>A key of this map as it is named in messages and in the documentation.</summary>
    private string PathOf(string key) => path.Length == 0 ? key : $"{path}.{key}";

    /// <summary>A fault of this value.</summary>
    public RecipeException Fault(string message) => Fault(yaml, path, message);

    /// <summary>Whether a key is there and has a value.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>Whether the value itself is a map.</summary>
    public bool IsMap => yaml is YamlMappingNode;

    /// <summary>Whether the value itself is a list.</summary>
    public bool IsList => yaml is YamlSequenceNode;

    /// <summary>Whether a key holds a map.</summary>
    public bool HasMap(string key) => Find(key) is YamlMappingNode;

    /// <summary>Whether a key holds a list.</summary>
    public bool HasList(string key) => Find(key) is YamlSequenceNode;

    /// <summary>A map under a key; an empty one where there is none.</summary>
    public RecipeNode Map(string key)
    {
        YamlNode node = Find(key) ?? new YamlMappingNode();
        return node is YamlMappingNode ? new RecipeNode(source, PathOf(key), node)
            : throw Wrong(node, PathOf(key), "a map of keys");
    }

    /// <summary>The elements of a list; one value that is no list counts as a list of one.</summary>
    public IReadOnlyList<RecipeNode> List(string key) => Find(key) switch
    {
        null => [],
        YamlSequenceNode list => [.. list.Select((node, index) => new RecipeNode(source, $"{PathOf(key)}.{index}", node))],
        YamlNode single => [new RecipeNode(source, $"{PathOf(key)}.0", single)],
    };

    /// <summary>The pairs of a map with keys of the user's own, such as names of columns.</summary>
    public IReadOnlyDictionary<string, string> Texts(string key)
    {
        YamlNode? node = Find(key);
        if (node is null)
            return new Dictionary<string, string>();
        if (node is not YamlMappingNode map)
            throw Wrong(node, PathOf(key), "a map of names to names");
        return map.ToDictionary(pair => Scalar(pair.Key, PathOf(key), "a name"),
            pair => Scalar(pair.Value, $"{PathOf(key)}.{pair.Key}", "a name"), StringComparer.Ordinal);
    }

    /// <summary>The keys of this map.</summary>
    public IEnumerable<string> Keys => ((YamlMappingNode)yaml).Children.Keys.Select(key => Scalar(key, path, "a name"));

    /// <summary>A text; null where the key is not there.</summary>
    public string? Text(string key) => Find(key) is { } node ? Scalar(node, PathOf(key), "a text") : null;

    /// <summary>This value as a text.</summary>
    public string AsText() => Scalar(yaml, path, "a text");

    /// <summary>A name or path, which is not empty; null where the key is not there.</summary>
    public string? Named(string key) => Find(key) is { } node ? Filled(node, PathOf(key)) : null;

    /// <summary>This value as a name or path, which is not empty.</summary>
    public string AsNamed() => Filled(yaml, path);

    /// <summary>A finite number; null where the key is not there.</summary>
    public double? Number(string key, double least = double.NegativeInfinity, double most = double.PositiveInfinity) =>
        Find(key) is { } node ? NumberOf(node, PathOf(key), least, most) : null;

    /// <summary>This value as a finite number.</summary>
    public double AsNumber(double least = double.NegativeInfinity, double most = double.PositiveInfinity) =>
        NumberOf(yaml, path, least, most);

    /// <summary>A whole number; null where the key is not there.</summary>
    public int? Count(string key, int least = 0, int most = int.MaxValue) => Find(key) is { } node
        ? CountOf(node, PathOf(key), least, most) : null;

    /// <summary>This value as a whole number.</summary>
    public int AsCount(int least = 0, int most = int.MaxValue) => CountOf(yaml, path, least, most);

    /// <summary>A seed: a whole number of 64 bits.</summary>
    public ulong? Seed(string key) => Find(key) is not { } node ? null
        : ulong.TryParse(Scalar(node, PathOf(key), "a whole number"), NumberStyles.None, CultureInfo.InvariantCulture,
            out ulong seed) ? seed
        : throw Fault(node, PathOf(key), $"is '{Shown(node)}'; a seed is a whole number from 0 to {ulong.MaxValue}.");

    /// <summary>true or false; null where the key is not there.</summary>
    public bool? Flag(string key) => Find(key) is not { } node ? null : Scalar(node, PathOf(key), "true or false") switch
    {
        "true" or "True" => true,
        "false" or "False" => false,
        _ => throw Fault(node, PathOf(key), $"is '{Shown(node)}'; give true or false."),
    };

    /// <summary>One of some names; null where the key is not there.</summary>
    public T? Choice<T>(string key, params ReadOnlySpan<(string Name, T Value)> choices)
        where T : struct
    {
        if (Find(key) is not { } node)
            return null;
        string text = Scalar(node, PathOf(key), "a name");
        foreach ((string name, T value) in choices)
        {
            if (name == text)
                return value;
        }

        var names = new List<string>();
        foreach ((string name, _) in choices)
            names.Add(name);
        throw Fault(node, PathOf(key), $"is '{Shown(node)}'; it must be one of {string.Join(", ", names)}.");
    }

    /// <summary>Refuses every key that nobody has asked for.</summary>
    public void Finish()
    {
        if (yaml is not YamlMappingNode map)
            throw Wrong(yaml, path, "a map of keys");
        foreach (YamlNode key in map.Children.Keys)
        {
            string name = Scalar(key, path, "a key");
            if (_known.Contains(name))
                continue;
            string hint = NameDistance.Nearest(name, _known) is { } nearest ? $"Did you mean '{nearest}'?"
                : $"Known here: {string.Join(", ", _known.Order(StringComparer.Ordinal))}.";
            throw Fault(key, PathOf(name), $"is not a key of a recipe. {hint}");
        }
    }

    private YamlNode? Find(string key)
    {
        RecipeKeys.Check(PathOf(key));
        _known.Add(key);
        if (yaml is not YamlMappingNode map)
            throw Wrong(yaml, path, "a map of keys");
        return map.Children.TryGetValue(new YamlScalarNode(key), out YamlNode? node)
            && node is not YamlScalarNode
            {
                Value: null or "" or "null" or "~",
                Style: YamlDotNet.Core.ScalarStyle.Plain
            } ? node : null;
    }

    private double NumberOf(YamlNode node, string at, double least, double most)
    {
        const NumberStyles Style = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint
            | NumberStyles.AllowExponent;
        if (!double.TryParse(Scalar(node, at, "a number"), Style, CultureInfo.InvariantCulture, out double number)
            || !double.IsFinite(number))
            throw Fault(node, at, $"is '{Shown(node)}', which is not a number; write it as 0.5 or 1e-5.");
        if (Math.Abs(number) > float.MaxValue)
            throw Fault(node, at, $"is {Shown(node)}, which is more than a number of 32 bits can hold.");
        return number >= least && number <= most ? number
            : throw Fault(node, at, $"is {number.ToString(CultureInfo.InvariantCulture)}; {Range(least, most)}.");
    }

    private int CountOf(YamlNode node, string at, int least, int most)
    {
        if (!long.TryParse(Scalar(node, at, "a whole number"), NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture, out long number))
            throw Fault(node, at, $"is '{Shown(node)}', which is not a whole number.");
        return number >= least && number <= most ? (int)number
            : throw Fault(node, at, $"is {number}; {Range(least, most)}.");
    }

    private static string Range(double least, double most) => string.Create(CultureInfo.InvariantCulture, $"it must be {(double.IsInfinity(most) || most == int.MaxValue ? $"at least {least}"
        : double.IsInfinity(least) ? $"at most {most}" : $"from {least} to {most}")}");

    private string Filled(YamlNode node, string at) =>
        Scalar(node, at, "a name") is var text && !string.IsNullOrWhiteSpace(text) ? text
            : throw Fault(node, at, "is empty; give a name, or leave the key out.");

    private string Scalar(YamlNode node, string at, string expected) => node is YamlScalarNode { Value: { } value }
        ? value : throw Wrong(node, at, expected);

    private RecipeException Wrong(YamlNode node, string at, string expected) =>
        Fault(node, at, $"is {Kind(node)}, where {expected} is expected.");

    private static string Kind(YamlNode node) => node switch
    {
        YamlMappingNode => "a map of keys",
        YamlSequenceNode => "a list",
        _ => $"'{Shown(node)}'",
    };

    private static string Shown(YamlNode node) => node is YamlScalarNode { Value: { } text }
        ? (text.Length > 60 ? text[..60] + "…" : text) : "";

    private RecipeException Fault(YamlNode node, string at, string message) =>
        new($"{source.PlaceOf(node)}: {(at.Length == 0 ? "the recipe" : $"'{at}'")} {message}");
}
