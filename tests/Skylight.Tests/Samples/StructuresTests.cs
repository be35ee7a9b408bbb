using System.Text.RegularExpressions;

namespace Skylight.Tests.Samples;

/// <summary>docs/structures.md walks through the code that is there.</summary>
public sealed partial class StructuresTests
{
    [Theory]
    [InlineData("## The life of a request", 15)]
    [InlineData("## The life of a training step", 14)]
    public void Every_line_names_files_that_exist(string heading, int least)
    {
        IReadOnlyList<string[]> rows = [.. MarkdownPage.Read("structures.md").Section(heading).Rows().Skip(1)];
        Assert.InRange(rows.Count, least, 30);
        foreach (string[] row in rows)
        {
            Assert.Equal(3, row.Length);
            string[] files = [.. File().Matches(row[2]).Select(match => match.Groups[1].Value)];
            Assert.NotEmpty(files);
            Assert.All(files,
                file => Assert.True(System.IO.File.Exists(Repository.PathOf(file.Split('/'))),
                    $"'{row[1]}' names {file}, which does not exist."));
        }
    }

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex File();
}
