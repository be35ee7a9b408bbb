using System.Text.RegularExpressions;

namespace Skylight.Tests;

/// <summary>What people read who do not see the code.</summary>
internal static partial class PlainWords
{
    /// <summary>
    /// Asserts that a text has no stack trace, no name of a type or parameter and no gap where a name should be.
    /// </summary>
    public static void Check(string text) => Assert.False(Insides().IsMatch(text), text);

    [GeneratedRegex(
        @"System\.|Skylight\.[A-Z]\w+[.+]|\(Parameter|\(null\)|^\s*at [\w.<>]+[.(]|   at [\w.<>]+[.(]|Unhandled|LineNumber|BytePositionInLine|isFinalBlock|reader options|\w+Exception\b|`\d", RegexOptions.Multiline)]
    private static partial Regex Insides();
}
