namespace Skylight.Constraints;

/// <summary>How far an answer of a form has come.</summary>
internal sealed class ConstraintRun
{
    private readonly TokenConstraint _constraint;
    private Configuration _at;

    /// <summary>Begins an answer.</summary>
    /// <exception cref="ConstraintException">The answer can be read in too many ways at once, or cannot begin with any
    /// token.</exception>
    public ConstraintRun(TokenConstraint constraint)
    {
        _constraint = constraint;
        _at = constraint.Start;
        Mask = constraint.MaskOf(_at);
        if (IsStuck)
            throw new ConstraintException(
                $"The vocabulary has no token with which an answer of {constraint.Constraint.Describe()} could begin.");
    }

    private ConstraintRun(TokenConstraint constraint, Configuration at) =>
        (_constraint, _at, Mask) = (constraint, at, constraint.MaskOf(at));

    /// <summary>The tokens that may follow, those that end an answer left aside.</summary>
    public TokenMask Mask { get; private set; }

    /// <summary>Whether the answer may end.</summary>
    public bool IsComplete => _at.IsComplete;

    /// <summary>Whether no token may follow, and the answer may not end either.</summary>
    public bool IsStuck => Mask.Count == 0 && !IsComplete;

    /// <summary>Takes a token that was written, unless it ended the answer.</summary>
    /// <exception cref="ConstraintException">It may not follow, or the answer can be read in too many ways at
    /// once.</exception>
    public void Accept(int token)
    {
        _at = _constraint.Step(_at, token);
        Mask = _constraint.MaskOf(_at);
    }

    /// <summary>
    /// How far the answer would have come behind a token; null where it may not follow, or nothing may follow it.
    /// </summary>
    public ConstraintRun? Behind(int token)
    {
        if (!Mask.Contains(token))
            return null;
        try
        {
            Configuration next = _constraint.Step(_at, token);
            var run = new ConstraintRun(_constraint, next);
            return run.IsStuck ? null : run;
        }
        catch (ConstraintException)
        {
            // Whoever writes the token will hear of it.
            return null;
        }
    }

    /// <summary>Writes what may follow.</summary>
    /// <param name="words">A bit for each of the model's tokens.</param>
    /// <param name="ends">The tokens that end the answer: they may come where it is complete, and nowhere else.</param>
    public void Write(Span<uint> words, IReadOnlyList<int> ends)
    {
        words.Clear();
        Mask.AddTo(words);
        foreach (int token in ends)
        {
            if (IsComplete)
                words[token >> 5] |= 1u << token;
            else
                words[token >> 5] &= ~(1u << token);
        }
    }
}
