namespace Skylight.Cli.Verify;

/// <summary>How the error of a group is measured.</summary>
internal enum ErrorMeasure
{
    /// <summary>‖ours − reference‖ / ‖reference‖.</summary>
    Relative,

    /// <summary>
    /// The largest |ours − reference| of any element: for values whose scale means something by itself, such as nats.
    /// </summary>
    LargestDifference,
}

/// <summary>How a group of tensors compares with its references.</summary>
/// <param name="Group">What they are, such as <c>sft.grad</c>.</param>
/// <param name="Tensors">How many were compared.</param>
/// <param name="Error">The greatest error of any of them.</param>
/// <param name="Limit">What it may be.</param>
/// <param name="Worst">The tensor and element with the greatest error.</param>
/// <param name="Failures">The tensors that are beyond the limit.</param>
/// <param name="Measure">What <paramref name="Error"/> and <paramref name="Limit"/> measure.</param>
internal sealed record ComparisonRow(string Group, int Tensors, double Error, double Limit, string Worst,
    IReadOnlyList<string> Failures, ErrorMeasure Measure = ErrorMeasure.Relative);

/// <summary>Collects comparisons by group.</summary>
/// <param name="gradientFloor">
/// Where rounding is coarse, a gradient that is small because large terms cancel has the rounding noise of those terms.
/// This fraction of the largest norm of a group of gradients is therefore added to every reference's norm before an
/// error is divided by it. 0 where sums are float32.
/// </param>
internal sealed class ComparisonTable(double gradientFloor = 0)
{
    /// <summary>
    /// A gradient whose reference is smaller than this fraction of the largest one of its group is rounding noise.
    /// </summary>
    private const double VanishingNorm = 1e-7;

    private const double VanishingLimit = 1e-6;

    private readonly List<Comparison> _comparisons = [];
    private readonly List<(string Group, string Name, float Ours, float Reference, double Limit)> _numbers = [];

    /// <summary>Adds a tensor, whose relative error is limited.</summary>
    public void Add(string group, string tensor, float[] ours, float[] reference, double limit) =>
        Add(new Comparison(group, tensor, ours, reference, limit, ErrorMeasure.Relative));

    /// <summary>Adds a tensor, the difference of whose elements is limited. A group has one measure.</summary>
    public void AddAbsolute(string group, string tensor, float[] ours, float[] reference, double limit) =>
        Add(new Comparison(group, tensor, ours, reference, limit, ErrorMeasure.LargestDifference));

    /// <summary>
    /// Adds a number. The numbers of a group are compared as one vector: a policy loss near zero is the difference of
    /// larger terms, whose rounding would otherwise be measured against almost nothing.
    /// </summary>
    public void Add(string group, string tensor, double ours, double reference, double limit) =>
        _numbers.Add((group, tensor, (float)ours, (float)reference, limit));

    /// <summary>
    /// One row per group; groups of tensors first, then groups of numbers, each in the order in which they appeared.
    /// </summary>
    public IReadOnlyList<ComparisonRow> Rows() =>
    [
        .. _comparisons.GroupBy(comparison => comparison.Group)
        .Select(group => group.First().Measure == ErrorMeasure.Relative ? Row(group.Key, [.. group])
            : AbsoluteRow(group.Key, [.. group])),
        .. _numbers.GroupBy(number => number.Group).Select(group => NumberRow(group.Key, [.. group])),
    ];

    private void Add(Comparison comparison)
    {
        if (comparison.Ours.Length != comparison.Reference.Length)
            throw new InvalidDataException(
                $"{comparison.Tensor}: the reference has {comparison.Reference.Length} elements, the model gives {comparison.Ours.Length}. The dump belongs to another model.");
        _comparisons.Add(comparison);
    }

    private static ComparisonRow NumberRow(string group,
        List<(string Group, string Name, float Ours, float Reference, double Limit)> numbers)
    {
        float[] ours = [.. numbers.Select(number => number.Ours)],
            reference = [.. numbers.Select(number => number.Reference)];
        double difference = Distance(ours, reference), error = difference == 0 ? 0 : difference / Norm(reference);
        (_, string name, float worst, float expected, double limit) = numbers[WorstElement(ours, reference)];
        return new ComparisonRow(group, numbers.Count, error, limit, $"{name}: {worst:G9} for {expected:G9}",
            error <= limit ? [] : [name]);
    }

    private static ComparisonRow AbsoluteRow(string group, List<Comparison> comparisons)
    {
        double worst = -1;
        string where = "";
        var failures = new List<string>();
        foreach (Comparison comparison in comparisons.Where(comparison => comparison.Ours.Length > 0))
        {
            int element = WorstElement(comparison.Ours, comparison.Reference);
            double error = Math.Abs((double)comparison.Ours[element] - comparison.Reference[element]);

            // As below: NaN is not within the limit.
            if (!(error <= comparison.Limit))
                failures.Add(comparison.Tensor);
            if (!(error > worst || double.IsNaN(error)))
                continue;
            worst = error;
            where = comparison.WhereIs(element);
        }

        return new ComparisonRow(group, comparisons.Count, Math.Max(worst, 0), comparisons[0].Limit, where, failures,
            ErrorMeasure.LargestDifference);
    }

    private ComparisonRow Row(string group, List<Comparison> comparisons)
    {
        double largest = comparisons.Max(comparison => Norm(comparison.Reference));
        bool gradients = group.EndsWith(".grad", StringComparison.Ordinal);
        double worst = -1;
        string where = "";
        var failures = new List<string>();
        foreach (Comparison comparison in comparisons)
        {
            (float[] ours, float[] reference) = (comparison.Ours, comparison.Reference);
            double norm = Norm(reference), difference = Distance(ours, reference);
            bool vanishing = gradients && gradientFloor == 0 && norm < VanishingNorm * largest;
            if (gradients)
                norm += gradientFloor * largest;
            double error = vanishing ? difference / Math.Max(largest, double.Epsilon) : difference == 0 ? 0
                : difference / norm;

            // NaN compares false with everything, so ask whether the error is within the limit, not whether it is beyond.
            if (!(error <= (vanishing ? VanishingLimit : comparison.Limit)))
                failures.Add(comparison.Tensor);
            if (vanishing || !(error > worst || double.IsNaN(error)))
                continue;
            worst = error;
            where = comparison.WhereIs(WorstElement(ours, reference));
        }

        return new ComparisonRow(group, comparisons.Count, worst, comparisons[0].Limit, where, failures);
    }

    private static double Norm(float[] values) => Math.Sqrt(values.Sum(value => (double)value * value));

    private static double Distance(float[] left, float[] right) =>
        Math.Sqrt(left.Zip(right).Sum(pair => ((double)pair.First - pair.Second) * ((double)pair.First - pair.Second)));

    private static int WorstElement(float[] ours, float[] reference)
    {
        int worst = 0;
        for (int index = 1; index < ours.Length; index++)
        {
            if (Math.Abs(ours[index] - reference[index]) > Math.Abs(ours[worst] - reference[worst])
                || float.IsNaN(ours[index]))
                worst = index;
        }

        return worst;
    }

    /// <summary>A tensor and its reference.</summary>
    private sealed record Comparison(string Group, string Tensor, float[] Ours, float[] Reference, double Limit,
        ErrorMeasure Measure)
    {
        public string WhereIs(int element) => $"{Tensor}[{element}]: {Ours[element]:G9} for {Reference[element]:G9}";
    }
}
