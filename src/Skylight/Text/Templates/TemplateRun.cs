using System.Runtime.CompilerServices;
using System.Text;

namespace Skylight.Text.Templates;

/// <summary>One rendering: its names, what it has written, and how much it may still do.</summary>
internal sealed class TemplateRun
{
    /// <summary>
    /// The most characters that a template may write, and the most that it may make on the way, in all its texts
    /// together.
    /// </summary>
    public const int MostOutput = 32 << 20;

    /// <summary>The most steps of a rendering.</summary>
    public const int MostSteps = 5_000_000;

    /// <summary>The most elements of a list.</summary>
    public const int MostElements = 1 << 18;

    private const int MostDepth = 64, CharactersOfAStep = 64;

    private readonly Stack<StringBuilder> _outputs = new([new StringBuilder()]);
    private readonly int _mostSteps;
    private int _depth;
    private long _steps, _made, _written;

    public TemplateRun(IReadOnlyDictionary<string, object?> names, DateTimeOffset now, int mostSteps = MostSteps)
    {
        _mostSteps = mostSteps;
        Root = new TemplateScope(null);
        foreach ((string name, object? value) in names)
            Root.Set(name, value);
        Scope = Root;
        Now = now;
    }

    /// <summary>The names of the template itself, which macros see.</summary>
    public TemplateScope Root { get; }

    public TemplateScope Scope { get; set; }

    /// <summary>What <c>strftime_now</c> takes for now.</summary>
    public DateTimeOffset Now { get; }

    public string Output => _outputs.Peek().ToString();

    /// <summary>Counts a step, or one for each element that is looked at, so that no template runs for ever.</summary>
    public void Step(TemplatePlace place, long count = 1)
    {
        if ((_steps += count) > _mostSteps)
            throw new TemplateException(place, $"the template takes more than {_mostSteps} steps.");
    }

    /// <summary>Counts the steps of going through a text.</summary>
    public void Read(string text, TemplatePlace place) => Step(place, text.Length / CharactersOfAStep);

    /// <summary>Counts what was made, so that no template takes all memory.</summary>
    public void Make(object? value, TemplatePlace place)
    {
        if (value is string text)
        {
            CheckLength(_made += text.Length, place);
            Read(text, place);
        }
        else if (value is List<object?> list)
        {
            CheckCount(list.Count, place);
            Step(place, list.Count);
        }
    }

    /// <summary>Refuses a list before it is made.</summary>
    public static void CheckCount(long count, TemplatePlace place)
    {
        if (count > MostElements)
            throw new TemplateException(place, $"a list has more than {MostElements} elements.");
    }

    /// <summary>Refuses a text before it is made.</summary>
    public static void CheckLength(long length, TemplatePlace place)
    {
        if (length > MostOutput)
            throw new TemplateException(place, $"the template makes texts of more than {MostOutput} characters.");
    }

    /// <summary>Refuses what is nested so deep that the thread's stack would end.</summary>
    public static void CheckStack(TemplatePlace place)
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw new TemplateException(place, "the template is nested too deep.");
    }

    public void Write(string text, TemplatePlace place)
    {
        // Together with what macros wrote for their callers: that takes memory, too.
        if ((_written += text.Length) > MostOutput)
            throw new TemplateException(place, $"the template writes more than {MostOutput} characters.");
        Read(text, place);
        _outputs.Peek().Append(text);
    }

    /// <summary>What something writes, taken for itself, with names of its own.</summary>
    public string Capture(TemplateScope scope, TemplatePlace place, Action action)
    {
        if (++_depth > MostDepth)
            throw new TemplateException(place, $"macros call each other more than {MostDepth} deep.");
        TemplateScope before = Scope;
        _outputs.Push(new StringBuilder());
        Scope = scope;
        try
        {
            action();
            return _outputs.Peek().ToString();
        }
        finally
        {
            _outputs.Pop();
            Scope = before;
            _depth--;
        }
    }
}

/// <summary>Names, and those around them. What is set here is seen here, and in what is inside.</summary>
internal sealed class TemplateScope(TemplateScope? parent)
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    public void Set(string name, object? value) => _values[name] = value;

    public bool TryGet(string name, out object? value)
    {
        for (TemplateScope? scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._values.TryGetValue(name, out value))
                return true;
        }

        value = null;
        return false;
    }

    private TemplateScope? Parent => parent;
}

/// <summary>What <c>namespace(…)</c> makes: members that a loop may set for those outside of it.</summary>
internal sealed class TemplateNamespace : Dictionary<string, object?>
{
    public TemplateNamespace()
        : base(StringComparer.Ordinal)
    {
    }
}
