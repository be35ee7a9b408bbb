using System.Globalization;

namespace Skylight.Checkpoints;

/// <summary>Which models' weights a <see cref="WeightCache"/> keeps.</summary>
public enum KeptWeights
{
    /// <summary>Those of none.</summary>
    None,

    /// <summary>Those of models that are rounded while they are read (<c>--dtype q8</c>, <c>q4</c>).</summary>
    Rounded,

    /// <summary>
    /// Those of every model, once more on the disk, in the order in which they are multiplied: then no start copies them.
    /// </summary>
    All,
}

/// <summary>Where packed weights are kept, which, and how many bytes of them.</summary>
/// <example>
/// <code>
/// var options = new ChatModelOptions
/// {
///     Quantization = QuantizedFormat.Q8,
///     WeightCache = new WeightCacheOptions { Folder = "/var/cache/host/weights", LimitBytes = 20_000_000_000 },
/// };
/// </code>
/// </example>
public sealed record WeightCacheOptions
{
    private const string KeepsVariable = "SKYLIGHT_WEIGHTS", LimitVariable = "SKYLIGHT_WEIGHTS_GB";

    /// <summary>The folder; made when something is first kept. By default <c>weights</c> in <see cref="CacheFolder"/>.</summary>
    public string Folder { get; init; } = CacheFolder.Of("weights");

    /// <summary>Which models' weights are kept.</summary>
    public KeptWeights Keeps { get; init; } = KeptWeights.Rounded;

    /// <summary>
    /// The most bytes of all files together: those that were used longest ago are removed for a new one, and a model that
    /// takes more is not kept.
    /// </summary>
    public long LimitBytes { get; init; } = 32_000_000_000;

    /// <summary>Models of fewer bytes are read in no time, and not kept.</summary>
    public long SmallestBytes { get; init; } = 64_000_000;

    /// <summary>
    /// Told in a sentence what was kept, why something could not be, and that a damaged file was thrown away. By default a
    /// line on the error stream.
    /// </summary>
    public Action<string> Notice { get; init; } = text => Console.Error.WriteLine($"Skylight: {text}");

    /// <summary>
    /// The options with what the environment says: <c>SKYLIGHT_WEIGHTS</c> is <c>off</c>, <c>rounded</c> or <c>all</c>,
    /// <c>SKYLIGHT_WEIGHTS_GB</c> the limit in gigabytes.
    /// </summary>
    /// <exception cref="ArgumentException">It says something else.</exception>
    public static WeightCacheOptions FromEnvironment() =>
        Parse(Environment.GetEnvironmentVariable(KeepsVariable), Environment.GetEnvironmentVariable(LimitVariable));

    internal static WeightCacheOptions Parse(string? keeps, string? limit)
    {
        var options = new WeightCacheOptions();
        options = options with
        {
            Keeps = keeps switch
            {
                null or "" => options.Keeps,
                "off" => KeptWeights.None,
                "rounded" => KeptWeights.Rounded,
                "all" => KeptWeights.All,
                _ => throw new ArgumentException(
                    $"The environment variable {KeepsVariable} is '{keeps}'; it must be off, rounded or all."),
            },
        };
        if (string.IsNullOrEmpty(limit))
            return options;
        return double.TryParse(limit, NumberStyles.Float, CultureInfo.InvariantCulture, out double gigabytes)
            && gigabytes is >= 0 and <= 1e9
            ? options with { LimitBytes = (long)(gigabytes * 1e9) }
            : throw new ArgumentException(
                $"The environment variable {LimitVariable} is '{limit}'; it must be a number of gigabytes, such as 20.");
    }
}
