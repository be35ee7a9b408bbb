using Skylight.Constraints;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>The form of answers that call tools.</summary>
internal static class ToolForm
{
    /// <summary>The most tools of a request.</summary>
    public const int MostTools = 128;

    /// <summary>Checks what options say of tools.</summary>
    /// <exception cref="ArgumentException">There are too many, two have one name, or the one that must be called is not
    /// among them.</exception>
    public static void Check(GenerationOptions options)
    {
        if (options.Tools.Count > MostTools)
            throw new ArgumentException($"There are {options.Tools.Count} tools; at most {MostTools} can be offered.");
        if (options.Tools.GroupBy(tool => tool.Name, StringComparer.Ordinal)
            .FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"There are {twice.Count()} tools with the name '{twice.Key}'; names must differ.");
        if (options.ToolChoice.Kind is ToolChoiceKind.Required or ToolChoiceKind.Named && options.Tools.Count == 0)
            throw new ArgumentException("A tool must be called, and none is offered.");
        if (options.ToolChoice.Name is { } name && options.Tools.All(tool => tool.Name != name))
            throw new ArgumentException($"The tool '{name}' must be called, and is not offered; there are " +
                $"{string.Join(", ", options.Tools.Take(10).Select(tool => $"'{tool.Name}'"))}.");
    }

    /// <summary>What an answer may be: calls, and where nothing must be called text before them, or text alone.</summary>
    /// <returns>Null where no tools are offered and there is no other form.</returns>
    /// <exception cref="ConstraintException">The schemas of the tools together are too large.</exception>
    public static Constraint? Of(GenerationOptions options)
    {
        if (options.OfferedTools.Count == 0)
            return options.Constraint;
        Constraint[] calls = [.. options.OfferedTools
            .Where(tool => options.ToolChoice.Name is null || options.ToolChoice.Name == tool.Name).Select(CallOf)];
        Constraint call = Constraint.AnyOf(calls);
        // As in Qwen's template each stands on lines of its own.
        Constraint rest = options.ParallelToolCalls
            ? Constraint.Sequence(call, Constraint.Repeated(Constraint.Sequence(
                Constraint.Text($"\n{SpecialTokens.ToolCallStart}"), call), 0)) : call;
        Constraint all = Constraint.Sequence(Constraint.Text(SpecialTokens.ToolCallStart), rest);
        if (options.ToolChoice.Kind != ToolChoiceKind.Auto)
            return all;
        return options.Constraint is { } form ? Constraint.AnyOf(form, all)
            : rest.FromMark(SpecialTokens.ToolCallStart);
    }

    private static Constraint CallOf(ToolDefinition tool) => Constraint.Sequence(
        Constraint.Text($"\n{{\"name\": \"{tool.Name}\", \"arguments\": "), tool.Arguments,
        Constraint.Text($"}}\n{SpecialTokens.ToolCallEnd}"));
}
