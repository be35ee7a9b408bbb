namespace Skylight.Cli.Verify;

/// <summary>How a group of tensors compares with its references.</summary>
/// <param name="Group">What they are, such as <c>sft.grad</c>.</param>
/// <param name="Tensors">How many were compared.</param>
/// <param name="Error">The greatest relative error ‖ours − reference‖ / ‖reference‖ of any of them.</param>
/// <param name="Limit">What it may be.</param>
/// <param name="Worst">The tensor and element with the greatest error.</param>
/// <param name="Failures">The tensors that are beyond the limit.</param>
internal sealed record ComparisonRow(string Group, int Tensors, double Error, double Limit, string Worst, IReadOnlyList<string> Failures);

/// <summary>Collects comparisons by group.</summary>
internal sealed class ComparisonTable
{
    /// <summary>A gradient whose reference is smaller than this fraction of the largest one of its group is rounding noise.</summary>
    private const double VanishingNorm = 1e-7;

    private const double VanishingLimit = 1e-6;

    private readonly List<(string Group, string Tensor, float[] Ours, float[] Reference, double Limit)> _comparisons = [];
    private readonly List<(string Group, string Name, float Ours, float Reference, double Limit)> _numbers = [];

    /// <summary>Adds a tensor.</summary>
    public void Add(string group, string tensor, float[] ours, float[] reference, double limit)
    {
        if (ours.Length != reference.Length)
            throw new InvalidDataException($"{tensor}: the reference has {reference.Length} elements, the model gives {ours.Length}. The dump belongs to another model.");
        _comparisons.Add((group, tensor, ours, reference, limit));
    }

    /// <summary>
    /// Adds a number. The numbers of a group are compared as one vector: a policy loss near zero is the difference of larger terms,
    /// whose rounding would otherwise be measured against almost nothing.
    /// </summary>
    public void Add(string group, string tensor, double ours, double reference, double limit) => _numbers.Add((group, tensor, (float)ours, (float)reference, limit));

    /// <summary>One row per group; groups of tensors first, then groups of numbers, each in the order in which they appeared.</summary>
    public IReadOnlyList<ComparisonRow> Rows() =>
    [
        .. _comparisons.GroupBy(comparison => comparison.Group).Select(group => Row(group.Key, [.. group])),
        .. _numbers.GroupBy(number => number.Group).Select(group => NumberRow(group.Key, [.. group])),
    ];

    private static ComparisonRow NumberRow(string group, List<(string Group, string Name, float Ours, float Reference, double Limit)> numbers)
    {
        float[] ours = [.. numbers.Select(number => number.Ours)], reference = [.. numbers.Select(number => number.Reference)];
        double difference = Distance(ours, reference), error = difference == 0 ? 0 : difference / Norm(reference);
        (_, string name, float worst, float expected, double limit) = numbers[WorstElement(ours, reference)];
        return new ComparisonRow(group, numbers.Count, error, limit, $"{name}: {worst:G9} for {expected:G9}", error <= limit ? [] : [name]);
    }

    private static ComparisonRow Row(string group, List<(string Group, string Tensor, float[] Ours, float[] Reference, double Limit)> comparisons)
    {
        double largest = comparisons.Max(comparison => Norm(comparison.Reference));
        bool gradients = group.EndsWith(".grad", StringComparison.Ordinal);
        double worst = -1;
        string where = "";
        var failures = new List<string>();
        foreach ((_, string tensor, float[] ours, float[] reference, double limit) in comparisons)
        {
            double norm = Norm(reference), difference = Distance(ours, reference);
            bool vanishing = gradients && norm < VanishingNorm * largest;
            double error = vanishing ? difference / Math.Max(largest, double.Epsilon) : difference == 0 ? 0 : difference / norm;

            // NaN compares false with everything, so ask whether the error is within the limit, not whether it is beyond.
            if (!(error <= (vanishing ? VanishingLimit : limit)))
                failures.Add(tensor);
            if (vanishing || !(error > worst || double.IsNaN(error)))
                continue;
            worst = error;
            int element = WorstElement(ours, reference);
            where = $"{tensor}[{element}]: {ours[element]:G9} for {reference[element]:G9}";
        }

        return new ComparisonRow(group, comparisons.Count, worst, comparisons[0].Limit, where, failures);
    }

    private static double Norm(float[] values) => Math.Sqrt(values.Sum(value => (double)value * value));

    private static double Distance(float[] left, float[] right) => Math.Sqrt(left.Zip(right).Sum(pair => ((double)pair.First - pair.Second) * ((double)pair.First - pair.Second)));

    private static int WorstElement(float[] ours, float[] reference)
    {
        int worst = 0;
        for (int index = 1; index < ours.Length; index++)
        {
            if (Math.Abs(ours[index] - reference[index]) > Math.Abs(ours[worst] - reference[worst]) || float.IsNaN(ours[index]))
                worst = index;
        }

        return worst;
    }
}
