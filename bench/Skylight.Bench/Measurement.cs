using System.Diagnostics;

namespace Skylight.Bench;

/// <summary>Times of several arms, run in turn so that a disturbance of the machine meets all of them.</summary>
internal static class Measurement
{
    /// <summary>
    /// Runs every arm once to warm up and then <paramref name="rounds"/> times in turn; returns each arm's
    /// times in seconds, ascending.
    /// </summary>
    public static double[][] InTurn(int rounds, params Action[] arms)
    {
        double[][] times = Array.ConvertAll(arms, _ => new double[rounds]);
        // Long enough for the runtime to recompile the loops with what it learned.
        foreach (Action arm in arms)
        {
            long start = Stopwatch.GetTimestamp();
            do
                arm();
            while (Stopwatch.GetElapsedTime(start).TotalMilliseconds < 300);
        }
        for (int round = 0; round < rounds; round++)
        {
            for (int arm = 0; arm < arms.Length; arm++)
            {
                long start = Stopwatch.GetTimestamp();
                arms[arm]();
                times[arm][round] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
        }
        foreach (double[] arm in times)
            Array.Sort(arm);
        return times;
    }

    /// <summary>The middle of ascending values.</summary>
    public static double Median(double[] sorted) => (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
}
