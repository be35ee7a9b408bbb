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
/// <param name="DynamicFactor">The factor of dynamic scaling, which begins beyond the model's positions; null where
/// there is none.</param>
internal readonly record struct RopeParameters(double Theta, double? DynamicFactor)
{
    private static readonly ConfigurationMembers s_members = new(
        ["rope_type", "type", "rope_theta", "factor"], [],
        // The attention factor is YaRN's: dynamic scaling has none.
        [("partial_rotary_factor", "1"), ("attention_factor", "1"), ("mscale", "1"), ("mrope_interleaved", "false")]);

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
        double? factor = Agreed(json.File, statements,
            statement => (statement.Factor, $"{statement.Path}.factor' is {Number(statement.Factor)}"));
        return new RopeParameters(theta ?? otherwise, kind == "dynamic" ? factor : null);
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
                if (other.Theta != full.Theta || other.Factor != full.Factor
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
            // Dynamic scaling starts beyond max_position_embeddings, where we refuse to go.
            rope.Demand(spelling, found, "default", "dynamic");
            if (kind is not null && kind != found)
                throw new CheckpointException(rope.File,
                    $"'{rope.Path}rope_type' is '{kind}' and '{rope.Path}type' is '{found}'; supported: one of them, " +
                    $"or the same in both.");
            kind = found;
        }

        const string Positive = "a positive number";
        double? factor = rope.OptionalNumber("factor", Positive, number => number > 0);
        if (kind == "dynamic" && factor is null)
            throw new CheckpointException(rope.File,
                $"'{rope.Path}factor' is missing; supported: a positive number, which dynamic scaling needs.");
        if (kind != "dynamic" && factor is not null and not 1)
            throw new CheckpointException(rope.File,
                $"'{rope.Path}factor' is {Number(factor)}, but 'rope_type' is " +
                $"{(kind is null ? "missing" : $"'{kind}'")}; supported: a factor with the type 'dynamic'.");
        s_members.Check(rope, ("original_max_position_embeddings", maxPositions));
        return new Statement(
            rope.Path.TrimEnd('.'), $"{rope.Path}rope_theta",
            rope.OptionalNumber("rope_theta", Positive, number => number > 0), kind, kind == "dynamic" ? factor : null);
    }

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
    private readonly record struct Statement(string Path, string ThetaPath, double? Theta, string? Kind, double? Factor);
}
