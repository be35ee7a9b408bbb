namespace Skylight.Text.Templates;

/// <summary>What a loop does next.</summary>
internal enum TemplateFlow
{
    Next,
    Break,
    Continue,
}

/// <summary>Something that is done.</summary>
/// <param name="place">Where it stands.</param>
internal abstract class TemplateStatement(TemplatePlace place)
{
    public TemplatePlace Place => place;

    public abstract TemplateFlow Run(TemplateRun run);

    public static TemplateFlow RunAll(IReadOnlyList<TemplateStatement> statements, TemplateRun run)
    {
        foreach (TemplateStatement statement in statements)
        {
            run.Step(statement.Place);
            TemplateRun.CheckStack(statement.Place);
            if (statement.Run(run) is var flow and not TemplateFlow.Next)
                return flow;
        }

        return TemplateFlow.Next;
    }
}

internal sealed class TextStatement(TemplatePlace place, string text) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        run.Write(text, Place);
        return TemplateFlow.Next;
    }
}

internal sealed class OutputStatement(TemplatePlace place, TemplateExpression expression) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        run.Write(TemplateValue.Print(expression.Evaluate(run), run, Place), Place);
        return TemplateFlow.Next;
    }
}

/// <summary>What stands between two tags that change nothing, such as <c>generation</c>.</summary>
internal sealed class GroupStatement(TemplatePlace place, List<TemplateStatement> body) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run) => RunAll(body, run);
}

internal sealed class FlowStatement(TemplatePlace place, TemplateFlow flow) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run) => flow;
}

internal sealed class IfStatement(TemplatePlace place,
    List<(TemplateExpression? Condition, List<TemplateStatement> Body)> branches) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        foreach ((TemplateExpression? condition, List<TemplateStatement> body) in branches)
        {
            if (condition is null || TemplateValue.IsTrue(condition.Evaluate(run)))
                return RunAll(body, run);
        }

        return TemplateFlow.Next;
    }
}

internal sealed class ForStatement(
    TemplatePlace place, List<string> targets, TemplateExpression source, TemplateExpression? condition,
    List<TemplateStatement> body, List<TemplateStatement> otherwise) : TemplateStatement(place)
{
    // A round makes names of its own.
    private const int StepsOfARound = 10;

    public override TemplateFlow Run(TemplateRun run)
    {
        TemplateScope outer = run.Scope;
        List<object?> items = TemplateValue.Elements(source.Evaluate(run), run, Place);
        try
        {
            if (condition is not null)
            {
                items = [.. items.Where(item =>
                {
                    Enter(run, outer, item);
                    return TemplateValue.IsTrue(condition.Evaluate(run));
                })];
            }

            if (items.Count == 0)
            {
                run.Scope = outer;
                return RunAll(otherwise, run);
            }

            for (int index = 0; index < items.Count; index++)
            {
                run.Step(Place, StepsOfARound);
                Enter(run, outer, items[index]);
                run.Scope.Set("loop", Loop(items, index));
                if (RunAll(body, run) == TemplateFlow.Break)
                    break;
            }

            return TemplateFlow.Next;
        }
        finally
        {
            run.Scope = outer;
        }
    }

    private void Enter(TemplateRun run, TemplateScope outer, object? item)
    {
        run.Scope = new TemplateScope(outer);
        if (targets.Count == 1)
        {
            run.Scope.Set(targets[0], item);
            return;
        }

        List<object?> parts = item is List<object?> list && list.Count == targets.Count ? list
            : throw new TemplateException(Place,
                $"the loop takes {targets.Count} names, and an element is " +
                $"{(item is List<object?> other ? $"a list of {other.Count}" : TemplateValue.TypeName(item))}.");
        for (int part = 0; part < parts.Count; part++)
            run.Scope.Set(targets[part], parts[part]);
    }

    private static Dictionary<string, object?> Loop(List<object?> items, int index) => new(StringComparer.Ordinal)
    {
        ["index"] = index + 1L,
        ["index0"] = (long)index,
        ["revindex"] = (long)items.Count - index,
        ["revindex0"] = items.Count - index - 1L,
        ["first"] = index == 0,
        ["last"] = index == items.Count - 1,
        ["length"] = (long)items.Count,
        ["previtem"] = index > 0 ? items[index - 1] : new Missing("the element before the first"),
        ["nextitem"] = index + 1 < items.Count ? items[index + 1] : new Missing("the element after the last"),
        ["cycle"] = new TemplateFunction(call => call.Positional.Count > 0
            ? call.Positional[index % call.Positional.Count] : throw call.Error("needs something to choose from")),
    };
}

internal sealed class SetStatement(TemplatePlace place, string name, string? member, TemplateExpression value)
    : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        object? result = value.Evaluate(run);
        if (member is null)
            run.Scope.Set(name, result);
        else if (run.Scope.TryGet(name, out object? target) && target is TemplateNamespace space)
            space[member] = result;
        else
            throw new TemplateException(Place, $"'{name}.{member}' cannot be set: '{name}' is no namespace.");
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% set name %}…{% endset %}</c>.</summary>
internal sealed class SetBlockStatement(TemplatePlace place, string name, List<TemplateStatement> body)
    : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        string text = run.Capture(new TemplateScope(run.Scope), Place, () => RunAll(body, run));
        run.Scope.Set(name, text);
        return TemplateFlow.Next;
    }
}

internal sealed class MacroStatement(TemplatePlace place, string name,
    List<(string Name, TemplateExpression? Default)> parameters, List<TemplateStatement> body) : TemplateStatement(place)
{
    public override TemplateFlow Run(TemplateRun run)
    {
        run.Scope.Set(name, new TemplateFunction(Call));
        return TemplateFlow.Next;
    }

    private string Call(TemplateCall call)
    {
        call.Expect(parameters.Count, [.. parameters.Select(parameter => parameter.Name)]);
        var scope = new TemplateScope(call.Run.Root);
        return call.Run.Capture(scope, call.Place, () =>
        {
            for (int index = 0; index < parameters.Count; index++)
            {
                (string parameter, TemplateExpression? otherwise) = parameters[index];
                bool isGiven = index < call.Positional.Count || call.Named.ContainsKey(parameter);
                scope.Set(parameter, isGiven ? call.Get(index, parameter)
                    : otherwise is null ? new Missing($"'{parameter}'") : otherwise.Evaluate(call.Run));
            }

            RunAll(body, call.Run);
        });
    }
}
