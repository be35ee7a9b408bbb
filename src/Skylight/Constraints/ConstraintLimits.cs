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
}
