namespace Skylight.Text.Templates;

/// <summary>
/// A chat template in the part of Jinja that such templates use, with the settings of transformers: <c>if</c>,
/// <c>for</c>, <c>set</c>, <c>macro</c>, <c>break</c>, <c>continue</c>,
/// <c>raw</c>, <c>generation</c>; expressions with Python's operators, slices and methods of texts; filters and tests
/// of <see cref="TemplateFilters"/>. It reads no file, knows no type of .NET, and takes a limited number of steps.
/// </summary>
internal sealed class JinjaTemplate
{
    private readonly List<TemplateStatement> _statements;

    private JinjaTemplate(string source, List<TemplateStatement> statements) => (Source, _statements) = (source, statements);

    /// <summary>The text of the template.</summary>
    public string Source { get; }

    /// <summary>Reads a template.</summary>
    /// <exception cref="TemplateException">It is none, or asks for something that is not supported; names line and
    /// column.</exception>
    public static JinjaTemplate Parse(string source) => new(source, TemplateParser.Parse(source));

    /// <summary>Renders it; any number of callers may at once.</summary>
    /// <param name="names">What it is given: null, bool, long, double, string, lists and mappings of them.</param>
    /// <param name="now">What it takes for now.</param>
    /// <param name="mostSteps">The most steps that it may take.</param>
    /// <exception cref="TemplateException">It cannot be rendered with this; names line and column.</exception>
    public string Render(IReadOnlyDictionary<string, object?> names, DateTimeOffset? now = null,
        int mostSteps = TemplateRun.MostSteps)
    {
        var run = new TemplateRun(names, now ?? DateTimeOffset.Now, mostSteps);
        TemplateStatement.RunAll(_statements, run);
        return run.Output;
    }
}
