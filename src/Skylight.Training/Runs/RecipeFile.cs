using System.Text;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Skylight.Training.Runs;

/// <summary>Reads recipes: YAML, with values that the command line sets instead.</summary>
public static class RecipeFile
{
    private const int MostBytes = 1 << 20, MostDepth = 32;

    /// <summary>Reads a recipe.</summary>
    /// <param name="path">The YAML file.</param>
    /// <param name="settings">What stands in its place: <c>key=value</c>, keys with dots and places of lists as numbers
    /// (<c>data.0.file=x.jsonl</c>); values are YAML.</param>
    /// <exception cref="RecipeException">It is not YAML, has an unknown key or a wrong value; names file, line and
    /// key.</exception>
    public static Recipe Load(string path, IEnumerable<string>? settings = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        byte[] bytes = BoundedFile.Read(path, MostBytes);
        string text;
        try
        {
            text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
        }
        catch (ArgumentException exception)
        {
            throw new RecipeException($"{path}: the recipe is not UTF-8 text. Save it as UTF-8.", exception);
        }

        return Parse(text.TrimStart('\uFEFF'), path, settings);
    }

    /// <summary>Reads a recipe from its text.</summary>
    /// <param name="text">YAML.</param>
    /// <param name="name">How messages call it; without its ending also the name of a recipe that has none.</param>
    /// <param name="settings">As for <see cref="Load"/>.</param>
    /// <exception cref="RecipeException">It is not YAML, has an unknown key or a wrong value; names file, line and
    /// key.</exception>
    public static Recipe Parse(string text, string name, IEnumerable<string>? settings = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentException.ThrowIfNullOrEmpty(name);
        YamlNode root = Read(text, name);
        if (root is not YamlMappingNode map)
            throw new RecipeException($"{name}: a recipe is a map of keys, such as 'method: sft'.");
        var source = new RecipeSource(name);
        foreach (string setting in settings ?? [])
            Set(map, setting, source);
        Recipe recipe = RecipeReader.Read(new RecipeNode(source, "", map),
            System.IO.Path.GetFileNameWithoutExtension(name)) with
        { Text = TextOf(map) };
        // What becomes of faults may be said anew when a run goes on: what it did so far would have been the same.
        foreach (string key in (string[])["bad_rows", "reward_faults"])
            map.Children.Remove(new YamlScalarNode(key));
        return recipe with { ResumedText = TextOf(map) };
    }

    private static string TextOf(YamlMappingNode map)
    {
        using var written = new StringWriter { NewLine = "\n" };
        new YamlStream(new YamlDocument(map)).Save(written, assignAnchors: false);
        string yaml = written.ToString();
        // The writer ends a document with its mark.
        return yaml.EndsWith("...\n", StringComparison.Ordinal) ? yaml[..^4] : yaml;
    }

    private static YamlNode Read(string text, string name)
    {
        try
        {
            CheckDepth(text, name);
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            return stream.Documents.Count switch
            {
                0 => throw new RecipeException($"{name}: the recipe is empty."),
                1 => stream.Documents[0].RootNode,
                _ => throw new RecipeException(
                    $"{name}: the file holds {stream.Documents.Count} documents; give each recipe a file of its own."),
            };
        }
        catch (YamlException exception)
        {
            // The parser names the map in which the tab stands.
            int tab = exception.Message.Contains("tab as indentation", StringComparison.Ordinal)
                ? Array.FindIndex(text.Split('\n'),
                    line => line[..(line.Length - line.TrimStart().Length)].Contains('\t')) : -1;
            throw new RecipeException(
                tab >= 0 ? $"{name}, line {tab + 1}: the recipe is not YAML: it is indented with a tab; use spaces."
                : $"{name}, line {exception.Start.Line}: the recipe is not YAML: {exception.Message}", exception);
        }
    }

    /// <summary>
    /// The tree is built by recursion, which a file of nothing but brackets would take to the end of the stack.
    /// </summary>
    private static void CheckDepth(string text, string name)
    {
        var parser = new Parser(new StringReader(text));
        int depth = 0;
        while (parser.MoveNext())
        {
            depth += parser.Current!.NestingIncrease;
            // An alias would let a small file be a large one.
            if (parser.Current is AnchorAlias alias)
                throw new RecipeException(
                    $"{name}, line {alias.Start.Line}: aliases ('*{alias.Value}') are not read in recipes; write the " +
                    $"value again.");
            if (depth > MostDepth)
                throw new RecipeException(
                    $"{name}, line {parser.Current.Start.Line}: the recipe is nested more than {MostDepth} deep.");
        }
    }

    private static void Set(YamlMappingNode root, string setting, RecipeSource source)
    {
        int equals = setting.IndexOf('=', StringComparison.Ordinal);
        if (equals < 1)
            throw new RecipeException($"--set {setting}: write KEY=VALUE, such as steps=100 or sampling.group=16.");
        string path = setting[..equals], name = $"--set {setting}";
        YamlNode value = setting.Length == equals + 1 ? new YamlScalarNode("") { Style = ScalarStyle.DoubleQuoted }
            : Read(setting[(equals + 1)..], name);
        source.Set(value, setting);
        string[] keys = path.Split('.');
        YamlNode at = root;
        for (int index = 0; index < keys.Length; index++)
        {
            bool isLast = index == keys.Length - 1;
            switch (at)
            {
                case YamlMappingNode map:
                    var key = new YamlScalarNode(keys[index]);
                    source.Set(key, setting);
                    if (isLast)
                        map.Children[key] = value;
                    else if (!map.Children.TryGetValue(key, out at!))
                        source.Set(map.Children[key] = at = new YamlMappingNode(), setting);
                    break;
                case YamlSequenceNode list when int.TryParse(keys[index], out int place) && place >= 0
                    && place < list.Children.Count:
                    if (isLast)
                        list.Children[place] = value;
                    else
                        at = list.Children[place];
                    break;
                case YamlSequenceNode list:
                    throw new RecipeException(
                        $"{name}: '{string.Join('.', keys[..index])}' is a list of {list.Children.Count}; its places " +
                        $"are 0 to {list.Children.Count - 1}.");
                default:
                    throw new RecipeException(
                        $"{name}: '{string.Join('.', keys[..index])}' is a single value and has no '{keys[index]}'.");
            }
        }
    }
}
