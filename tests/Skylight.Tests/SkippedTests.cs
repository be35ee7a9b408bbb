using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Skylight.Tests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(SkippedTests))]

namespace Skylight.Tests;

/// <summary>Says in one line, when all tests have run, how many were skipped and what they lack.</summary>
public sealed class SkippedTests : IDisposable
{
    private const int LongestReason = 200;

    /// <summary>By test: an exception is seen again wherever it is thrown on.</summary>
    private readonly ConcurrentDictionary<string, string> _reasons = new();

    // Neither a fixture nor an attribute is told why a test was skipped.
    public SkippedTests() => AppDomain.CurrentDomain.FirstChanceException += Note;

    /// <summary>The line.</summary>
    /// <param name="reasons">Why, for each test that was skipped.</param>
    internal static string Describe(IEnumerable<string> reasons)
    {
        (string Reason, int Count)[] counts = [.. reasons.CountBy(Shorten).Select(pair => (pair.Key, pair.Value))
            .OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal)];
        return counts.Length == 0
            ? "Skipped tests: none"
            : $"Skipped tests: {counts.Sum(pair => pair.Count)} " +
                $"({string.Join("; ", counts.Select(pair => $"{pair.Count}: {pair.Reason}"))})";
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        AppDomain.CurrentDomain.FirstChanceException -= Note;
        TestContext.Current.SendDiagnosticMessage("{0}", Describe(_reasons.Values));
    }

    private void Note(object? sender, FirstChanceExceptionEventArgs thrown)
    {
        if (thrown.Exception is SkipException skip && TestContext.Current.Test is { } test)
            _reasons[test.UniqueID] = skip.Message.Replace(DynamicSkipToken.Value, "", StringComparison.Ordinal);
    }

    private static string Shorten(string reason)
    {
        string line = reason.Split('\n')[0].Trim();
        return line.Length <= LongestReason ? line : line[..LongestReason] + "…";
    }
}
