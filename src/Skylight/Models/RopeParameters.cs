using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>
/// How positions are encoded, from all spellings that there are: <c>rope_theta</c> with <c>rope_scaling</c>
/// (transformers 4), <c>rope_parameters</c>, and either of the two objects keyed by layer type (transformers 5).
/// </summary>
/// <param name="Theta">The base of the rotary frequencies.</param>
/// <param name="Scaling">How positions beyond the trained ones are reached; null where they are not.</param>
/// <param name="Positions">The longest sequence.</param>
internal readonly record struct RopeParameters(double Theta, RopeScaling? Scaling, int Positions)
{
    private const string Trained = "original_max_position_embeddings";

    private static readonly (string, string)[] s_single = [("partial_rotary_factor", "1"), ("mrope_interleaved", "false")];

    private static readonly ConfigurationMembers s_plainMembers = new(
        ["rope_type", "type", "rope_theta", "factor"], [], [.. s_single, ("attention_factor", "1"), ("mscale", "1")]);

    // The attention factor is YaRN's: dynamic scaling has none.
    private static readonly ConfigurationMembers s_dynamicMembers = new(
        ["rope_type", "type", "rope_theta", "factor", Trained], [],
        [.. s_single, ("attention_factor", "1"), ("mscale", "1")]);

    private static readonly ConfigurationMembers s_yarnMembers = new(
        ["rope_type", "type", "rope_theta", "factor", Trained, "attention_factor", "mscale", "mscale_all_dim",
            "beta_fast", "beta_slow", "truncate"], [], s_single);

    /// <summary>Reads them.</summary>
    /// <param name="json">The language model's configuration.</param>
    /// <param name="otherwise">The base where none is given.</param>
    /// <param name="maxPositions">The model's positions.</param>
    /// <exception cref="CheckpointException">Something else is asked for than can be computed, or two spellings
    /// contradict each other; names them.</exception>
    public static RopeParameters Parse(JsonSource json, double otherwise, int maxPositions)
    {
        List<Statement> statements = [];
        if (json.Has("rope_theta"))
            statements.Add(
                new($"{json.Path}rope_theta", $"{json.Path}rope_theta", json.Positive("rope_theta", 0), null, null));
        foreach (string field in (ReadOnlySpan<string>)["rope_scaling", "rope_parameters"])
        {
            if (json.Object(field) is { } rope)
                statements.AddRange(IsByLayerType(rope) ? ParseLayerTypes(rope, json.Texts("layer_types"), maxPositions)
                    : [ParseOne(rope, maxPositions)]);
        }

        double? theta = Agreed(json.File, statements,
            statement => (statement.Theta, $"{statement.ThetaPath}' is {Number(statement.Theta)}"));
        string? kind = Agreed(json.File, statements,
            statement => (statement.Kind, $"{statement.Path}.rope_type' is '{statement.Kind}'"));
        if (kind is null or "default")
            return new RopeParameters(theta ?? otherwise, null, maxPositions);
        // One of them may say less: the type alone, or nothing but the base.
        Agreed(json.File, statements, statement =>
            ((double?)statement.Scaling?.Factor, $"{statement.Path}.factor' is {Number(statement.Scaling?.Factor)}"));
        RopeScaling scaling = Agreed(json.File, statements,
            statement => (statement.Scaling, $"{statement.Path}' is {statement.Scaling}"))!;
        int positions = scaling.Kind == RopeScalingKind.Yarn
            ? (int)Math.Min(int.MaxValue, Math.Max(maxPositions, Math.Round(scaling.Factor * scaling.TrainedPositions)))
            : maxPositions;
        return new RopeParameters(theta ?? otherwise, scaling, positions);
    }

    private static bool IsByLayerType(JsonSource rope) =>
        rope.Element.EnumerateObject().Any(member => member.Value.ValueKind == JsonValueKind.Object);

    /// <summary>
    /// Every layer is one of full attention. What is said of other layers is of no layer, and without a list of layers
    /// must be the same.
    /// </summary>
    private static Statement[] ParseLayerTypes(JsonSource rope, ImmutableArray<string> layerTypes, int maxPositions)
    {
        const string FullAttention = "full_attention";
        foreach (JsonProperty member in rope.Element.EnumerateObject())
        {
            if (member.Value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Null))
                throw new CheckpointException(rope.File,
                    $"'{rope.Path}{member.Name}' is {ConfigurationMembers.Shorten(member.Value.GetRawText())} beside " +
                    $"parameters by layer type; supported: parameters by layer type alone, or one set of them.");
        }

        if (!rope.Has(FullAttention))
            throw new CheckpointException(rope.File,
                $"'{rope.Path}{FullAttention}' is missing; supported: parameters for it, because all layers are of " +
                $"that type.");
        Statement full = ParseOne(rope.RequiredObject(FullAttention), maxPositions);
        if (layerTypes.IsEmpty)
        {
            foreach (JsonProperty member in rope.Element.EnumerateObject()
                .Where(member => member.Value.ValueKind == JsonValueKind.Object))
            {
                Statement other = ParseOne(rope.RequiredObject(member.Name), maxPositions);
                if (other.Theta != full.Theta || other.Scaling != full.Scaling
                    || (other.Kind ?? "default") != (full.Kind ?? "default"))
                    throw new CheckpointException(rope.File,
                        $"'{rope.Path}{member.Name}' has other parameters than '{full.Path}'; supported: the same " +
                        $"for all layers. If the model has no such layers, say so with 'layer_types' or take " +
                        $"it out of the file.");
            }
        }

        return [full];
    }

    private static Statement ParseOne(JsonSource rope, int maxPositions)
    {
        string? kind = null;
        foreach (string spelling in (ReadOnlySpan<string>)["rope_type", "type"])
        {
            if (rope.Text(spelling) is not { } found)
                continue;
            rope.Demand(spelling, found, "default", "dynamic", "yarn");
            if (kind is not null && kind != found)
                throw new CheckpointException(rope.File,
                    $"'{rope.Path}rope_type' is '{kind}' and '{rope.Path}type' is '{found}'; supported: one of them, " +
                    $"or the same in both.");
            kind = found;
        }

        const string Positive = "a positive number";
        double? theta = rope.OptionalNumber("rope_theta", Positive, number => number > 0);
        RopeScaling? scaling = null;
        if (kind is null or "default")
        {
            double? factor = rope.OptionalNumber("factor", Positive, number => number > 0);
            if (factor is not null and not 1)
                throw new CheckpointException(rope.File,
                    $"'{rope.Path}factor' is {Number(factor)}, but 'rope_type' is " +
                    $"{(kind is null ? "missing" : $"'{kind}'")}; supported: a factor with the types 'dynamic' " +
                    $"and 'yarn'.");
            s_plainMembers.Check(rope, (Trained, maxPositions));
        }
        else
        {
            scaling = kind == "yarn" ? ParseYarn(rope, maxPositions) : ParseDynamic(rope, maxPositions);
        }

        return new Statement(rope.Path.TrimEnd('.'), $"{rope.Path}rope_theta", theta, kind, scaling);
    }

    private static RopeScaling ParseDynamic(JsonSource rope, int maxPositions)
    {
        int trained = rope.Integer(Trained, maxPositions, 1);
        if (trained > maxPositions)
            throw new CheckpointException(rope.File,
                $"'{rope.Path}{Trained}' is {trained}; supported: at most 'max_position_embeddings' " +
                $"({maxPositions}), for which the base is computed.");
        double factor = Factor(rope) ?? throw new CheckpointException(rope.File,
            $"'{rope.Path}factor' is missing; supported: a number of at least 1, which dynamic scaling needs.");
        s_dynamicMembers.Check(rope);
        return new RopeScaling(RopeScalingKind.Dynamic, factor, trained);
    }

    private static RopeScaling ParseYarn(JsonSource rope, int maxPositions)
    {
        const string Positive = "a positive number";
        int trained = rope.Integer(Trained, maxPositions, 1);
        // As transformers: where no factor is given, the two lengths say it.
        double factor = Factor(rope) ?? (rope.Has(Trained) && trained <= maxPositions ? (double)maxPositions / trained
            : throw new CheckpointException(rope.File,
                $"'{rope.Path}factor' is missing; supported: a number of at least 1, or '{Trained}' below " +
                $"'max_position_embeddings'."));
        double fast = rope.OptionalNumber("beta_fast", Positive, number => number > 0) ?? 32,
            slow = rope.OptionalNumber("beta_slow", Positive, number => number > 0) ?? 1;
        if (fast < slow)
            throw new CheckpointException(rope.File,
                $"'{rope.Path}beta_fast' is {Number(fast)} and '{rope.Path}beta_slow' is {Number(slow)}; supported: " +
                $"the first is not below the second.");
        s_yarnMembers.Check(rope);
        return new RopeScaling(RopeScalingKind.Yarn, factor, trained)
        {
            AttentionFactor = rope.OptionalNumber("attention_factor", Positive, number => number > 0),
            MScale = rope.OptionalNumber("mscale", "a number from 0", number => number >= 0),
            MScaleAllDimensions = rope.OptionalNumber("mscale_all_dim", "a number from 0", number => number >= 0),
            BetaFast = fast,
            BetaSlow = slow,
            Truncate = rope.Boolean("truncate", true),
        };
    }

    private static double? Factor(JsonSource rope) =>
        rope.OptionalNumber("factor", "a number from 1 to 1024", number => number is >= 1 and <= 1024);

    /// <summary>What all statements say that say anything.</summary>
    private static T? Agreed<T>(string file, List<Statement> statements, Func<Statement, (T? Value, string Text)> select)
    {
        (T? Value, string Text)[] said = [.. statements.Select(select).Where(pair => pair.Value is not null)];
        foreach ((T? value, string text) in said)
        {
            if (!EqualityComparer<T?>.Default.Equals(value, said[0].Value))
                throw new CheckpointException(file,
                    $"'{said[0].Text} and '{text}, which contradict each other; supported: one of them, or the " +
                    $"same in both.");
        }

        return said.Length > 0 ? said[0].Value : default;
    }

    private static string Number(double? value) => value?.ToString("R", CultureInfo.InvariantCulture) ?? "";

    /// <summary>What one place of the file says; null where it says nothing.</summary>
    private sealed record Statement(string Path, string ThetaPath, double? Theta, string? Kind,
        RopeScaling? Scaling);
}
