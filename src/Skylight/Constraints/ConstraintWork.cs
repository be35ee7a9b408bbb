namespace Skylight.Constraints;

/// <summary>
/// What finding masks of a form may take: places of its grammar that were looked at. Others wait meanwhile, so a form that
/// can be read in very many ways ends its own answer with an error.
/// </summary>
internal sealed class ConstraintWork
{
    private long _spent, _spentAtMask, _allowed = ConstraintLimits.MostWorkAhead;

    /// <summary>A mask is looked for: it may take so much, and so much more may all of them together.</summary>
    public void BeginMask()
    {
        _spentAtMask = _spent;
        _allowed += ConstraintLimits.WorkOfMask;
    }

    /// <summary>Counts places that are looked at.</summary>
    /// <exception cref="ConstraintException">They are too many.</exception>
    public void Spend(int places)
    {
        _spent += places;
        if (_spent - _spentAtMask > ConstraintLimits.MostWorkOfMask || _spent > _allowed)
            throw new ConstraintException(
                "Finding the tokens that the form allows next takes too long, because the text so far can be read in too many " +
                "ways. Write a form with fewer of them: shorter repeats within repeats, alternatives that differ sooner.");
    }
}
