using System.Text;
using System.Text.Json;
using Skylight.Hub;

namespace Skylight.Fuzz;

/// <summary>
/// A hub's list of files, its record in the cache, and what is taken of it: no name may lead out of a folder.
/// </summary>
internal sealed class HubTarget() : FuzzTarget("hub")
{
    private static readonly string s_commit = new('a', 40);

    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        .. new[]
        {
            """
            {"_id": "1", "id": "Acme/Tiny", "sha": "COMMIT", "gated": "auto", "siblings": [{"rfilename": "config.json", "size": 5, "blobId": "COMMIT"},
            {"rfilename": "model.safetensors", "size": 134, "blobId": "COMMIT", "lfs": {"sha256": "HASH", "size": 123456789012, "pointerSize": 134}},
            {"rfilename": "sub/\u00e9.json"}, {"rfilename": "LICENSE"}]}
            """,
            """
            {"format_version": 1, "files": {"config.json": {"size": 5, "blob_id": "COMMIT"},
            "model.safetensors": {"size": 134, "blob_id": "", "lfs_sha256": "HASH", "lfs_size": 7, "xet_hash": "x"}}}
            """,
        }.Select(text =>
            Encoding.UTF8.GetBytes(text.Replace("COMMIT", s_commit, StringComparison.Ordinal)
                .Replace("HASH", new string('3', 64), StringComparison.Ordinal))),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is JsonException or HubException;

    public override void Run(byte[] input)
    {
        bool isRecord = input.AsSpan().IndexOf("siblings"u8) < 0;
        if ((isRecord ? HubListing.ParseRecord(s_commit, input) : HubListing.ParseAnswer(input)) is not { } listing)
            return;
        string root = Path.GetFullPath("cache");
        foreach (HubFile file in FileSelection.Default("Acme/Tiny", listing.Files, ModelParts.Checkpoint)
            .Concat(FileSelection.Of("Acme/Tiny", listing.Files, ["*"])))
        {
            if (!Path.GetFullPath(Path.Combine([root, .. file.Path.Split('/')]))
                .StartsWith(root + Path.DirectorySeparatorChar, StringComparison.Ordinal))
                throw new InvalidOperationException($"'{file.Path}' leads out of the folder.");
        }

        listing.ToRecord();
    }
}
