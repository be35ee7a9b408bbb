namespace Skylight.Training.Runs;

/// <summary>A recipe cannot be used: the message names file, line and key, and says what would be right.</summary>
public sealed class RecipeException : Exception
{
    /// <summary>Makes an exception.</summary>
    public RecipeException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public RecipeException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public RecipeException()
    {
    }
}
