namespace Skylight.Generation;

/// <summary>
/// A model gave logits from which no token can be drawn: it has diverged in training, or its weights are damaged. Ends
/// the request whose logits they are; other requests go on.
/// </summary>
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

    /// <summary>Names the place of a request after which nothing can be drawn.</summary>
    /// <param name="row">The request, and where it is.</param>
    /// <param name="areBanned">Whether all logits are −∞; otherwise one is NaN or +∞.</param>
    internal static LogitsNotFiniteException After(in StepRow row, bool areBanned)
    {
        string place = row.Sequence is { } sequence
            ? $"for token {sequence.Tokens.Count + 1} of completion {sequence.Completion + 1}"
            : $"after prompt token {row.Start + row.Count} of {row.Run.PromptLength}";
        string form = row.Run.Request.Constraint is null ? "" : " that the form of the answer allows";
        return new LogitsNotFiniteException(areBanned
            ? $"The logits {place} are all −∞, so there is no token to draw: every token{form} is banned, or " +
                $"the model's weights are damaged."
            : $"The logits {place} are not finite: the model has diverged, or its weights are damaged.");
    }
}
