namespace Skylight.Graphs;

/// <summary>A graph that cannot be: an op was given inputs whose number, types or shapes it cannot work on.</summary>
public sealed class GraphException : Exception
{
    /// <summary>Makes an exception.</summary>
    public GraphException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public GraphException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public GraphException()
    {
    }
}
