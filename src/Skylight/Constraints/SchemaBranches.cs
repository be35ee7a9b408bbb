using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>
/// Takes <c>$ref</c>, <c>allOf</c>, <c>anyOf</c> and <c>oneOf</c> apart: what several schemas allow together, as
/// alternatives of which each is a list of schemas that hold at once and have none of these keywords' meaning left.
/// </summary>
internal sealed class SchemaBranches(SchemaDocument document)
{
    private const int MostBranches = 512, MostExclusive = 64, MostDepth = 100;

    private readonly HashSet<string> _checked = [];
    private readonly Dictionary<string, List<List<SchemaPlace>>> _known = [];
    private long _combinations;

    /// <summary>The alternatives of schemas that hold at once. An alternative of no schema allows anything.</summary>
    /// <exception cref="ConstraintException">A schema is not understood, or there are too many alternatives.</exception>
    public List<List<SchemaPlace>> Of(IReadOnlyList<SchemaPlace> places)
    {
        List<List<SchemaPlace>> branches = [[]];
        foreach (SchemaPlace place in places)
            branches = Product(branches, Of(place, []), place);
        return branches;
    }

    private List<List<SchemaPlace>> Of(SchemaPlace place, List<string> trail)
    {
        switch (place.Value.ValueKind)
        {
            case JsonValueKind.True:
                return [[]];
            case JsonValueKind.False:
                return [];
            case JsonValueKind.Object:
                break;
            default:
                throw place.Wrong("a schema: an object, true or false");
        }

        // Schemas that several refer to are taken apart once.
        if (_known.TryGetValue(place.Path, out List<List<SchemaPlace>>? known))
            return known;
        if (trail.Contains(place.Path))
            throw new ConstraintException(place.Path,
                $"{place.Path} refers to itself without anything in between, so it never says what it allows.");
        if (trail.Count > MostDepth)
            throw new ConstraintException(place.Path,
                $"{place.Path}: references and combinations lead more than {MostDepth} steps deep.");
        if (_checked.Add(place.Path))
            SchemaKeywords.Check(place.Value, place.Path);
        trail.Add(place.Path);
        List<List<SchemaPlace>> branches = [[place]];
        if (place["$ref"] is { } reference)
            branches = Product(branches, Of(document.Resolve(reference), trail), place);
        if (place["allOf"] is { } all)
        {
            foreach (SchemaPlace part in Parts(all))
                branches = Product(branches, Of(part, trail), place);
        }

        if (place["anyOf"] is { } any)
            branches = Product(branches, [.. Parts(any).SelectMany(part => Of(part, trail))], place);
        if (place["oneOf"] is { } one)
        {
            List<List<SchemaPlace>>[] cases = [.. Parts(one).Select(part => Of(part, trail))];
            if (cases.Length > MostExclusive)
                throw new ConstraintException(one.Path,
                    $"{one.Path}: more than {MostExclusive} schemas of which one holds cannot be told apart; write 'anyOf'.");
            SchemaFacts?[][] facts = [.. cases.Select(SchemaDisjoint.FactsOf)];
            var disjoint = new SchemaDisjoint(this);
            for (int index = 0; index < cases.Length; index++)
            {
                for (int other = 0; other < index; other++)
                {
                    if (!disjoint.Are(facts[other], facts[index]))
                        throw new ConstraintException(one.Path,
                            $"{one.Path}: a value could fit both {other} and {index}, and 'oneOf' wants that it fits " +
                            "one; write 'anyOf', or tell them apart by type or by a required property with 'const'.");
                }
            }

            branches = Product(branches, [.. cases.SelectMany(branch => branch)], place);
        }

        trail.RemoveAt(trail.Count - 1);
        _known.Add(place.Path, branches);
        return branches;
    }

    /// <summary>Counts schemas that are put together or compared.</summary>
    /// <exception cref="ConstraintException">They are too many.</exception>
    public void Spend(long schemas, string path)
    {
        if ((_combinations += schemas) > ConstraintLimits.MostCombinations)
            throw new ConstraintException(path,
                $"{path}: '$ref', 'allOf', 'anyOf' and 'oneOf' put more than {ConstraintLimits.MostCombinations} schemas together; " +
                "combine less.");
    }

    private static IEnumerable<SchemaPlace> Parts(SchemaPlace list)
    {
        SchemaPlace[] parts = [.. list.Items()];
        return parts.Length > 0 ? parts : throw list.Wrong("a list that is not empty");
    }

    private List<List<SchemaPlace>> Product(List<List<SchemaPlace>> some, List<List<SchemaPlace>> others,
        SchemaPlace place)
    {
        if ((long)some.Count * others.Count > MostBranches)
            throw new ConstraintException(place.Path,
                $"{place.Path}: 'anyOf' and 'allOf' combine to more than {MostBranches} alternatives.");
        Spend((long)some.Count * others.Sum(other => other.Count) + (long)others.Count * some.Sum(one => one.Count), place.Path);
        return [.. some.SelectMany(one => others.Select(other => one.Concat(other)
            .DistinctBy(schema => schema.Path).ToList()))];
    }
}
