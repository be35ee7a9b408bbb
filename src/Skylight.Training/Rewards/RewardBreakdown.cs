namespace Skylight.Training.Rewards;

/// <summary>What one completion earned.</summary>
public sealed class RewardBreakdown
{
    /// <summary>Joins values with their names.</summary>
    /// <param name="total">The weighted sum.</param>
    /// <param name="components">The names of the values.</param>
    /// <param name="values">The values, before their weights.</param>
    /// <exception cref="ArgumentException">There is not one value for each name.</exception>
    public RewardBreakdown(double total, IReadOnlyList<string> components, IReadOnlyList<double> values)
    {
        ArgumentNullException.ThrowIfNull(components);
        ArgumentNullException.ThrowIfNull(values);
        if (components.Count != values.Count)
            throw new ArgumentException($"There are {components.Count} components and {values.Count} values.",
                nameof(values));
        (Total, Components, Values) = (total, components, values);
    }

    /// <summary>The weighted sum: what the policy is trained on.</summary>
    public double Total { get; }

    /// <summary>The names of the components; all completions that one set judged share the list.</summary>
    public IReadOnlyList<string> Components { get; }

    /// <summary>A value for each component, before its weight.</summary>
    public IReadOnlyList<double> Values { get; }

    /// <summary>Why a reward could not judge it; its components are 0 then. Null if all could.</summary>
    public string? Fault { get; init; }

    /// <summary>Whether its group is to be left out of training, because of the <see cref="Fault"/>.</summary>
    public bool IsSkipped { get; init; }

    /// <summary>The value of a component.</summary>
    /// <exception cref="KeyNotFoundException">There is no such component.</exception>
    public double this[string component] => Find(component) is { } value ? value
        : throw new KeyNotFoundException(
            $"There is no component '{component}' but {string.Join(", ", Components.Select(name => $"'{name}'"))}.");

    private double? Find(string component)
    {
        for (int index = 0; index < Components.Count; index++)
        {
            if (Components[index] == component)
                return Values[index];
        }

        return null;
    }
}
