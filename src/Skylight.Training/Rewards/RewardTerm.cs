using Skylight.Text;

namespace Skylight.Training.Rewards;

/// <summary>A reward of a <see cref="RewardSet"/>, with what its components weigh.</summary>
public sealed record RewardTerm
{
    private readonly string[] _components;

    /// <summary>A reward of one component.</summary>
    /// <param name="reward">The reward.</param>
    /// <param name="weight">What the component is multiplied by; may be negative, and 0 for a value that is only to be
    /// seen.</param>
    /// <param name="name">What the component is called in metrics and errors; its own name if null.</param>
    /// <exception cref="ArgumentException">The reward has several components, or the weight is not finite.</exception>
    public RewardTerm(IReward reward, double weight, string? name = null)
        : this(reward, Single(reward, weight), name)
    {
    }

    /// <summary>A reward of any number of components.</summary>
    /// <param name="reward">The reward.</param>
    /// <param name="weights">What each component is multiplied by.</param>
    /// <param name="name">
    /// What errors call the reward. Of a reward with one component it replaces the component's name; else metrics have
    /// <c>name/component</c>. Without it components have their own names.
    /// </param>
    /// <exception cref="ArgumentException">A component has no weight, a weight no component, or is not finite.</exception>
    public RewardTerm(IReward reward, IReadOnlyDictionary<string, double> weights, string? name = null)
    {
        ArgumentNullException.ThrowIfNull(reward);
        ArgumentNullException.ThrowIfNull(weights);
        if (name is not null && string.IsNullOrWhiteSpace(name))
            throw new ArgumentException("A reward's name cannot be blank.", nameof(name));
        _components = [.. reward.Components];
        if (_components.Length == 0 || _components.Any(string.IsNullOrWhiteSpace)
            || _components.Distinct().Count() != _components.Length)
        {
            string named = string.Join(", ", _components.Select(component => $"'{component}'"));
            throw new ArgumentException(
                $"{reward.GetType().Name} must name its components, each once, not " +
                $"{(named.Length > 0 ? named : "none")}.", nameof(reward));
        }

        string label = name ?? string.Join(" + ", _components);
        foreach (string unknown in weights.Keys.Except(_components))
            throw new ArgumentException(
                $"Reward '{label}' has no component '{unknown}' to weigh: {NameHint.For(unknown, _components)}",
                nameof(weights));
        foreach (string component in _components)
        {
            if (!weights.TryGetValue(component, out double weight))
                throw new ArgumentException(
                    $"Reward '{label}': the component '{component}' has no weight; give one, 0 if it is only to " +
                    $"be logged.", nameof(weights));
            if (!double.IsFinite(weight))
                throw new ArgumentException(
                    $"Reward '{label}': the component '{component}' has the weight {weight}; give a finite number.",
                    nameof(weights));
        }

        (Reward, Name) = (reward, label);
        Weights = [.. _components.Select(component => weights[component])];
        Components = name is null ? _components : _components.Length == 1 ? [name]
            : [.. _components.Select(component => $"{name}/{component}")];
    }

    /// <summary>The reward.</summary>
    public IReward Reward { get; }

    /// <summary>What errors call it.</summary>
    public string Name { get; }

    /// <summary>The names of its components in metrics.</summary>
    public IReadOnlyList<string> Components { get; }

    /// <summary>What each component is multiplied by.</summary>
    public IReadOnlyList<double> Weights { get; }

    private static Dictionary<string, double> Single(IReward reward, double weight)
    {
        ArgumentNullException.ThrowIfNull(reward);
        return reward.Components is [var only] ? new() { [only] = weight }
            : throw new ArgumentException(
                $"{reward.GetType().Name} has {reward.Components.Count} components " +
                $"({string.Join(", ", reward.Components)}): give a weight for each of them.", nameof(reward));
    }
}

/// <summary>What an error says to a name that is not known.</summary>
internal static class NameHint
{
    /// <summary>"did you mean 'x'?", or the names there are.</summary>
    public static string For(string unknown, IReadOnlyCollection<string> known) =>
        NameDistance.Nearest(unknown, known) is { } near ? $"did you mean '{near}'?"
            : known.Count > 0 ? $"there are {string.Join(", ", known)}." : "there are none.";
}
