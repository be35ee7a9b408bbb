namespace Skylight.Training.Rewards;

/// <summary>
/// DAPO's soft overlong punishment (arXiv 2503.14476, equation 13): something to add to a reward, that falls from 0 to
/// −1 as a completion nears its limit.
/// </summary>
public static class OverlongPenalty
{
    /// <summary>The penalty of a completion.</summary>
    /// <param name="length">Its tokens.</param>
    /// <param name="mostTokens">The limit, from which on the penalty is −1.</param>
    /// <param name="bufferTokens">How many tokens before the limit it begins; the paper has 4,096 of 20,480.</param>
    /// <returns>0 up to mostTokens − bufferTokens, −1 from mostTokens on, and a straight line in between.</returns>
    public static double Of(int length, int mostTokens, int bufferTokens)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfLessThan(bufferTokens, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bufferTokens, mostTokens);
        return Math.Clamp(((double)mostTokens - bufferTokens - length) / bufferTokens, -1, 0);
    }
}
