namespace Skylight.Generation;

/// <summary>A model gave logits that are no numbers: it has diverged in training, or its weights are damaged.</summary>
public sealed class LogitsNotFiniteException : ArithmeticException
{
    /// <summary>Makes the error.</summary>
    public LogitsNotFiniteException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public LogitsNotFiniteException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public LogitsNotFiniteException()
    {
    }
}
