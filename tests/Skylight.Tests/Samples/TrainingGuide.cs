using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Skylight.Images;
using Skylight.Tests.Cli;

namespace Skylight.Tests.Samples;

/// <summary>
/// The walk of docs/training.md on a checkpoint of the demo's shape: the page's row, recipes and commands, in a folder
/// of their own.
/// </summary>
public sealed class TrainingGuide : IAsyncLifetime
{
    private const int TrainingRows = 40, HeldOutRows = 8, Answers = 4;

    // A checkpoint of random weights with a context of 512 tokens: shorter, fewer steps, and rates at which so few
    // steps teach anything.
    private static readonly string[] s_sizes =
    [
        "prompt.max_sequence=512", "batch=8", "sampling.max_new_tokens=64", "learning_rate=1e-3", "cold-start:epochs=4",
        "grpo:learning_rate=2e-4", "grpo:steps=4", "grpo:evaluation.every=2", "grpo:checkpoints.every=2",
    ];

    private readonly TemporaryFolder _folder = new();

    internal static MarkdownPage Page { get; } = MarkdownPage.Read("training.md");

    internal static MarkdownPage Walk { get; } = Page.Section(
        "## From a checkpoint and a JSONL file to a better checkpoint");

    /// <summary>The commands of the walk.</summary>
    public static string[] Commands { get; } = [.. Walk.Blocks("sh").SelectMany(block => block.Split('\n'))
        .Where(line => line.Length > 0)];

    /// <summary>What each command of the walk gave.</summary>
    public Dictionary<string, (int Code, string Output, string Error)> Results { get; } = [];

    public string this[string name] => _folder[name];

    public string Path => _folder.Path;

    /// <summary>The settings that make a command of the page a small one.</summary>
    public static string[] Sizes => [.. s_sizes.SelectMany(size => (string[])["--set", size])];

    /// <summary>The words of a command after the program's name.</summary>
    public static string[] Words(string command)
    {
        string[] words = [.. Regex.Matches(command, "\"([^\"]*)\"|\\S+")
            .Select(match => match.Groups[1].Success ? match.Groups[1].Value : match.Value)];
        Assert.Equal("skylight", words[0]);
        return words[1..];
    }

    /// <summary>A command of the page, small.</summary>
    public static string[] Small(string command)
    {
        string[] words = Words(command);
        return words[0] == "train" ? [.. words, .. Sizes] : [.. words.Select(word => word == "1024" ? "64" : word)];
    }

    public async Task<(int Code, string Output, string Error)> RunAsync(string[] arguments, string input = "",
        string assembly = "Skylight.Cli.dll") =>
        await SkylightProgram.RunAsync(SkylightProgram.StartIn(Path, arguments, assembly), input);

    public async ValueTask InitializeAsync()
    {
        foreach ((string file, string text) in Walk.Recipes())
            _folder.Write(file, text);
        WriteRows("train.jsonl", TrainingRows, first: 1);
        WriteRows("held-out.jsonl", HeldOutRows, first: TrainingRows + 1);
        (int code, _, string error) = await RunAsync(["init", "InternVL3-1B", "--like", "demo"]);
        Assert.True(code == 0, error);
        foreach (string command in Commands)
        {
            string input = command.StartsWith("skylight chat", StringComparison.Ordinal)
                ? "/image pictures/0001.png\nWhat is the area of the triangle?\n" : "";
            Results.Add(command, await RunAsync(Small(command), input));
        }
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>
    /// Rows like that of the page, with other answers and pictures: as many bright squares as the answer says.
    /// </summary>
    private void WriteRows(string file, int count, int first)
    {
        string shown = Walk.Blocks("json").Single();
        var lines = new StringBuilder();
        for (int row = first; row < first + count; row++)
        {
            int answer = 1 + row * 7 % Answers;
            JsonNode node = JsonNode.Parse(shown.Replace("12", $"{answer}", StringComparison.Ordinal))!;
            string picture = $"pictures/{row:D4}.png";
            node["images"] = new JsonArray(picture);
            lines.Append(node.ToJsonString()).Append('\n');
            var levels = new byte[56 * 28];
            for (int square = 0; square < answer; square++)
            {
                for (int y = 8; y < 16; y++)
                    levels.AsSpan(y * 56 + 4 + 8 * square, 5).Fill(255);
            }

            _folder.Write(picture, PngEncoder.EncodeGray(levels, 56, 28));
        }

        _folder.Write(file, lines.ToString());
    }
}
