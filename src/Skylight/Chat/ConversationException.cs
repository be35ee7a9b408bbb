namespace Skylight.Chat;

/// <summary>
/// A conversation cannot be answered as it is. The message goes to users of servers and programs, who know no
/// parameters, and names none.
/// </summary>
public class ConversationException : ArgumentException
{
    /// <summary>Makes the error.</summary>
    public ConversationException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public ConversationException(string message, string parameterName)
        : base(message, parameterName)
    {
    }

    /// <summary>Makes the error.</summary>
    public ConversationException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public ConversationException()
    {
    }

    /// <inheritdoc/>
    public override string Message => PlainMessages.Without(base.Message, ParamName);
}
