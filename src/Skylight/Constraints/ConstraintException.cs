namespace Skylight.Constraints;

/// <summary>
/// A form that no answer can be held to: a schema, pattern or grammar that is broken, asks for something that cannot be
/// held, cannot be satisfied, never ends, or is too large. The message names the place and says what to do.
/// </summary>
public sealed class ConstraintException : ArgumentException
{
    /// <summary>Makes the error.</summary>
    public ConstraintException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public ConstraintException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public ConstraintException()
    {
    }

    /// <summary>Names a place within what was given, a JSON pointer say.</summary>
    internal ConstraintException(string path, string message)
        : base(message) => Path = path;

    /// <summary>The place: a JSON pointer into the schema; null where there is none.</summary>
    public string? Path { get; }
}
