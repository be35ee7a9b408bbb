using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>Whether no value fits two schemas, as far as their types, values and required properties tell.</summary>
internal sealed class SchemaDisjoint(SchemaBranches branches)
{
    private const int MostDepth = 4;

    /// <summary>What alternatives say; null of one that allows anything.</summary>
    public static SchemaFacts?[] FactsOf(List<List<SchemaPlace>> branches) =>
        [.. branches.Select(branch => branch.Count == 0 ? null : new SchemaFacts(branch, branch[0].Path))];

    /// <summary>Whether no alternative of one allows a value that one of the other allows.</summary>
    public bool Are(SchemaFacts?[] some, SchemaFacts?[] others, int depth = 0) =>
        Array.TrueForAll(some, one => Array.TrueForAll(others, other => Are(one, other, depth)));

    private bool Are(SchemaFacts? first, SchemaFacts? second, int depth)
    {
        if (first is null || second is null)
            return false;
        branches.Spend(1, first.Path);
        ValueTypes both = TypesOf(first) & TypesOf(second);
        if (both == ValueTypes.None)
            return true;
        if (first.Values is { } values && second.Values is { } more
            && !values.Select(SchemaFacts.KeyOf).Intersect(more.Select(SchemaFacts.KeyOf)).Any())
            return true;
        if (both != ValueTypes.Object || depth >= MostDepth)
            return false;
        string[] required = [.. Names(first).Concat(Names(second)).Distinct()];
        return required.Any(name => Required(first, name) && Lacks(second, name)
            || Required(second, name) && Lacks(first, name)
            || Required(first, name) && Required(second, name) && Differ(first, second, name, depth));
    }

    private bool Differ(SchemaFacts first, SchemaFacts second, string name, int depth)
    {
        SchemaPlace[] one = [.. Properties(first, name)], other = [.. Properties(second, name)];
        return one.Length > 0 && other.Length > 0
            && Are(FactsOf(branches.Of(one)), FactsOf(branches.Of(other)), depth + 1);
    }

    private static IEnumerable<SchemaPlace> Properties(SchemaFacts facts, string name) =>
        facts.Given("properties").Select(properties => properties[name]).OfType<SchemaPlace>();

    private static IEnumerable<string> Names(SchemaFacts facts) =>
        facts.Given("required").SelectMany(required => required.Items().Select(name => name.Text()));

    private static bool Required(SchemaFacts facts, string name) => Names(facts).Contains(name);

    /// <summary>Whether an object may not have a property.</summary>
    private static bool Lacks(SchemaFacts facts, string name) => facts.Places.Any(place =>
        place["additionalProperties"] is { Value.ValueKind: JsonValueKind.False } && place["properties"]?[name] is null);

    private static ValueTypes TypesOf(SchemaFacts facts) => facts.Values is { } values
        ? values.Aggregate(ValueTypes.None, (types, value) => types | SchemaFacts.TypeOf(value)) : facts.Types;
}
