namespace Skylight.Training.Rewards;

/// <summary>
/// The penalty of DAPO (arXiv 2503.14476, equation 13): 0 up to the buffer before the most tokens, then down to −1 at
/// its end.
/// </summary>
internal sealed class OverlongReward(int maxTokens, int buffer) : SampleReward("length")
{
    protected override double Score(RewardRequest request)
    {
        int most = MaximumLength.Of(request, maxTokens);
        if (buffer > most)
            throw new InvalidDataException(
                $"the buffer of {buffer} tokens is longer than the most tokens of a completion, {most}.");
        return OverlongPenalty.Of(request.TokenCount, most, buffer);
    }
}

/// <summary>
/// A reward that falls with the length of right answers and rises with that of wrong ones, along a cosine (open-r1,
/// after arXiv 2502.03373) or a line.
/// </summary>
internal sealed class ScaledLengthReward(bool isCosine, int maxTokens, double rightShort, double rightLong,
    double wrongShort, double wrongLong) : SampleReward("length")
{
    protected override double Score(RewardRequest request)
    {
        double progress = Math.Min(1, request.TokenCount / (double)MaximumLength.Of(request, maxTokens));
        IReadOnlyList<string> keys = AnswerKey.Of(request);
        bool isRight = request.Finished && AnswerKey.Accepts(request, keys, needsMark: true);
        (double atStart, double atEnd) = isRight ? (rightShort, rightLong) : (wrongShort, wrongLong);
        return atStart + (atEnd - atStart) * (isCosine ? (1 - Math.Cos(Math.PI * progress)) / 2 : progress);
    }
}

internal static class MaximumLength
{
    public static int Of(RewardRequest request, int maxTokens) => maxTokens > 0 ? maxTokens : request.MaximumTokens > 0
        ? request.MaximumTokens
        : throw new InvalidDataException("nothing limits the length of completions; give max_tokens.");
}
