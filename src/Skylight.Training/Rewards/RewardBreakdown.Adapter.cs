namespace Skylight.Training.Rewards;

/// <summary>For callers that know accuracy and format alone, until they take a <see cref="RewardSet"/>; goes together with <see cref="RewardFunction"/>.</summary>
public sealed partial class RewardBreakdown
{
    private static readonly string[] s_accuracyAndFormat = ["accuracy", "format"];

    /// <summary>A reward of accuracy and format.</summary>
    /// <param name="total">The weighted sum.</param>
    /// <param name="accuracy">1 if the verifier accepted the answer, otherwise 0.</param>
    /// <param name="format">1 if the form was right and the completion ended, otherwise 0.</param>
    public RewardBreakdown(double total, double accuracy, double format)
        : this(total, s_accuracyAndFormat, [accuracy, format])
    {
    }

    /// <summary>The component "accuracy"; 0 without one.</summary>
    public double Accuracy => Find("accuracy") ?? 0;

    /// <summary>The component "format"; 0 without one.</summary>
    public double Format => Find("format") ?? 0;
}
