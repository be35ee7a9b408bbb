namespace Skylight.Cli.Demo.Digits;

/// <summary>How examples are made.</summary>
internal sealed record DigitTaskOptions
{
    /// <summary>
    /// How far, in pixels, a digit may be moved in each direction; never further than its margin, which is 4 for most.
    /// </summary>
    public int Jitter { get; init; } = 3;

    /// <summary>Share of reasoning traces that first misread a digit and then correct themselves.</summary>
    public double CorrectionShare { get; init; } = 0.25;
}
