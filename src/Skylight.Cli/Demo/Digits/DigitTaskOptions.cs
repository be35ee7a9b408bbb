namespace Skylight.Cli.Demo.Digits;

/// <summary>How examples are made.</summary>
internal sealed record DigitTaskOptions
{
    /// <summary>Channels of the pixels given to the model; a gray picture repeats in each.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>How far, in pixels, a digit may be moved in each direction; never further than its margin, which is 4 for most.</summary>
    public int Jitter { get; init; } = 3;

    /// <summary>Share of captions among the pre-training examples; the rest is arithmetic in text.</summary>
    public double CaptionShare { get; init; } = 2.0 / 3;

    /// <summary>Share of reasoning traces that first misread a digit and then correct themselves.</summary>
    public double CorrectionShare { get; init; } = 0.25;
}
