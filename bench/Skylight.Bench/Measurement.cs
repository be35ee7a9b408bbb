using System.Diagnostics;

namespace Skylight.Bench;

/// <summary>
/// Times of several arms, run in turn so that a disturbance of the machine meets all of them. Every round begins
/// and ends with the register-only multiply-add loop on all threads: where that took clearly longer than on one
/// thread alone at its best, something else had a core, and the round does not count.
/// </summary>
internal sealed class Measurement
{
    private const double CalmTolerance = 1.1;
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(12);

    private readonly double[][] _times;

    private Measurement(double[][] times, double peakSeconds, int rounds, bool isCalm)
    {
        _times = times;
        PeakFlops = MachinePeak.FusedMultiplyAddFlops / peakSeconds;
        Rounds = rounds;
        IsCalm = isCalm;
    }

    /// <summary>The median speed of the multiply-add loop in the rounds that count, in FLOP/s.</summary>
    public double PeakFlops { get; }

    /// <summary>The number of rounds that count.</summary>
    public int Rounds { get; }

    /// <summary>Whether enough undisturbed rounds were found; otherwise all rounds count.</summary>
    public bool IsCalm { get; }

    /// <summary>The median time of an arm in seconds.</summary>
    public double Seconds(int arm) => Median(_times[arm]);

    /// <summary>
    /// Warms up, then runs the arms in turn until <paramref name="rounds"/> undisturbed rounds are there or 12 s
    /// have passed.
    /// </summary>
    public static Measurement InTurn(int rounds, params Action[] arms) =>
        InTurn(rounds, Longest, Array.ConvertAll(arms, arm => new Arm(arm)));

    /// <summary>The same for arms that something must be made ready for each time, within another time.</summary>
    public static Measurement InTurn(int rounds, TimeSpan longest, params Arm[] arms)
    {
        // Long enough for the runtime to recompile the loops with what it learned.
        foreach (Arm arm in arms.Prepend(new Arm(MachinePeak.FusedMultiplyAdds)))
        {
            long begin = Stopwatch.GetTimestamp();
            do
                arm.PrepareAndRun();
            while (Stopwatch.GetElapsedTime(begin).TotalMilliseconds < 200);
        }
        var peak = new List<double>();
        List<double>[] times = Array.ConvertAll(arms, _ => new List<double>());
        long start = Stopwatch.GetTimestamp();
        var alone = new List<double>();
        int[] calm;
        do
        {
            alone.Add(Time(MachinePeak.FusedMultiplyAddsOnThisThread));
            peak.Add(Time(MachinePeak.FusedMultiplyAdds));
            for (int arm = 0; arm < arms.Length; arm++)
            {
                arms[arm].Prepare?.Invoke();
                times[arm].Add(Time(arms[arm].Run));
            }

            calm = CalmRounds([.. peak, Time(MachinePeak.FusedMultiplyAdds)], alone.Min());
        }
        while (calm.Length < rounds && Stopwatch.GetElapsedTime(start) < longest);
        bool isCalm = calm.Length >= rounds / 2;
        int[] counted = isCalm ? calm : [.. Enumerable.Range(0, peak.Count)];
        return new Measurement(
            Array.ConvertAll(times, arm => Array.ConvertAll(counted, round => arm[round])),
            Median(Array.ConvertAll(counted, round => peak[round])), counted.Length, isCalm);
    }

    /// <summary>The shortest time of an arm in seconds.</summary>
    public double Shortest(int arm) => _times[arm].Min();

    private static double Time(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static int[] CalmRounds(double[] peak, double alone)
    {
        double limit = Math.Min(alone, peak.Min()) * CalmTolerance;
        return [.. Enumerable.Range(0, peak.Length - 1).Where(round => peak[round] <= limit && peak[round + 1] <= limit)];
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}

/// <summary>What is timed.</summary>
/// <param name="Run">Is timed.</param>
/// <param name="Prepare">Runs before it each time and is not.</param>
internal sealed record Arm(Action Run, Action? Prepare = null)
{
    /// <summary>Both, untimed.</summary>
    public void PrepareAndRun()
    {
        Prepare?.Invoke();
        Run();
    }
}
