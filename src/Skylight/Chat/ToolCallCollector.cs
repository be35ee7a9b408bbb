using System.Text;

namespace Skylight.Chat;

/// <summary>Puts the pieces of an answer's calls of tools together.</summary>
public sealed class ToolCallCollector
{
    private readonly List<(ToolCallUpdate First, StringBuilder Arguments, bool IsComplete)> _calls = [];

    /// <summary>The calls that are complete, in the order in which they were made.</summary>
    public IEnumerable<ToolCall> Complete => _calls.Where(call => call.IsComplete).Select(call =>
        new ToolCall(call.First.Id, call.First.Name, call.Arguments.ToString()));

    /// <summary>All calls; the last may have been cut off, so that its arguments are no JSON.</summary>
    public IEnumerable<ToolCall> All => _calls.Select(call =>
        new ToolCall(call.First.Id, call.First.Name, call.Arguments.ToString()));

    /// <summary>Takes a piece; null is none.</summary>
    /// <returns>The call that is complete with it; null while none is.</returns>
    public ToolCall? Add(ToolCallUpdate? piece)
    {
        if (piece is null)
            return null;
        if (piece.IsFirst)
            _calls.Add((piece, new StringBuilder(), false));
        (ToolCallUpdate first, StringBuilder arguments, _) = _calls[^1];
        arguments.Append(piece.Arguments);
        if (!piece.IsComplete)
            return null;
        _calls[^1] = (first, arguments, true);
        return new ToolCall(first.Id, first.Name, arguments.ToString());
    }
}
