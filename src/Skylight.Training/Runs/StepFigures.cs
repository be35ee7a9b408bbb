namespace Skylight.Training.Runs;

/// <summary>
/// What a step or an evaluation measured, under the names that metrics.jsonl, TensorBoard and the report use.
/// </summary>
/// <param name="Step">The optimizer steps taken before and with it; 0 for an evaluation before the first.</param>
/// <param name="Kind">What was measured.</param>
/// <param name="Values">Names and values in the order in which they are shown; those that are not finite say that
/// nothing was there to measure.</param>
public sealed record StepFigures(int Step, FigureKind Kind, IReadOnlyList<(string Name, double Value)> Values)
{
    /// <summary>A value by its name; null if it was not measured.</summary>
    public double? this[string name]
    {
        get
        {
            foreach ((string found, double value) in Values)
            {
                if (found == name)
                    return double.IsFinite(value) ? value : null;
            }

            return null;
        }
    }

    /// <summary>Whether a value says how long something took, and so differs from run to run.</summary>
    public static bool IsTime(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.EndsWith("seconds", StringComparison.Ordinal) || name.EndsWith("per_second", StringComparison.Ordinal);
    }
}

/// <summary>What <see cref="StepFigures"/> are of.</summary>
public enum FigureKind
{
    /// <summary>An optimizer step.</summary>
    Step,

    /// <summary>A try on held-out data.</summary>
    Evaluation,
}
