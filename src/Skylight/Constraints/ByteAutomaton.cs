namespace Skylight.Constraints;

/// <summary>
/// A form as an automaton over bytes: states with edges that read a byte, and edges that call a rule, after which they
/// go on. Nothing is deterministic yet, and every state leads to an end. <see cref="ByteAutomatonCompiler"/> makes it.
/// </summary>
internal sealed class ByteAutomaton
{
    /// <summary>An edge that reads a byte of a range.</summary>
    public readonly record struct ByteEdge(byte Low, byte High, int Target);

    /// <summary>An edge that a rule leads over.</summary>
    /// <param name="Start">Where the rule begins.</param>
    /// <param name="Return">Where it goes on after the rule.</param>
    /// <param name="IsTail">Whether nothing follows there, so that nobody needs to come back.</param>
    public readonly record struct CallEdge(int Start, int Return, bool IsTail);

    /// <summary>The edges of each state that read a byte.</summary>
    public required ByteEdge[][] Bytes { get; init; }

    /// <summary>The edges of each state that call a rule. No rule is empty, or calls itself before it has read a
    /// byte.</summary>
    public required CallEdge[][] Calls { get; init; }

    /// <summary>Whether the state's rule may end in it.</summary>
    public required bool[] Accepts { get; init; }

    /// <summary>Whether what is read in a state is no part of the form.</summary>
    public required bool[] IsFree { get; init; }

    /// <summary>Where the form begins.</summary>
    public required int Start { get; init; }

    /// <summary>Whether the empty text has the form.</summary>
    public required bool AcceptsNothing { get; init; }

    /// <summary>Bytes that no edge tells apart are of one class.</summary>
    public required byte[] ClassOf { get; init; }

    /// <summary>A byte of each class.</summary>
    public required byte[] ByteOf { get; init; }

    /// <summary>The number of states.</summary>
    public int Count => Accepts.Length;
}
