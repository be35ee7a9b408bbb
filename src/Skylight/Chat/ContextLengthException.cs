namespace Skylight.Chat;

/// <summary>A conversation, or the answer asked for, is longer than the context; the message has the numbers.</summary>
public sealed class ContextLengthException : ConversationException
{
    /// <summary>Makes the error.</summary>
    public ContextLengthException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public ContextLengthException(string message, string parameterName)
        : base(message, parameterName)
    {
    }

    /// <summary>Makes the error.</summary>
    public ContextLengthException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public ContextLengthException()
    {
    }
}
