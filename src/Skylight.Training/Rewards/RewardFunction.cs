namespace Skylight.Training.Rewards;

/// <summary>
/// The reward of a completion: accuracy, decided by a verifier, and format (Skywork-R1V3: 0.8 · accuracy + 0.2 · format).
/// </summary>
public sealed class RewardFunction
{
    private readonly IVerifier _verifier;

    /// <summary>Makes a reward function.</summary>
    /// <param name="verifier">Decides whether an answer is right.</param>
    /// <param name="accuracyWeight">What a right answer earns.</param>
    /// <param name="formatWeight">What the right form earns.</param>
    /// <exception cref="ArgumentOutOfRangeException">A weight is negative or not a number.</exception>
    public RewardFunction(IVerifier verifier, double accuracyWeight = 0.8, double formatWeight = 0.2)
    {
        ArgumentNullException.ThrowIfNull(verifier);
        CheckWeight(accuracyWeight, nameof(accuracyWeight));
        CheckWeight(formatWeight, nameof(formatWeight));

        _verifier = verifier;
        AccuracyWeight = accuracyWeight;
        FormatWeight = formatWeight;
    }

    /// <summary>What a right answer earns.</summary>
    public double AccuracyWeight { get; }

    /// <summary>What the right form earns.</summary>
    public double FormatWeight { get; }

    /// <summary>
    /// Whether a right answer counts even if the completion never ended. Off by default: an answer followed by endless text is
    /// no answer, and paying for it teaches the model not to stop.
    /// </summary>
    public bool RewardUnfinished { get; init; }

    /// <summary>Judges one completion.</summary>
    /// <param name="promptSuffix">
    /// The part of the assistant's turn that the prompt already holds, such as <c>&lt;think&gt;\n</c>; not the question, whose
    /// own words could be taken for an answer.
    /// </param>
    /// <param name="completion">What the model wrote, without the end token.</param>
    /// <param name="finished">Whether the model emitted its end token.</param>
    /// <param name="expectedAnswer">The known answer.</param>
    public RewardBreakdown Score(string promptSuffix, string completion, bool finished, string expectedAnswer)
    {
        bool wellFormed = ThinkFormatReward.IsWellFormed(promptSuffix, completion, finished);
        // The verifier sees the whole turn: a block that the prompt opened and nobody closed holds no answer.
        bool correct = (finished || RewardUnfinished) && _verifier.Verify(promptSuffix + completion, expectedAnswer);

        double accuracy = correct ? 1 : 0;
        double format = wellFormed ? 1 : 0;
        return new RewardBreakdown(AccuracyWeight * accuracy + FormatWeight * format, accuracy, format);
    }

    private static void CheckWeight(double weight, string name)
    {
        if (!(weight >= 0) || double.IsInfinity(weight))
            throw new ArgumentOutOfRangeException(name, weight, "A reward's weight must be a finite number and not negative.");
    }
}
