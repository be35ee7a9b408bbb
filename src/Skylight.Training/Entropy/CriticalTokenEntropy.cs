namespace Skylight.Training.Entropy;

/// <summary>
/// Entropy over one or many completions, in nats, split into critical reasoning tokens and all tokens. It holds sums,
/// so that adding two of them is the measurement of both together.
/// </summary>
/// <param name="CriticalSum">Sum of the entropies of the steps that emitted a critical token.</param>
/// <param name="CriticalCount">How many such steps there were.</param>
/// <param name="EntropySum">Sum of the entropies of all steps.</param>
/// <param name="AboveThresholdCount">How many of all steps had an entropy above the threshold.</param>
/// <param name="TokenCount">How many steps there were.</param>
public readonly record struct CriticalTokenEntropy(
    double CriticalSum, long CriticalCount, double EntropySum, long AboveThresholdCount, long TokenCount)
{
    /// <summary>Mean entropy of the steps that emitted a critical token, in nats; null if none did.</summary>
    public double? MeanCriticalEntropy => CriticalCount == 0 ? null : CriticalSum / CriticalCount;

    /// <summary>Mean entropy of all steps, in nats; NaN if there were none.</summary>
    public double MeanEntropy => EntropySum / TokenCount;

    /// <summary>Share of all steps whose entropy was above the threshold, in [0, 1]; NaN if there were none.</summary>
    public double ShareAboveThreshold => (double)AboveThresholdCount / TokenCount;

    /// <summary>The measurement of both together.</summary>
    public CriticalTokenEntropy Add(CriticalTokenEntropy other) => new(
        CriticalSum + other.CriticalSum,
        CriticalCount + other.CriticalCount,
        EntropySum + other.EntropySum,
        AboveThresholdCount + other.AboveThresholdCount,
        TokenCount + other.TokenCount);

    /// <summary>The measurement of both together.</summary>
    public static CriticalTokenEntropy operator +(CriticalTokenEntropy left, CriticalTokenEntropy right) => left.Add(right);
}
