namespace Skylight.Training.Evaluation;

/// <summary>An accuracy with its 95 % confidence interval.</summary>
/// <param name="Mean">The mean over items of the share of right samples, in [0, 1].</param>
/// <param name="Low">Where the interval begins.</param>
/// <param name="High">Where it ends.</param>
/// <param name="Items">How many items there are.</param>
/// <param name="Samples">How many responses there are.</param>
public sealed record AccuracyInterval(double Mean, double Low, double High, int Items, int Samples)
{
    private const double Z95 = 1.959963984540054;

    /// <summary>What the interval is, in words.</summary>
    public const string Method =
        "Wilson, 95 %, clustered by item (effective number of responses from the spread between items)";

    /// <summary>What is known of an accuracy without any response: that it lies between 0 and 1.</summary>
    public static AccuracyInterval Unknown { get; } = new(0, 0, 1, 0, 0);

    /// <summary>
    /// Measures. The samples of an item resemble each other, so that n of them tell less than n items: Wilson's
    /// interval is taken for the number of independent responses that would spread as much as the items do. With one
    /// sample an item this is Wilson's interval itself.
    /// </summary>
    /// <param name="items">For each item the right and all of its responses; at least one item, and at least one
    /// response to each.</param>
    public static AccuracyInterval Of(IReadOnlyCollection<(int Right, int Samples)> items)
    {
        ArgumentNullException.ThrowIfNull(items);
        if (items.Count == 0 || items.Any(item => item.Samples < 1 || item.Right < 0 || item.Right > item.Samples))
            throw new ArgumentException("An accuracy needs items, each with one response or more.", nameof(items));
        double[] shares = [.. items.Select(item => (double)item.Right / item.Samples)];
        int samples = items.Sum(item => item.Samples);
        double mean = shares.Average(),
            variance = shares.Sum(share => (share - mean) * (share - mean)) / shares.Length / shares.Length;
        // Where all items are alike their spread says nothing; they count as one response each, which is the cautious end.
        double independent = variance > 0 ? Math.Clamp(mean * (1 - mean) / variance, shares.Length, samples) : shares.Length;
        double z2 = Z95 * Z95, center = (mean + z2 / (2 * independent)) / (1 + z2 / independent);
        double half = Z95 / (1 + z2 / independent)
            * Math.Sqrt(mean * (1 - mean) / independent + z2 / (4 * independent * independent));
        return new AccuracyInterval(mean, Math.Clamp(center - half, 0, mean), Math.Clamp(center + half, mean, 1),
            shares.Length, samples);
    }
}
