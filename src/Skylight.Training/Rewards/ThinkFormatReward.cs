namespace Skylight.Training.Rewards;

/// <summary>
/// The format reward: the assistant's turn reasons in exactly one think block, then answers, then ends. A turn that the
/// length limit cut off earns nothing, or length would grow to the limit.
/// </summary>
public static class ThinkFormatReward
{
    /// <summary>Whether the turn has the form <c>&lt;think&gt;…&lt;/think&gt;answer</c> and ended.</summary>
    /// <param name="promptSuffix">
    /// The part of the assistant's turn that the prompt already holds, such as <c>&lt;think&gt;\n</c>; empty if there
    /// is none.
    /// </param>
    /// <param name="completion">What the model wrote, without the end token.</param>
    /// <param name="finished">Whether the model emitted its end token.</param>
    public static bool IsWellFormed(string promptSuffix, string completion, bool finished)
    {
        ArgumentNullException.ThrowIfNull(promptSuffix);
        ArgumentNullException.ThrowIfNull(completion);
        if (!finished)
            return false;

        string turn = promptSuffix + completion;
        return TryFindOnly(turn, ThinkBlock.Open, out int open)
            && TryFindOnly(turn, ThinkBlock.Close, out int close)
            && open < close
            && !turn.AsSpan(close + ThinkBlock.Close.Length).IsWhiteSpace();
    }

    private static bool TryFindOnly(string text, string mark, out int position)
    {
        position = text.IndexOf(mark, StringComparison.Ordinal);
        return position >= 0 && text.IndexOf(mark, position + mark.Length, StringComparison.Ordinal) < 0;
    }
}
