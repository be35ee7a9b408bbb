namespace Skylight.Constraints;

/// <summary>A place in an automaton, and where it goes on after its rule: a stack that others share.</summary>
internal sealed class Place(int state, Place? below)
{
    public int State { get; } = state;

    /// <summary>Where it goes on after the rule; null where the form ends with it.</summary>
    public Place? Below { get; } = below;

    /// <summary>Where the answer is when the rule above has just ended here.</summary>
    public Configuration? Returned { get; set; }

    /// <summary>The place that no token can tell from this one.</summary>
    public Place? Alike { get; set; }
}

/// <summary>
/// All places at which an answer may be: what a deterministic automaton would call a state. They are made when an answer
/// first comes to them.
/// </summary>
internal sealed class Configuration(Place[] places, bool isComplete, int classes)
{
    /// <summary>The places that read a byte.</summary>
    public Place[] Places { get; } = places;

    /// <summary>Whether what was written has the form.</summary>
    public bool IsComplete { get; } = isComplete;

    /// <summary>What each class of bytes leads to; null where nobody has asked yet.</summary>
    public Configuration?[] Next { get; } = new Configuration?[classes];

    /// <summary>Whether what is written here is no part of the form.</summary>
    public bool IsFree { get; init; }

    /// <summary>The tokens that may follow; null where nobody has asked yet.</summary>
    public TokenMask? Mask { get; set; }
}
