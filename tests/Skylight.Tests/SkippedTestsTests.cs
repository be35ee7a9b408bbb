namespace Skylight.Tests;

public sealed class SkippedTestsTests
{
    [Fact]
    public void The_line_counts_by_what_is_lacking()
    {
        Assert.Equal("Skipped tests: none", SkippedTests.Describe([]));
        Assert.Equal("Skipped tests: 3 (2: needs a library; 1: There is no node.)",
            SkippedTests.Describe(["needs a library", "There is no node.\nSearched: PATH", "needs a library"]));
    }

    /// <summary>
    /// What a test skips by is seen while it runs, so an attribute that skips without running would escape.
    /// </summary>
    [Fact]
    public void No_test_is_skipped_by_its_attribute()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("tests"), "*.cs")
            .Where(file => File.ReadLines(file)
                .Any(line => line.TrimStart().StartsWith('[') && line.Contains("Skip =", StringComparison.Ordinal)))
            .Select(Repository.Relative)];
        Assert.Empty(violations);
    }
}
