using System.Text;
using System.Text.RegularExpressions;

namespace Skylight.Hub;

/// <summary>What of a checkpoint is wanted.</summary>
public enum ModelParts
{
    /// <summary>All that a model is loaded from.</summary>
    Checkpoint,

    /// <summary>All but the weights: enough to plan with.</summary>
    Description,
}

/// <summary>Which files of a repository are taken.</summary>
internal static class FileSelection
{
    private const string Single = "model.safetensors", Weights = ".safetensors";

    // Configurations, tokenizer, template, the code that auto_map names, and the licence, which a checkpoint that is
    // trained from this one takes along.
    private static readonly string[] s_endings = [".json", ".txt", ".model", ".jinja", ".py"];

    /// <summary>What a checkpoint needs: files beside config.json, not in folders below it.</summary>
    /// <exception cref="HubException">There is no checkpoint among the files.</exception>
    public static List<HubFile> Default(string repository, IReadOnlyList<HubFile> files, ModelParts parts)
    {
        if (files.FirstOrDefault(file => file.Path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase)) is { } gguf
            && !files.Any(file => file.Path.EndsWith(Weights, StringComparison.Ordinal)))
            throw new HubException(HubFault.NoCheckpoint,
                $"{repository} holds GGUF files, {Listed(files)}: choose the language model's and the vision encoder's with " +
                $"skylight pull {repository} --include {gguf.Path} --include 'mmproj*'; then {repository} is that model.");
        HubFile[] beside = [.. files.Where(file => !file.Path.Contains('/', StringComparison.Ordinal))];
        if (!beside.Any(file => file.Path == "config.json"))
            throw new HubException(HubFault.NoCheckpoint,
                $"{repository} is no checkpoint: it holds no config.json, but {Listed(files)}. Give a repository of " +
                $"the original or the transformers weights, or take files by name with --include.");
        var selected = beside.Where(file => s_endings.Contains(Path.GetExtension(file.Path))
            || file.Path.StartsWith("LICENSE", StringComparison.Ordinal)
            || file.Path.StartsWith("NOTICE", StringComparison.Ordinal)).ToList();
        HubFile[] weights = [.. WeightsOf(beside)];
        if (weights.Length == 0)
            throw new HubException(HubFault.NoCheckpoint,
                $"{repository} holds no weights as *{Weights}, but {Listed(files)}. Give a repository that has them.");
        if (parts == ModelParts.Checkpoint)
            selected.AddRange(weights);
        return Usable(repository, selected);
    }

    /// <summary>
    /// The files that a user names: * stands for any characters, ? for one, [abc] for one of some; a folder's name with
    /// / for all in it.
    /// </summary>
    /// <exception cref="HubException">A pattern fits none.</exception>
    public static List<HubFile> Of(string repository, IReadOnlyList<HubFile> files, IReadOnlyList<string> patterns)
    {
        var selected = new HashSet<HubFile>();
        foreach (string pattern in patterns)
        {
            Regex regex = Translate(pattern);
            HubFile[] found = [.. files.Where(file => regex.IsMatch(file.Path))];
            if (found.Length == 0)
                throw new HubException(HubFault.Setting,
                    $"--include {pattern}: {repository} has no such file. It holds {Listed(files)}.");
            selected.UnionWith(found);
        }

        return Usable(repository, [.. files.Where(selected.Contains)]);
    }

    // What the reader of checkpoints opens: one file if there is one, else shards, and not the copies in other forms
    // beside them.
    private static IEnumerable<HubFile> WeightsOf(HubFile[] files)
    {
        HubFile[] weights = [.. files.Where(file => file.Path.EndsWith(Weights, StringComparison.Ordinal))];
        if (weights.FirstOrDefault(file => file.Path == Single) is { } single)
            return [single];
        HubFile[] shards = [.. weights.Where(file => file.Path.Contains("-of-", StringComparison.Ordinal))];
        return shards.Length > 0 ? shards : weights;
    }

    /// <summary>Refuses what cannot lie in a folder of every system.</summary>
    private static List<HubFile> Usable(string repository, List<HubFile> files)
    {
        var names = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (HubFile file in files)
        {
            if (HubFile.FaultOf(file.Path) is { } fault)
                throw new HubException(HubFault.Untrusted,
                    $"{repository}: the name of the file '{file.Path}' {fault}. Leave it out with --include.");
            if (!names.TryAdd(file.Path, file.Path))
                throw new HubException(HubFault.Untrusted,
                    $"{repository} holds '{names[file.Path]}' and '{file.Path}', which are one file where names " +
                    $"ignore case. Take one of them with --include.");
        }

        return files;
    }

    private static string Listed(IReadOnlyList<HubFile> files)
    {
        const int Most = 8;
        return files.Count == 0 ? "nothing" : string.Join(", ", files.Take(Most).Select(file => file.Path))
            + (files.Count > Most ? $" and {files.Count - Most} more" : "");
    }

    // As Python's fnmatch: * also stands for slashes.
    private static Regex Translate(string pattern)
    {
        if (pattern.EndsWith('/'))
            pattern += "*";
        var regex = new StringBuilder(@"\A");
        for (int at = 0; at < pattern.Length; at++)
        {
            // A ] that comes first is one of the characters.
            int close = pattern[at] == '['
                ? pattern.IndexOf(']',
                    Math.Min(pattern.Length, at + (at + 1 < pattern.Length && pattern[at + 1] == '!' ? 3 : 2))) : -1;
            if (pattern[at] == '*')
            {
                regex.Append(".*");
            }
            else if (pattern[at] == '?')
            {
                regex.Append('.');
            }
            else if (close > 0)
            {
                string set = pattern[(at + 1)..close];
                bool isNot = set[0] == '!';
                regex.Append(isNot ? "[^" : "[")
                    .Append((isNot ? set[1..] : set).Replace("\\", @"\\", StringComparison.Ordinal)
                        .Replace("[", @"\[", StringComparison.Ordinal).Replace("]", @"\]", StringComparison.Ordinal)
                        .Replace("^", @"\^", StringComparison.Ordinal)).Append(']');
                at = close;
            }
            else
            {
                regex.Append(Regex.Escape(pattern[at].ToString()));
            }
        }

        try
        {
            return new Regex(regex.Append(@"\z").ToString(),
                RegexOptions.CultureInvariant | RegexOptions.NonBacktracking | RegexOptions.Singleline);
        }
        catch (ArgumentException exception)
        {
            throw new HubException(HubFault.Setting,
                $"--include {pattern}: that is no pattern; * stands for any characters, ? for one, [abc] for " +
                $"one of some.", exception);
        }
    }
}
