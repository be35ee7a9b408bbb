namespace Skylight.Training.Rewards;

/// <summary>The marks around the reasoning of a response, and how to read them.</summary>
public static class ThinkBlock
{
    /// <summary>Opens the reasoning.</summary>
    public const string Open = "<think>";

    /// <summary>Closes the reasoning; what follows is the answer.</summary>
    public const string Close = "</think>";

    /// <summary>
    /// The part of a response that counts as its answer: all of it if it has no think block, what follows the last
    /// <see cref="Close"/> if it has, and nothing while the block is still open.
    /// </summary>
    public static ReadOnlySpan<char> Answer(string response)
    {
        ArgumentNullException.ThrowIfNull(response);

        int close = response.LastIndexOf(Close, StringComparison.Ordinal);
        int open = response.LastIndexOf(Open, StringComparison.Ordinal);
        if (open > close)
            return [];
        return close < 0 ? response : response.AsSpan(close + Close.Length);
    }

    /// <summary>Whether a prompt ends inside an open think block, so that its completion starts by reasoning.</summary>
    public static bool IsOpenAtEnd(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return prompt.LastIndexOf(Open, StringComparison.Ordinal) > prompt.LastIndexOf(Close, StringComparison.Ordinal);
    }
}
