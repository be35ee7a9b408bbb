using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// Finds calls of tools in an answer that comes in pieces: <c>&lt;tool_call&gt;</c>, an object with a name and
/// arguments, <c>&lt;/tool_call&gt;</c>; several, with white space between them. The arguments are given as they come.
/// What begins like a call and is none stays text, and says so.
/// </summary>
/// <param name="names">The tools that may be called.</param>
internal sealed partial class ToolCallReader(IReadOnlyCollection<string> names)
{
    private const int MostName = 64;

    private readonly StringBuilder _call = new(), _arguments = new();
    private string _held = "";
    // White space before the call, which belongs to it.
    private string _before = "";
    private Phase _phase = Phase.Text;
    private ToolCallUpdate? _current;
    private int _next, _depth;
    private bool _inString, _isEscaped;

    private enum Phase
    {
        /// <summary>Outside of calls.</summary>
        Text,

        /// <summary>Before the arguments of a call.</summary>
        Head,

        /// <summary>Within its arguments.</summary>
        Arguments,

        /// <summary>Behind its arguments.</summary>
        Tail,
    }

    /// <summary>How many calls are complete.</summary>
    public int Count { get; private set; }

    /// <summary>How many calls were begun and are none.</summary>
    public int Broken { get; private set; }

    /// <summary>Takes a piece of text and gives what is decided.</summary>
    /// <param name="kind">What it belongs to; calls are looked for in the answer.</param>
    /// <param name="text">The piece.</param>
    /// <param name="isEnd">Whether it is the last one: nothing is held back then.</param>
    public List<GenerationUpdate> Append(UpdateKind kind, string text, bool isEnd = false)
    {
        var updates = new List<GenerationUpdate>();
        if (kind == UpdateKind.Answer)
        {
            if (_phase == Phase.Text)
                _held += text;
            else
                _call.Append(text);
        }

        while (Advance(updates))
        {
        }

        if (isEnd || kind != UpdateKind.Answer)
            End(updates);
        if (kind != UpdateKind.Answer && text.Length > 0)
            updates.Add(new GenerationUpdate(kind, text));
        return updates;
    }

    /// <summary>One decision; false if there is nothing more to decide.</summary>
    private bool Advance(List<GenerationUpdate> updates) => _phase switch
    {
        Phase.Text => ReadText(updates),
        Phase.Head => ReadHead(updates),
        Phase.Arguments => ReadArguments(updates),
        _ => ReadTail(updates),
    };

    private bool ReadText(List<GenerationUpdate> updates)
    {
        int at = _held.IndexOf(SpecialTokens.ToolCallStart, StringComparison.Ordinal);
        string before = at >= 0 ? _held[..at] : _held[..^Beginning(_held)];
        string text = before.TrimEnd();
        Emit(updates, text);
        if (at < 0)
        {
            _held = _held[text.Length..];
            return false;
        }

        _before = before[text.Length..];
        _call.Clear().Append(_held.AsSpan(at + SpecialTokens.ToolCallStart.Length));
        _held = "";
        _phase = Phase.Head;
        return true;
    }

    /// <summary>The length of the longest end of a text with which a call may begin.</summary>
    private static int Beginning(string text)
    {
        int length = Math.Min(SpecialTokens.ToolCallStart.Length - 1, text.Length);
        while (!text.AsSpan(text.Length - length).SequenceEqual(SpecialTokens.ToolCallStart.AsSpan(0, length)))
            length--;
        return length;
    }

    private bool ReadHead(List<GenerationUpdate> updates)
    {
        string call = _call.ToString();
        if (Head().Match(call) is { Success: true } head && names.Contains(head.Groups[1].Value))
        {
            _current = new ToolCallUpdate(_next++, $"call_{Guid.NewGuid():N}", head.Groups[1].Value, "", true, false);
            Emit(updates, _current);
            (_depth, _inString, _isEscaped) = (0, false, false);
            _call.Remove(0, head.Length);
            _phase = Phase.Arguments;
            return true;
        }

        // In another order than the model learnt: nothing is known before all is there.
        int end = EndOf(call);
        if (end < 0)
            return false;
        string inner = call[..end];
        string? fault = Read(inner, out string name, out string arguments);
        if (fault is null)
            Emit(updates, new ToolCallUpdate(_next++, $"call_{Guid.NewGuid():N}", name, arguments, true, true));
        else
            Break(updates, inner + SpecialTokens.ToolCallEnd, fault);
        Leave(call[(end + SpecialTokens.ToolCallEnd.Length)..]);
        return true;
    }

    private bool ReadArguments(List<GenerationUpdate> updates)
    {
        int at = 0;
        for (; at < _call.Length; at++)
        {
            char character = _call[at];
            if (_isEscaped)
                _isEscaped = false;
            else if (_inString)
                (_isEscaped, _inString) = (character == '\\', character != '"');
            else if (character == '"')
                _inString = true;
            else if (character is '{' or '[')
                _depth++;
            else if (character is '}' or ']' && --_depth == 0)
                break;
        }

        bool isEnd = at < _call.Length;
        string piece = _call.ToString(0, isEnd ? at + 1 : at);
        _call.Remove(0, piece.Length);
        _arguments.Append(piece);
        if (piece.Length > 0)
            Emit(updates, _current! with { Arguments = piece, IsFirst = false });
        if (isEnd)
            _phase = Phase.Tail;
        return isEnd;
    }

    private bool ReadTail(List<GenerationUpdate> updates)
    {
        string tail = _call.ToString();
        int end = tail.IndexOf(SpecialTokens.ToolCallEnd, StringComparison.Ordinal);
        if (end < 0)
            return false;
        if (tail[..end].Trim() != "}")
            Break(updates, tail[..end] + SpecialTokens.ToolCallEnd, "something else than its end follows its arguments");
        else if (!ToolTurns.IsObject(_arguments.ToString()))
            Break(updates, "", "its arguments are not valid JSON");
        else
            Emit(updates, _current! with { Arguments = "", IsFirst = false, IsComplete = true });
        Leave(tail[(end + SpecialTokens.ToolCallEnd.Length)..]);
        return true;
    }

    /// <summary>Nothing more comes.</summary>
    private void End(List<GenerationUpdate> updates)
    {
        const string CutOff = "the answer ends before the call does";
        if (_phase == Phase.Text)
            // White space behind a call is the call's.
            Emit(updates, _next > 0 && string.IsNullOrWhiteSpace(_held) ? "" : _held);
        else
            Break(updates, _phase == Phase.Head ? _call.ToString() : "", CutOff);
        _held = "";
        _phase = Phase.Text;
    }

    private void Leave(string rest)
    {
        (_held, _phase) = (rest, Phase.Text);
        _call.Clear();
        _arguments.Clear();
    }

    /// <summary>What was taken for a call is none: what has not been given yet is text.</summary>
    private void Break(List<GenerationUpdate> updates, string text, string fault)
    {
        Broken++;
        string begun = _phase == Phase.Head ? _before + SpecialTokens.ToolCallStart : "";
        updates.Add(new GenerationUpdate(UpdateKind.Answer, begun + text) { BrokenToolCall = fault });
    }

    private static void Emit(List<GenerationUpdate> updates, string text)
    {
        if (text.Length > 0)
            updates.Add(new GenerationUpdate(UpdateKind.Answer, text));
    }

    private void Emit(List<GenerationUpdate> updates, ToolCallUpdate piece)
    {
        Count += piece.IsComplete ? 1 : 0;
        updates.Add(new GenerationUpdate(UpdateKind.Answer, "") { ToolCall = piece });
    }

    /// <summary>Where a call ends, outside of the strings of its JSON; negative where it does not.</summary>
    private static int EndOf(string call)
    {
        bool inString = false;
        for (int at = 0; at < call.Length; at++)
        {
            if (call[at] == '\\' && inString)
                at++;
            else if (call[at] == '"')
                inString = !inString;
            else if (!inString && call.AsSpan(at).StartsWith(SpecialTokens.ToolCallEnd))
                return at;
        }

        return -1;
    }

    /// <summary>Reads a whole call, and says what is wrong with it.</summary>
    private string? Read(string call, out string name, out string arguments)
    {
        (name, arguments) = ("", "");
        JsonElement parsed;
        try
        {
            parsed = JsonText.ParseElement(Encoding.UTF8.GetBytes(call.Trim()));
        }
        catch (JsonException)
        {
            return "it is not valid JSON";
        }

        if (parsed.ValueKind != JsonValueKind.Object || !parsed.TryGetProperty("name", out JsonElement named)
            || named.ValueKind != JsonValueKind.String)
            return "it names no tool";
        name = named.GetString()!;
        if (!names.Contains(name))
            return $"it names the tool '{(name.Length <= MostName ? name : name[..MostName] + "…")}', which is not offered";
        if (!parsed.TryGetProperty("arguments", out JsonElement given) || given.ValueKind != JsonValueKind.Object)
            return "its arguments are not a JSON object";
        arguments = given.GetRawText();
        return null;
    }

    [GeneratedRegex("""^\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*(?=\{)""", RegexOptions.CultureInvariant)]
    private static partial Regex Head();
}
