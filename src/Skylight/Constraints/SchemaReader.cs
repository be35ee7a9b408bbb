using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>Reads a JSON schema into a form.</summary>
internal sealed class SchemaReader
{
    private readonly SchemaDocument _document;
    private readonly SchemaBranches _branches;
    private readonly JsonForms _json = new();
    private readonly Dictionary<string, Rule> _rules = [];
    private readonly Queue<(Rule Rule, IReadOnlyList<SchemaPlace> Places)> _unread = [];

    private SchemaReader(JsonElement schema)
    {
        _document = new SchemaDocument(schema);
        _branches = new SchemaBranches(_document);
    }

    /// <summary>Reads a schema.</summary>
    /// <exception cref="ConstraintException">It is broken, or asks for what cannot be held.</exception>
    public static Form Read(JsonElement schema)
    {
        var reader = new SchemaReader(schema);
        Form root = reader.Value([reader._document.Root]);
        while (reader._unread.TryDequeue(out (Rule Rule, IReadOnlyList<SchemaPlace> Places) next))
            next.Rule.Body = reader.Body(next.Places, next.Rule.Name);
        return root;
    }

    /// <summary>A value that several schemas allow at once.</summary>
    private Form Value(IReadOnlyList<SchemaPlace> places)
    {
        if (places.Count == 0)
            return _json.Any;
        string key = string.Join('\n', places.Select(place => place.Path).Distinct().Order(StringComparer.Ordinal));
        if (!_rules.TryGetValue(key, out Rule? rule))
        {
            if (_rules.Count >= ConstraintLimits.MostStates / 4)
                throw new ConstraintException(places[0].Path, $"{places[0].Path}: the schema has too many parts.");
            _rules.Add(key, rule = new Rule(places[0].Path));
            _unread.Enqueue((rule, places));
        }

        return new Form.Call(rule);
    }

    private Form Body(IReadOnlyList<SchemaPlace> places, string path)
    {
        var forms = new List<Form>();
        foreach (List<SchemaPlace> branch in _branches.Of(places))
        {
            if (branch.Count == 0)
                return _json.Any;
            forms.Add(Branch(new SchemaFacts(branch, path)));
        }

        return Form.Either(forms);
    }

    private Form Branch(SchemaFacts facts)
    {
        if (facts.Values is { } values)
        {
            return values.All(value => value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array))
                ? Form.OneOf(values.Select(value => System.Text.Encoding.UTF8.GetBytes(
                    value.ValueKind == JsonValueKind.String ? JsonForms.Quoted(value.GetString()!) : value.GetRawText())))
                : Form.Either([.. values.Select(_json.Value)]);
        }

        var forms = new List<Form>();
        if (facts.Types.HasFlag(ValueTypes.Null))
            forms.Add(Form.Text("null"));
        if (facts.Types.HasFlag(ValueTypes.Boolean))
            forms.Add(Form.Either(Form.Text("true"), Form.Text("false")));
        if ((facts.Types & ValueTypes.Number) != 0)
            forms.Add(NumberForm.Of(facts.Numbers, facts.Path));
        if (facts.Types.HasFlag(ValueTypes.String))
            forms.Add(facts.LimitsStrings ? _json.StringOf(facts.Strings()) : _json.String);
        if (facts.Types.HasFlag(ValueTypes.Array))
            forms.Add(ArrayOf(facts));
        if (facts.Types.HasFlag(ValueTypes.Object))
            forms.Add(ObjectOf(facts));
        return Form.Either(forms);
    }

    private Form ArrayOf(SchemaFacts facts)
    {
        int least = facts.Least("minItems") ?? 0;
        int? most = facts.Most("maxItems");
        if (facts.Given("uniqueItems").FirstOrDefault(unique => unique.Boolean()) is { Path: not null } unique
            && most is not (0 or 1))
            throw new ConstraintException(unique.Path,
                $"{unique.Path}: that all items differ cannot be held; leave it out, and check it afterwards.");
        foreach (SchemaPlace items in facts.Given("items").Where(items => items.Value.ValueKind == JsonValueKind.Array))
            throw items.Wrong("a schema (a list of schemas is 'prefixItems')");
        int prefix = facts.Given("prefixItems").Max(items => (int?)items.Items().Count()) ?? 0;
        // As many states as items can be told apart; the last is that of all further ones.
        int count = most ?? Math.Max(least, Math.Max(prefix, 1));
        var edges = new List<(int, Form, int)>();
        for (int item = 0; item < count; item++)
            edges.Add((item, Item(item), item + 1));
        if (most is null)
            edges.Add((count, Item(count), count));
        bool[] accepts = [.. Enumerable.Range(0, count + 1).Select(items => items >= least)];
        Form list = new Form.Graph(accepts, edges);
        return Form.Of(Form.Text("["), _json.Space, list, _json.Space, Form.Text("]"));

        Form Item(int index) => Form.Of(index == 0 ? Form.Nothing : _json.Comma, Value([.. ItemPlaces(facts, index)]));
    }

    private static IEnumerable<SchemaPlace> ItemPlaces(SchemaFacts facts, int index)
    {
        foreach (SchemaPlace place in facts.Places)
        {
            SchemaPlace[] prefix = place["prefixItems"] is { } items ? [.. items.Items()] : [];
            if (index < prefix.Length)
                yield return prefix[index];
            else if (place["items"] is { } rest)
                yield return rest;
        }
    }

    private Form ObjectOf(SchemaFacts facts)
    {
        HashSet<string> required = [.. facts.Given("required").SelectMany(list => list.Items().Select(name => name.Text()))];
        string[] names = [.. facts.Given("properties").SelectMany(list => list.Members().Select(member => member.Name))
            .Concat(required).Distinct()];
        int least = facts.Least("minProperties") ?? 0;
        int? most = facts.Most("maxProperties");
        // A state for each property that comes next, and for how many there have been, as far as it matters.
        int counts = Math.Max(least, Math.Max(most ?? 0, 1)) + 1;
        if ((long)counts * (names.Length + 1) > ConstraintLimits.MostStates)
            throw new ConstraintException(facts.Path, $"{facts.Path}: the object has too many properties to be counted.");
        var edges = new List<(int, Form, int)>();
        for (int index = 0; index <= names.Length; index++)
        {
            for (int count = 0; count < counts; count++)
            {
                int state = index * counts + count, more = index * counts + Math.Min(count + 1, counts - 1);
                bool isFull = count == most;
                if (index == names.Length)
                {
                    if (!isFull && Other(facts, names) is { } other)
                        edges.Add((state, Member(count, other), more));
                    continue;
                }

                if (!isFull)
                    edges.Add((state, Member(count, Form.Of(_json.Name(names[index]),
                        Value([.. PropertyPlaces(facts, names[index])]))), more + counts));
                if (!required.Contains(names[index]))
                    edges.Add((state, Form.Nothing, state + counts));
            }
        }

        bool[] accepts = new bool[(names.Length + 1) * counts];
        for (int count = least; count < counts; count++)
            accepts[names.Length * counts + count] = true;
        return Form.Of(Form.Text("{"), _json.Space, new Form.Graph(accepts, edges), _json.Space, Form.Text("}"));

        Form Member(int count, Form member) => count == 0 ? member : Form.Of(_json.Comma, member);
    }

    /// <summary>A property that is not named; null where there may be none.</summary>
    private Form? Other(SchemaFacts facts, string[] names)
    {
        SchemaPlace[] places = [.. facts.Given("additionalProperties")];
        if (places.Any(place => place.Value.ValueKind == JsonValueKind.False))
            return null;
        Form name = names.Length == 0 ? _json.String : OtherName(facts, names);
        return Form.Of(name, _json.Colon, Value(places));
    }

    private Form OtherName(SchemaFacts facts, string[] names)
    {
        string key = $"{facts.Path}\nnames";
        if (!_rules.TryGetValue(key, out Rule? rule))
            _rules.Add(key, rule = new Rule($"a name that is not in {facts.Path}")
            {
                Body = _json.StringOf(CharacterNfa.Except(names)),
            });
        return new Form.Call(rule);
    }

    /// <summary>What schemas say of a property: what stands beside its name, or else of those that are not named.</summary>
    private static IEnumerable<SchemaPlace> PropertyPlaces(SchemaFacts facts, string name)
    {
        foreach (SchemaPlace place in facts.Places)
        {
            if ((place["properties"]?[name] ?? place["additionalProperties"]) is { } schema)
                yield return schema;
        }
    }
}
