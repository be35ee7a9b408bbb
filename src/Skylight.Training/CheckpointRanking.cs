namespace Skylight.Training;

/// <summary>A saved checkpoint with its two scores.</summary>
/// <param name="Step">The step after which it was saved.</param>
/// <param name="CriticalEntropy">Mean entropy of critical tokens on validation, in nats; null if there was none.</param>
/// <param name="Accuracy">Accuracy on validation, in [0, 1].</param>
/// <param name="Chosen">Whether training went on with it.</param>
public sealed record CheckpointScore(int Step, double? CriticalEntropy, double Accuracy, bool Chosen);

/// <summary>Compares how critical-token entropy and accuracy rank the same checkpoints.</summary>
/// <param name="BestByEntropy">The checkpoint with the highest critical-token entropy.</param>
/// <param name="BestByAccuracy">The checkpoint with the highest accuracy; of equal ones the earliest.</param>
/// <param name="Agree">Whether the first is as accurate as the second.</param>
/// <param name="RankCorrelation">Spearman's, in [-1, 1]; null if there are fewer than three or all of a kind are
/// equal.</param>
public sealed record CheckpointRanking(
    CheckpointScore BestByEntropy, CheckpointScore BestByAccuracy, bool Agree, double? RankCorrelation)
{
    /// <summary>
    /// Ranks checkpoints; null if none has an entropy. The correlation is over those that have one; a checkpoint
    /// without critical tokens can still be the most accurate.
    /// </summary>
    public static CheckpointRanking? Of(IEnumerable<CheckpointScore> checkpoints)
    {
        ArgumentNullException.ThrowIfNull(checkpoints);
        CheckpointScore[] all = [.. checkpoints];
        CheckpointScore[] scored = [
            .. all.Where(checkpoint => checkpoint.CriticalEntropy is double entropy && double.IsFinite(entropy))];
        if (scored.Length == 0)
            return null;

        CheckpointScore byEntropy = scored.MaxBy(checkpoint => checkpoint.CriticalEntropy)!;
        CheckpointScore byAccuracy = all.MaxBy(checkpoint => checkpoint.Accuracy)!;
        double[] entropyRanks = Ranks([.. scored.Select(checkpoint => checkpoint.CriticalEntropy!.Value)]);
        double[] accuracyRanks = Ranks([.. scored.Select(checkpoint => checkpoint.Accuracy)]);
        return new CheckpointRanking(
            byEntropy, byAccuracy, byEntropy.Accuracy == byAccuracy.Accuracy, Correlation(entropyRanks, accuracyRanks));
    }

    // Equal values share the mean of their ranks.
    private static double[] Ranks(double[] values) =>
        [.. values.Select(
            value => values.Count(other => other < value) + (values.Count(other => other == value) + 1) / 2.0)];

    private static double? Correlation(double[] x, double[] y)
    {
        if (x.Length < 3)
            return null;

        double meanX = x.Average();
        double meanY = y.Average();
        double covariance = x.Zip(y, (a, b) => (a - meanX) * (b - meanY)).Sum();
        double spread = Math.Sqrt(x.Sum(a => (a - meanX) * (a - meanX)) * y.Sum(b => (b - meanY) * (b - meanY)));
        return spread == 0 ? null : covariance / spread;
    }
}
