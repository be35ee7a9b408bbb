namespace Skylight.Tests.Samples;

/// <summary>A page of docs, for tests that run what it shows.</summary>
internal sealed class MarkdownPage
{
    private MarkdownPage(string text) => Text = text;

    /// <summary>All of it, with line feeds.</summary>
    public string Text { get; }

    public static MarkdownPage Read(string name) =>
        new(File.ReadAllText(Repository.PathOf("docs", name)).ReplaceLineEndings("\n"));

    /// <summary>What stands under a heading, up to the next of its level.</summary>
    public MarkdownPage Section(string heading)
    {
        string level = heading[..(heading.LastIndexOf('#') + 1)];
        string[] parts = $"\n{Text}".Split($"\n{heading}\n");
        Assert.True(parts.Length == 2, $"the page has no heading '{heading}', or several");
        return new MarkdownPage(parts[1].Split($"\n{level} ")[0]);
    }

    /// <summary>The fenced blocks of a language.</summary>
    public string[] Blocks(string language) =>
        [.. $"\n{Text}".Split($"\n```{language}\n")[1..].Select(
            block => block[..block.IndexOf("\n```", StringComparison.Ordinal)])];

    /// <summary>YAML blocks by the file name in their first line.</summary>
    public IReadOnlyList<(string File, string Text)> Recipes() =>
        [.. Blocks("yaml").Select(block => (block.Split('\n')[0].TrimStart('#', ' '), block))];

    /// <summary>The cells of the rows of all tables, code marks and all.</summary>
    public IReadOnlyList<string[]> Rows() =>
    [
        .. Text.Split('\n').Where(line => line.StartsWith('|') && !line.StartsWith("| ---", StringComparison.Ordinal))
            .Select(line => line.Trim('|').Split(" | ").Select(cell => cell.Trim()).ToArray()),
    ];
}
