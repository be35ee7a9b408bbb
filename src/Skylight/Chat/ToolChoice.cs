namespace Skylight.Chat;

/// <summary>How a model calls tools.</summary>
public enum ToolChoiceKind
{
    /// <summary>It is not told of any.</summary>
    None,

    /// <summary>It answers or calls tools, as it sees fit.</summary>
    Auto,

    /// <summary>It calls one at least, and says nothing else.</summary>
    Required,

    /// <summary>It calls a certain one.</summary>
    Named,
}

/// <summary>Whether the model calls, may call or must call tools.</summary>
public sealed record ToolChoice
{
    private ToolChoice(ToolChoiceKind kind, string? name = null) => (Kind, Name) = (kind, name);

    /// <summary>The model is not told of any tools.</summary>
    public static ToolChoice None { get; } = new(ToolChoiceKind.None);

    /// <summary>The model answers or calls tools, as it sees fit.</summary>
    public static ToolChoice Auto { get; } = new(ToolChoiceKind.Auto);

    /// <summary>The model calls one tool at least, and says nothing else.</summary>
    public static ToolChoice Required { get; } = new(ToolChoiceKind.Required);

    /// <summary>Which of these it is.</summary>
    public ToolChoiceKind Kind { get; }

    /// <summary>The tool that must be called; null unless there is one.</summary>
    public string? Name { get; }

    /// <summary>The model calls this tool.</summary>
    public static ToolChoice Named(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return new ToolChoice(ToolChoiceKind.Named, name);
    }
}
