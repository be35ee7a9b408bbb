using System.Globalization;

namespace Skylight.Training.Rewards;

/// <summary>An option of a named reward.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Default">Its value where it is not given; null if it must be, empty if it is then left out.</param>
/// <param name="Description">What it does.</param>
public sealed record RewardOption(string Name, string? Default, string Description);

/// <summary>A reward that recipes make by name.</summary>
/// <param name="Name">What it is called; also the name of its component.</param>
/// <param name="Values">The values it gives.</param>
/// <param name="Description">What it rewards.</param>
/// <param name="Options">Its options, all of them texts.</param>
public sealed record RewardKind(string Name, string Values, string Description, IReadOnlyList<RewardOption> Options)
{
    /// <summary>Whether its value is 1 or 0.</summary>
    public bool IsYesOrNo => Values == YesOrNo;

    internal const string YesOrNo = "0 or 1";

    internal Func<RewardOptionValues, RewardContext, IFaultingReward> Make { get; init; } = null!;
}

/// <summary>The options of a reward as they were given, read as what they are to be.</summary>
internal sealed class RewardOptionValues(RewardKind kind, IReadOnlyDictionary<string, string> given)
{
    public IReadOnlyDictionary<string, string> Given => given;

    public string Reward => kind.Name;

    public bool IsGiven(string name) => given.ContainsKey(name);

    /// <summary>The text that was given, else the default.</summary>
    public string Text(string name)
    {
        RewardOption option = kind.Options.First(option => option.Name == name);
        return given.TryGetValue(name, out string? value) ? value : option.Default
            ?? throw new ArgumentException($"Reward '{kind.Name}' needs the option '{name}': {option.Description}");
    }

    /// <summary>The text; null if there is none.</summary>
    public string? OptionalText(string name) => Text(name) is { Length: > 0 } text ? text : null;

    public bool Flag(string name) => Text(name).ToLowerInvariant() switch
    {
        "true" => true,
        "false" => false,
        _ => throw Wrong(name, "give true or false"),
    };

    public int Integer(string name, int least, int most = int.MaxValue) =>
        int.TryParse(Text(name), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
            && value >= least && value <= most ? value
            : throw Wrong(name, most == int.MaxValue ? $"give a whole number of at least {least}"
                : $"give a whole number from {least} to {most}");

    public double Number(string name, double least = double.NegativeInfinity, double most = double.PositiveInfinity) =>
        double.TryParse(Text(name), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
            && double.IsFinite(value) && value >= least && value <= most ? value
            : throw Wrong(name, (double.IsFinite(least), double.IsFinite(most)) switch
            {
                (true, true) => string.Create(CultureInfo.InvariantCulture, $"give a number from {least} to {most}"),
                (true, false) => string.Create(CultureInfo.InvariantCulture, $"give a number of at least {least}"),
                (false, true) => string.Create(CultureInfo.InvariantCulture, $"give a number of at most {most}"),
                _ => "give a number",
            });

    public string OneOf(string name, params string[] values) => Array.Find(values, value => value == Text(name))
        ?? throw Wrong(name, $"give {string.Join(" or ", values)}");

    /// <summary>Refuses options that would change nothing.</summary>
    public void Refuse(string because, params string[] names)
    {
        if (Array.Find(names, IsGiven) is { } name)
            throw new ArgumentException($"Reward '{kind.Name}': the option '{name}' has no effect {because}; leave it out.");
    }

    public ArgumentException Wrong(string name, string advice, Exception? cause = null) =>
        new($"Reward '{kind.Name}': the option '{name}' is '{AnswerKey.Shortened(Text(name))}'; {advice}.", cause);
}
