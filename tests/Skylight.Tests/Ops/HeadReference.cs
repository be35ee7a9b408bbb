namespace Skylight.Tests.Ops;

/// <summary>The head in double precision, by definition.</summary>
internal static class HeadReference
{
    public static float[] Normal(int count, int seed, float deviation = 1)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (int index = 0; index < count; index++)
            values[index] = (float)(deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()))
                * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }

    public static int[] Targets(int count, int vocabulary, int seed, int everyNone = 4)
    {
        var random = new Random(seed);
        var targets = new int[count];
        for (int index = 0; index < count; index++)
            targets[index] = random.Next(everyNone) == 0 ? -1 : random.Next(vocabulary);
        return targets;
    }

    public static double[] Widen(float[] values) => Array.ConvertAll(values, value => (double)value);

    public static double[] Logits(double[] hidden, double[] weight, int tokens, int vocabulary, int width)
    {
        var logits = new double[tokens * vocabulary];
        for (int t = 0; t < tokens; t++)
            for (int v = 0; v < vocabulary; v++)
                for (int k = 0; k < width; k++)
                    logits[t * vocabulary + v] += hidden[t * width + k] * weight[v * width + k];
        return logits;
    }

    public static (double LogProbability, double Entropy, double LogSumExp) Row(ReadOnlySpan<double> logits, int target,
        double temperature)
    {
        double maximum = double.NegativeInfinity, sum = 0, weighted = 0;
        foreach (double logit in logits)
            maximum = Math.Max(maximum, logit / temperature);
        foreach (double logit in logits)
            sum += Math.Exp(logit / temperature - maximum);
        double logSumExp = maximum + Math.Log(sum);
        foreach (double logit in logits)
        {
            double logProbability = logit / temperature - logSumExp;
            weighted -= Math.Exp(logProbability) * logProbability;
        }

        return (logits[target] / temperature - logSumExp, weighted, logSumExp);
    }

    /// <summary>Σ over rows with a target of a·logProbability + b·entropy.</summary>
    public static double Objective(double[] hidden, double[] weight, int[] targets, int vocabulary, int width,
        double temperature, float[] a, float[] b)
    {
        double[] logits = Logits(hidden, weight, targets.Length, vocabulary, width);
        double sum = 0;
        for (int t = 0; t < targets.Length; t++)
        {
            if (targets[t] < 0)
                continue;
            (double logProbability, double entropy, _) = Row(logits.AsSpan(t * vocabulary, vocabulary), targets[t],
                temperature);
            sum += a[t] * logProbability + b[t] * entropy;
        }

        return sum;
    }

    public static double[] CentralDifferences(double[] at, Func<double[], double> function, double step = 1e-4)
    {
        var gradient = new double[at.Length];
        for (int index = 0; index < at.Length; index++)
        {
            double saved = at[index];
            at[index] = saved + step;
            double above = function(at);
            at[index] = saved - step;
            gradient[index] = (above - function(at)) / (2 * step);
            at[index] = saved;
        }

        return gradient;
    }

    /// <summary>‖actual − expected‖ ≤ tolerance·‖expected‖.</summary>
    public static void AssertClose(double[] expected, float[] actual, double tolerance, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        double error = 0, norm = 0;
        for (int index = 0; index < expected.Length; index++)
        {
            error += (expected[index] - actual[index]) * (expected[index] - actual[index]);
            norm += expected[index] * expected[index];
        }

        Assert.True(Math.Sqrt(error) <= tolerance * Math.Sqrt(norm),
            $"{what}: relative error {Math.Sqrt(error / norm):E2}, tolerance {tolerance:E1}");
    }
}
