namespace Skylight.Constraints;

/// <summary>A regular expression as it was read.</summary>
internal abstract record PatternNode
{
    /// <summary>One character.</summary>
    public sealed record One(CharacterSet Set) : PatternNode;

    /// <summary>One part after the other; none is the empty text.</summary>
    public sealed record Sequence(IReadOnlyList<PatternNode> Parts) : PatternNode;

    /// <summary>One of several parts.</summary>
    public sealed record Alternatives(IReadOnlyList<PatternNode> Parts) : PatternNode;

    /// <summary>A part several times; without <paramref name="Most"/> any number of times.</summary>
    public sealed record Repeated(PatternNode Part, int Least, int? Most) : PatternNode;

    /// <summary>Holds at the beginning of the text only.</summary>
    public sealed record Begin : PatternNode;

    /// <summary>Holds at the end of the text only.</summary>
    public sealed record End : PatternNode;
}
