namespace Skylight.Text.Templates;

/// <summary>Something that has a value.</summary>
/// <param name="place">Where it stands.</param>
internal abstract class TemplateExpression(TemplatePlace place)
{
    public TemplatePlace Place => place;

    public object? Evaluate(TemplateRun run)
    {
        run.Step(place);
        TemplateRun.CheckStack(place);
        object? value = Compute(run);
        // What was there before is not made.
        if (this is not (Literal or NameExpression or MemberExpression))
            run.Make(value, place);
        return value;
    }

    protected abstract object? Compute(TemplateRun run);
}

internal sealed class Literal(TemplatePlace place, object? value) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) => value;
}

internal sealed class NameExpression(TemplatePlace place, string name) : TemplateExpression(place)
{
    public string Name => name;

    protected override object? Compute(TemplateRun run) =>
        run.Scope.TryGet(name, out object? value) ? value
            : TemplateFunctions.All.TryGetValue(name, out TemplateFunction? function) ? function : new Missing($"'{name}'");
}

internal sealed class ListExpression(TemplatePlace place, List<TemplateExpression> items) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) => items.Select(item => item.Evaluate(run)).ToList();
}

internal sealed class MapExpression(TemplatePlace place,
    List<(TemplateExpression Key, TemplateExpression Value)> members) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run)
    {
        var map = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach ((TemplateExpression key, TemplateExpression value) in members)
            map[key.Evaluate(run) as string ?? throw new TemplateException(key.Place, "names of members are texts.")] =
                value.Evaluate(run);
        return map;
    }
}

/// <summary><c>a.b</c> and <c>a[b]</c>, which are the same but that the first also finds methods.</summary>
internal sealed class MemberExpression(TemplatePlace place, TemplateExpression container, TemplateExpression index,
    bool isDotted) : TemplateExpression(place)
{
    public TemplateExpression Container => container;

    public TemplateExpression Index => index;

    public bool IsDotted => isDotted;

    protected override object? Compute(TemplateRun run) =>
        TemplateValue.Element(container.Evaluate(run), index.Evaluate(run), run, Place);
}

internal sealed class SliceExpression(TemplatePlace place, TemplateExpression container, TemplateExpression? start,
    TemplateExpression? stop, TemplateExpression? step) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) =>
        TemplateValue.Slice(container.Evaluate(run), start?.Evaluate(run), stop?.Evaluate(run), step?.Evaluate(run), run,
            Place);
}

internal sealed class CallExpression(TemplatePlace place, TemplateExpression target,
    List<TemplateExpression> positional, List<(string Name, TemplateExpression Value)> named) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run)
    {
        if (target is MemberExpression { IsDotted: true, Index: Literal } member)
        {
            object? container = member.Container.Evaluate(run);
            string method = (string)member.Index.Evaluate(run)!;
            // A member that can be called goes before a method of its name.
            if (container is Dictionary<string, object?> map && map.TryGetValue(method, out object? found)
                && found is TemplateFunction own)
                return own(Arguments(run, method));
            if (container is Missing missing)
                throw new TemplateException(Place, $"{missing.What} is undefined, so it has no '{method}'.");
            return TemplateMethods.Call(container, method, Arguments(run, method));
        }

        string name = target is NameExpression { Name: var spelled } ? spelled : "this";
        return target.Evaluate(run) is TemplateFunction function ? function(Arguments(run, name))
            : throw new TemplateException(Place, $"'{name}' is no function that is supported.");
    }

    private TemplateCall Arguments(TemplateRun run, string name) => new(
        run, Place, name, [.. positional.Select(argument => argument.Evaluate(run))],
        named.ToDictionary(argument => argument.Name, argument => argument.Value.Evaluate(run), StringComparer.Ordinal));
}

internal sealed class FilterExpression(
    TemplatePlace place, string name, Func<object?, TemplateCall, object?> filter, TemplateExpression subject,
    List<TemplateExpression> positional, List<(string Name, TemplateExpression Value)> named) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) => filter(subject.Evaluate(run), new TemplateCall(
        run, Place, name, [.. positional.Select(argument => argument.Evaluate(run))],
        named.ToDictionary(argument => argument.Name, argument => argument.Value.Evaluate(run), StringComparer.Ordinal)));
}

internal sealed class TestExpression(TemplatePlace place, TemplateTest test,
    TemplateExpression subject, TemplateExpression? argument) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) => test(subject.Evaluate(run), argument?.Evaluate(run), run, Place);
}

internal sealed class NotExpression(TemplatePlace place, TemplateExpression operand) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) => !TemplateValue.IsTrue(operand.Evaluate(run));
}

internal sealed class SignExpression(TemplatePlace place, TemplateExpression operand, bool isNegative)
    : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) =>
        TemplateValue.Calculate("*", operand.Evaluate(run), isNegative ? -1L : 1L, run, Place) switch
        {
            string => throw new TemplateException(Place, "text has no sign."),
            var number => number,
        };
}

/// <summary><c>and</c> and <c>or</c>: the value that decides, as in Python.</summary>
internal sealed class LogicExpression(TemplatePlace place, TemplateExpression left, TemplateExpression right,
    bool isAnd) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run)
    {
        object? first = left.Evaluate(run);
        return TemplateValue.IsTrue(first) == isAnd ? right.Evaluate(run) : first;
    }
}

internal sealed class ConditionExpression(TemplatePlace place, TemplateExpression condition, TemplateExpression then,
    TemplateExpression? otherwise) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) =>
        TemplateValue.IsTrue(condition.Evaluate(run)) ? then.Evaluate(run)
            : otherwise is null ? new Missing("what has no 'else'") : otherwise.Evaluate(run);
}

internal sealed class BinaryExpression(TemplatePlace place, string operation, TemplateExpression left,
    TemplateExpression right) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run) =>
        TemplateValue.Calculate(operation, left.Evaluate(run), right.Evaluate(run), run, Place);
}

/// <summary><c>a &lt; b == c</c>: every pair of neighbours must hold.</summary>
internal sealed class ComparisonExpression(TemplatePlace place, TemplateExpression first,
    List<(string Operation, TemplateExpression Operand)> rest) : TemplateExpression(place)
{
    protected override object? Compute(TemplateRun run)
    {
        object? left = first.Evaluate(run);
        foreach ((string operation, TemplateExpression operand) in rest)
        {
            object? right = operand.Evaluate(run);
            bool holds = operation switch
            {
                "==" => TemplateValue.AreEqual(left, right, run, Place),
                "!=" => !TemplateValue.AreEqual(left, right, run, Place),
                "in" => TemplateValue.Contains(right, left, run, Place),
                "not in" => !TemplateValue.Contains(right, left, run, Place),
                "<" => TemplateValue.Compare(left, right, run, Place) < 0,
                "<=" => TemplateValue.Compare(left, right, run, Place) <= 0,
                ">" => TemplateValue.Compare(left, right, run, Place) > 0,
                _ => TemplateValue.Compare(left, right, run, Place) >= 0,
            };
            if (!holds)
                return false;
            left = right;
        }

        return true;
    }
}
