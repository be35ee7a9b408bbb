using System.Text.Json;

namespace Skylight.Hub;

/// <summary>
/// All files of a commit: what the hub answers, and the record of it in the cache, which Python's huggingface_hub reads
/// and writes too.
/// </summary>
/// <param name="Commit">The commit's hash.</param>
/// <param name="Files">Its files, by name.</param>
internal sealed record HubListing(string Commit, IReadOnlyList<HubFile> Files)
{
    private const int FormatVersion = 1, MostFiles = 100_000;
    private const long MostBytes = 1L << 50;

    /// <summary>The hub's answer about a revision of a repository.</summary>
    /// <exception cref="JsonException">It is no such answer; the message ends a sentence.</exception>
    public static HubListing ParseAnswer(ReadOnlyMemory<byte> utf8)
    {
        using JsonDocument document = JsonText.Parse(utf8);
        JsonElement root = document.RootElement;
        string commit = Text(root, "sha") ?? throw new JsonException("it names no commit ('sha').");
        if (!RepositoryId.IsCommit(commit))
            throw new JsonException($"its commit ('sha') is '{Shown(commit)}', which is no hash of 40 digits.");
        if (!root.TryGetProperty("siblings", out JsonElement siblings) || siblings.ValueKind != JsonValueKind.Array)
            throw new JsonException("it lists no files ('siblings').");
        return new HubListing(commit, Checked(siblings.EnumerateArray().Select(sibling =>
        {
            string path = Text(sibling, "rfilename") ?? throw new JsonException("a file of it has no name ('rfilename').");
            JsonElement? large = Member(sibling, "lfs");
            return new HubFile(path,
                (large is { } lfs ? Length(lfs, "size", path) : null) ?? Length(sibling, "size", path) ?? -1)
            {
                BlobId = Hash(sibling, "blobId", 40, path) ?? "",
                Sha256 = large is { } described ? Hash(described, "sha256", 64, path)
                    ?? throw new JsonException($"'{Shown(path)}' has no 'sha256'.") : null,
            };
        })));
    }

    /// <summary>The record in the cache.</summary>
    /// <returns>null for one of another version.</returns>
    /// <exception cref="JsonException">It is no such record; the message ends a sentence.</exception>
    public static HubListing? ParseRecord(string commit, ReadOnlyMemory<byte> utf8)
    {
        using JsonDocument document = JsonText.Parse(utf8);
        JsonElement root = document.RootElement;
        if (Member(root, "format_version") is not { ValueKind: JsonValueKind.Number } version
            || !version.TryGetInt32(out int number) || number != FormatVersion)
            return null;
        if (Member(root, "files") is not { ValueKind: JsonValueKind.Object } files)
            throw new JsonException("it lists no files.");
        return new HubListing(commit, Checked(files.EnumerateObject().Select(file => new HubFile(
            file.Name, Length(file.Value, "lfs_size", file.Name) ?? Length(file.Value, "size", file.Name)
                ?? throw new JsonException($"'{Shown(file.Name)}' has no 'size'."))
        {
            BlobId = Hash(file.Value, "blob_id", 40, file.Name) ?? "",
            Sha256 = Hash(file.Value, "lfs_sha256", 64, file.Name),
        })));
    }

    /// <summary>The record for the cache.</summary>
    public byte[] ToRecord()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("format_version", FormatVersion);
            json.WriteStartObject("files");
            foreach (HubFile file in Files)
            {
                json.WriteStartObject(file.Path);
                json.WriteNumber("size", file.Length);
                json.WriteString("blob_id", file.BlobId);
                if (file.Sha256 is { } hash)
                {
                    json.WriteString("lfs_sha256", hash);
                    json.WriteNumber("lfs_size", file.Length);
                }

                json.WriteEndObject();
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.ToArray();
    }

    /// <summary>Refuses names that lead elsewhere, that come twice, or that are a file and a folder at once.</summary>
    private static List<HubFile> Checked(IEnumerable<HubFile> files)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var checkedFiles = new List<HubFile>();
        foreach (HubFile file in files)
        {
            if (HubFile.LeadsOut(file.Path))
                throw new JsonException($"it lists the file '{Shown(file.Path)}', whose name leads out of the folder.");
            if (!names.Add(file.Path))
                throw new JsonException($"it lists the file '{Shown(file.Path)}' twice.");
            checkedFiles.Add(file);
            if (checkedFiles.Count > MostFiles)
                throw new JsonException(FormattableString.Invariant($"it lists more than {MostFiles:N0} files."));
        }

        foreach (HubFile file in checkedFiles)
        {
            for (int slash = file.Path.IndexOf('/', StringComparison.Ordinal); slash >= 0;
                slash = file.Path.IndexOf('/', slash + 1))
            {
                if (names.Contains(file.Path[..slash]))
                    throw new JsonException(
                        $"it lists '{Shown(file.Path[..slash])}' as a file, and '{Shown(file.Path)}' in it.");
            }
        }

        checkedFiles.Sort((left, right) => string.CompareOrdinal(left.Path, right.Path));
        return checkedFiles;
    }

    private static JsonElement? Member(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value)
            && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string? Text(JsonElement element, string name) => Member(element, name) is not { } value ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw new JsonException($"'{name}' is no text.");

    private static long? Length(JsonElement element, string name, string path) => Member(element, name) is not { } value
        ? null
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long length)
        && length is >= 0 and <= MostBytes ? length
        : throw new JsonException(
            $"the length of '{Shown(path)}' ('{name}') is {Shown(value.GetRawText())}, which no file has.");

    private static string? Hash(JsonElement element, string name, int digits, string path) =>
        Text(element, name) is not { Length: > 0 } hash ? null
        : hash.Length == digits && hash.All(char.IsAsciiHexDigitLower) ? hash
        : throw new JsonException(
            $"the hash of '{Shown(path)}' ('{name}') is '{Shown(hash)}', which is none of {digits} digits.");

    private static string Shown(string text) => text.Length <= 100 ? text : text[..100] + "…";
}
