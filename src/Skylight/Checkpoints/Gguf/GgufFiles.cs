using System.Globalization;
using System.Text.RegularExpressions;

namespace Skylight.Checkpoints.Gguf;

/// <summary>A model's GGUF file, or the files into which llama-gguf-split has cut it.</summary>
internal sealed partial class GgufFiles : IDisposable
{
    private readonly GgufFile[] _parts;

    private GgufFiles(GgufFile[] parts)
    {
        _parts = parts;
        Tensors = [.. parts.SelectMany(part => part.Entries.Select(entry => (part, entry)))];
    }

    /// <summary>The file, or the first of several.</summary>
    public string Path => _parts[0].Path;

    /// <summary>What the model is like; of several files the first has it.</summary>
    public GgufMetadata Metadata => _parts[0].Metadata;

    /// <summary>The files.</summary>
    public IReadOnlyList<GgufFile> Parts => _parts;

    /// <summary>The tensors of all files.</summary>
    public IReadOnlyList<(GgufFile File, GgufEntry Entry)> Tensors { get; }

    /// <summary>Finds a tensor; null where there is none.</summary>
    public GgufEntry? Find(string name) => Tensors.FirstOrDefault(tensor => tensor.Entry.Name == name).Entry;

    /// <summary>The name of the first of the files that a name of one belongs to; null for a name of another form.</summary>
    public static string? FirstPart(string path) => PartName().Match(path) is { Success: true } match
        ? NameOf(match.Groups[1].Value, 1, Number(match.Groups[3])) : null;

    /// <summary>Opens a file, and with any part of several all of them.</summary>
    /// <exception cref="CheckpointException">A file cannot be read or contradicts itself, or a part is missing or of
    /// another split.</exception>
    public static GgufFiles Open(string path)
    {
        var opened = new List<GgufFile> { GgufFile.Open(path) };
        try
        {
            int count = CountOf(opened[0].Metadata);
            if (count > 1)
                OpenParts(path, count, opened);
            var names = new Dictionary<string, GgufFile>(StringComparer.Ordinal);
            foreach (GgufFile part in opened)
            {
                foreach (GgufEntry entry in part.Entries)
                {
                    if (!names.TryAdd(entry.Name, part))
                        throw new CheckpointException(part.Path,
                            $"is also in {System.IO.Path.GetFileName(names[entry.Name].Path)}.", entry.Name);
                }
            }

            if (count > 1 && opened[0].Metadata.Integer(TensorsKey) is { } said && said != names.Count)
                throw new CheckpointException(opened[0].Path,
                    $"'{TensorsKey}' is {said}, but the {count} files hold {names.Count} tensors. They come from different " +
                    $"splits, or one is damaged.");
            return new GgufFiles([.. opened]);
        }
        catch
        {
            foreach (GgufFile part in opened)
                part.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (GgufFile part in _parts)
            part.Dispose();
    }

    private const string CountKey = "split.count", NumberKey = "split.no", TensorsKey = "split.tensors.count";

    private static int CountOf(GgufMetadata metadata) => metadata.Integer(CountKey, 0, ushort.MaxValue) ?? 1;

    /// <summary>Opens what is not open yet; the list is then in the order of the parts.</summary>
    private static void OpenParts(string path, int count, List<GgufFile> opened)
    {
        Match match = PartName().Match(path);
        int given = opened[0].Metadata.RequiredInteger(NumberKey, 0, count - 1);
        if (!match.Success || Number(match.Groups[3]) != count || Number(match.Groups[2]) != given + 1)
            throw new CheckpointException(path,
                $"is part {given + 1} of a model of {count} files ('{NumberKey}', '{CountKey}'), but its name does not end in " +
                $"'{NameOf("", given + 1, count)}', so the others cannot be found. Give the files their names back.");
        string[] names = [.. Enumerable.Range(1, count).Select(part => NameOf(match.Groups[1].Value, part, count))];
        string[] missing = [.. names.Where(name => !File.Exists(name))];
        const int Most = 5;
        if (missing.Length > 0)
            throw new CheckpointException(path,
                $"is part {given + 1} of {count}, of which {missing.Length} {(missing.Length == 1 ? "is" : "are")} missing: " +
                $"{string.Join(", ", missing.Take(Most).Select(name => System.IO.Path.GetFileName(name)))}" +
                $"{(missing.Length > Most ? $" and {missing.Length - Most} more" : "")}. Put all parts into one folder." +
                $"{FileFaults.DescribeUnfinished(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!)}");
        GgufFile first = opened[0];
        opened.Clear();
        for (int part = 0; part < count; part++)
        {
            GgufFile file = part == given ? first : GgufFile.Open(names[part]);
            opened.Add(file);
            if (CountOf(file.Metadata) != count || file.Metadata.RequiredInteger(NumberKey) != part)
            {
                if (part < given)
                    opened.Add(first);
                throw new CheckpointException(file.Path,
                    $"says that it is part {file.Metadata.RequiredInteger(NumberKey) + 1L} of {CountOf(file.Metadata)}, but " +
                    $"is named as part {part + 1} of {count}. The files come from different splits.");
            }
        }
    }

    private static string NameOf(string prefix, int part, int count) =>
        string.Create(CultureInfo.InvariantCulture, $"{prefix}-{part:D5}-of-{count:D5}.gguf");

    private static int Number(Group digits) => int.Parse(digits.ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\A(.*)-(\d{5})-of-(\d{5})\.gguf\z", RegexOptions.Singleline | RegexOptions.CultureInvariant)]
    private static partial Regex PartName();
}
