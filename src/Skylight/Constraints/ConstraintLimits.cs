namespace Skylight.Constraints;

/// <summary>What a form may take. A schema or grammar comes from outside, and must not take the memory of others.</summary>
internal static class ConstraintLimits
{
    /// <summary>The most characters of a schema, pattern, grammar or list of choices.</summary>
    public const int MostCharacters = 1 << 20;

    /// <summary>The most states of the automaton that a form becomes.</summary>
    public const int MostStates = 100_000;

    /// <summary>The most edges of that automaton.</summary>
    public const int MostEdges = 2_000_000;

    /// <summary>The most places of a grammar at which an answer may be at once.</summary>
    public const int MostPlaces = 2048;

    /// <summary>Configurations and masks that are kept; beyond, they are found anew.</summary>
    public const int MostConfigurations = 50_000;

    /// <summary>The bytes of masks that are kept for a form and a vocabulary.</summary>
    public const long MostMaskBytes = 24L << 20;

    /// <summary>The places that may be looked at for one mask; a vocabulary of 150,000 tokens needs as many for each place
    /// that is open.</summary>
    public const long MostWorkOfMask = 4_000_000;

    /// <summary>The places that a form's masks may take on average, beyond <see cref="MostWorkAhead"/>.</summary>
    public const long WorkOfMask = 500_000;

    /// <summary>The places that a form may take before the average counts.</summary>
    public const long MostWorkAhead = 20_000_000;

    /// <summary>The steps without a byte that may be followed while a form becomes an automaton.</summary>
    public const long MostFreeSteps = 10_000_000;

    /// <summary>The schemas that may be put together where <c>$ref</c>, <c>allOf</c> and <c>anyOf</c> are taken apart.</summary>
    public const long MostCombinations = 1_000_000;
}
