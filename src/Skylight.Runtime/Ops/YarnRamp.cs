namespace Skylight.Ops;

/// <summary>
/// What YaRN does to rotary frequencies (Peng et al., 2023, "NTK-by-parts"): those before <see cref="Low"/> stay, those
/// from <see cref="High"/> on are divided by
/// <see cref="Factor"/>, and between them the two are mixed along a straight line. It depends on no sequence's length.
/// </summary>
/// <param name="Factor">How many times longer sequences get.</param>
/// <param name="Low">The place among the frequencies up to which they stay.</param>
/// <param name="High">The place from which they are divided; another than <paramref name="Low"/>.</param>
/// <param name="AttentionFactor">What cosines and sines are multiplied by.</param>
public readonly record struct YarnRamp(float Factor, float Low, float High, float AttentionFactor)
{
    /// <summary>A frequency.</summary>
    /// <param name="index">Its place.</param>
    /// <param name="power">θ^(2·index / head dimension), whose reciprocal the frequency is without YaRN.</param>
    internal float Frequency(int index, float power)
    {
        float kept = 1f - Math.Clamp((index - Low) / (High - Low), 0f, 1f);
        return 1f / (Factor * power) * (1f - kept) + 1f / power * kept;
    }
}
