using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Cli.Chat;
using Skylight.Hub;

namespace Skylight.Cli;

/// <summary><c>skylight pull</c>: brings a model from the hub into the cache.</summary>
internal static class PullCommand
{
    public static Command Create()
    {
        var repository =
            new Argument<string>("repository")
            {
                Description =
                    "OWNER/NAME of the hub, such as OpenGVLab/InternVL3-1B; OWNER/NAME@REVISION for another revision " +
                    "than main.",
            };
        var revision = new Option<string?>("--revision") { Description = "A branch, a tag or a commit; by default main." };
        var include = new Option<string[]>("--include")
        {
            Description =
                "Files to take in place of what a checkpoint needs: names, with * for any characters, ? for one, " +
                "[abc] for one of some. May be given several times.",
            AllowMultipleArgumentsPerToken = true,
        };
        var json = new Option<bool>("--json")
        {
            Description = "Print folder, commit and files as one JSON object, in place of the folder alone.",
        };
        var command = new Command("pull",
            "Download a model from the Hugging Face hub into the cache that Python uses too, or go on with it, and " +
            "print its folder. docs/models.md lists models.")
        {
            repository, revision, include, json,
        };
        command.SetAction((parse, cancellationToken) => RunAsync(
            parse.GetRequiredValue(repository), parse.GetValue(revision), parse.GetValue(include) ?? [],
            parse.GetValue(json), cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(string repository, string? revision, string[] include, bool json,
        CancellationToken cancellationToken)
    {
        HubSnapshot snapshot = await ModelSource.PullAsync(repository, revision, include, ModelFolder.Hub,
            cancellationToken);
        await Console.Error.WriteLineAsync(
            $"{snapshot.Repository} at commit {snapshot.Commit}: {snapshot.Files.Count} files, {ByteText.Of(snapshot.Files.Sum(file => file.Length))}, of which {ByteText.Of(snapshot.ReceivedBytes)} came now.");
        if (snapshot.LeftOut.Count > 0)
            await Console.Error.WriteLineAsync(
                AnswerPrinter.Printable(
                    $"Left out, since {(include.Length > 0 ? "--include does not name them" : "no checkpoint needs them; --include takes what it names")}: {LeftOut(snapshot.LeftOut)}."));
        Console.WriteLine(json
            ? JsonSerializer.Serialize(
                new PullResult(
                    snapshot.Repository, snapshot.Revision, snapshot.Commit, snapshot.Folder,
                    [.. snapshot.Files.Select(PulledFile.Of)], [.. snapshot.LeftOut.Select(PulledFile.Of)],
                    snapshot.ReceivedBytes),
                PullJson.Readable.PullResult)
            : snapshot.Folder);
        return 0;
    }

    private static string LeftOut(IReadOnlyList<HubFile> files)
    {
        const int Most = 10;
        IEnumerable<string> largest = files.OrderByDescending(file => file.Length).Take(Most)
            .Select(file => file.Length < 0 ? file.Path : $"{file.Path} ({ByteText.Of(file.Length)})");
        return string.Join(", ", largest) + (files.Count > Most ? $" and {files.Count - Most} more" : "");
    }
}

/// <summary>What <c>skylight pull --json</c> prints.</summary>
/// <param name="Repository">OWNER/NAME.</param>
/// <param name="Revision">What was asked for.</param>
/// <param name="Commit">What it is.</param>
/// <param name="Folder">Where the files are.</param>
/// <param name="Files">The files that were asked for.</param>
/// <param name="LeftOut">The others.</param>
/// <param name="ReceivedBytes">What came over the network.</param>
internal sealed record PullResult(string Repository, string Revision, string Commit, string Folder, PulledFile[] Files,
    PulledFile[] LeftOut, long ReceivedBytes);

/// <summary>A file of it.</summary>
/// <param name="Path">Its name.</param>
/// <param name="Length">Its bytes; null where the hub does not say.</param>
internal sealed record PulledFile(string Path, long? Length)
{
    public static PulledFile Of(HubFile file) => new(file.Path, file.Length < 0 ? null : file.Length);
}

/// <summary>How it is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(PullResult))]
internal sealed partial class PullJson : JsonSerializerContext
{
    /// <summary>With all characters as they are: it is read by programs and people, not put into a page.</summary>
    public static PullJson Readable =>
        field ??= new(new JsonSerializerOptions(Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}
