using System.Globalization;
using System.Text.Json;
using Skylight.Ops;

namespace Skylight.Models;

/// <summary>How rotary frequencies are changed for sequences that are longer than those a model was trained on.</summary>
public enum RopeScalingKind
{
    /// <summary>"Dynamic NTK": another base of the frequencies, for the length that is configured.</summary>
    Dynamic,

    /// <summary>YaRN: the low frequencies are divided, and attention is sharpened.</summary>
    Yarn,
}

/// <summary>
/// RoPE scaling. What it does follows from the configuration alone and is the same for every token of every sequence,
/// however long: keys in a cache never have another base than the query, and prefill, decoding and training see the
/// same numbers on both sides of the trained length. (transformers computes "dynamic" again from the current length,
/// and leaves the keys that it has cached: https://github.com/huggingface/transformers/issues/25104.)
/// </summary>
/// <param name="Kind">Which.</param>
/// <param name="Factor">How many times longer sequences get; at least 1.</param>
/// <param name="TrainedPositions">The positions that the model was trained on
/// (<c>original_max_position_embeddings</c>).</param>
public sealed record RopeScaling(RopeScalingKind Kind, double Factor, int TrainedPositions)
{
    /// <summary>
    /// YaRN: what cosines and sines are multiplied by; null for what <see cref="Factor"/> and the two scales of
    /// attention make.
    /// </summary>
    public double? AttentionFactor { get; init; }

    /// <summary>YaRN: DeepSeek's scale of attention; counts where <see cref="MScaleAllDimensions"/> is there, too.</summary>
    public double? MScale { get; init; }

    /// <summary>YaRN: what <see cref="MScale"/> is divided by.</summary>
    public double? MScaleAllDimensions { get; init; }

    /// <summary>YaRN: frequencies that turn as often as this or more within the trained positions stay.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>YaRN: frequencies that turn as often as this or less are divided.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>YaRN: whether the ends of the ramp between them are rounded to whole places.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>The name in configurations: "dynamic" or "yarn".</summary>
    public string Name => Kind == RopeScalingKind.Yarn ? "yarn" : "dynamic";

    /// <summary>The table of rotations of a model.</summary>
    /// <param name="scaling">The scaling; null for none.</param>
    /// <param name="headDimension">The width of a head.</param>
    /// <param name="theta">The base that the model was trained with.</param>
    /// <param name="positions">The longest sequence that is configured.</param>
    internal static RotaryTable Table(RopeScaling? scaling, int headDimension, double theta, int positions) => scaling switch
    {
        null => new RotaryTable(headDimension, (float)theta),
        { Kind: RopeScalingKind.Dynamic } =>
            new RotaryTable(headDimension, (float)scaling.DynamicBase(headDimension, theta, positions)),
        _ => new RotaryTable(headDimension, (float)theta, scaling.Ramp(headDimension, theta)),
    };

    /// <summary>The base that "dynamic" computes for a length; the trained one up to the trained length.</summary>
    internal double DynamicBase(int headDimension, double theta, int length) =>
        length <= TrainedPositions || headDimension <= 2 ? theta
            : theta * Math.Pow(Factor * length / TrainedPositions - (Factor - 1), headDimension / (headDimension - 2.0));

    /// <summary>YaRN's ramp.</summary>
    internal YarnRamp Ramp(int headDimension, double theta)
    {
        double low = Place(BetaFast), high = Place(BetaSlow);
        if (Truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, headDimension - 1));
        if (low == high)
            high += 0.001;
        // As transformers has it: the difference is taken before it is rounded.
        return new YarnRamp((float)Factor, (float)low, (float)low + (float)(high - low), (float)Attention());

        double Place(double turns) =>
            headDimension * Math.Log(TrainedPositions / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
    }

    /// <summary>What cosines and sines are multiplied by.</summary>
    internal double Attention()
    {
        if (Kind != RopeScalingKind.Yarn)
            return 1;
        return AttentionFactor ?? (MScale is { } scale and not 0 && MScaleAllDimensions is { } all and not 0
            ? Scale(scale) / Scale(all) : Scale(1));

        double Scale(double mscale) => Factor <= 1 ? 1 : 0.1 * mscale * Math.Log(Factor) + 1;
    }

    /// <summary>The scaling in words, for sequences up to a length.</summary>
    internal string Describe(int positions) => string.Create(
        CultureInfo.InvariantCulture,
        $"{(Kind == RopeScalingKind.Yarn ? "YaRN" : "dynamic RoPE scaling")} by {Factor} beyond " +
        $"{TrainedPositions}{(positions <= TrainedPositions ? ", which is not configured to go there" : "")}");

    internal void WriteJson(Utf8JsonWriter json)
    {
        json.WriteNumber("factor", Factor);
        json.WriteNumber("original_max_position_embeddings", TrainedPositions);
        if (Kind != RopeScalingKind.Yarn)
            return;
        foreach ((string name, double? value) in (ReadOnlySpan<(string, double?)>)[
            ("attention_factor", AttentionFactor), ("mscale", MScale), ("mscale_all_dim", MScaleAllDimensions),
            ("beta_fast", BetaFast), ("beta_slow", BetaSlow)])
        {
            if (value is { } number)
                json.WriteNumber(name, number);
        }

        json.WriteBoolean("truncate", Truncate);
    }
}
