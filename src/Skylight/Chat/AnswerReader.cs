using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// Tells thinking from answer in text that comes in pieces, and ends the answer at a stop text. What could be the beginning of a mark is held back
/// until it is decided.
/// </summary>
/// <remarks>
/// The tags of think blocks are no part of the text, those included that nobody asked for: one that opens a block which is open already, and one that closes
/// a block where none was. An answer may speak of the tags: an opening one is text where the answer has begun, and then so is the one that closes it, and
/// after a think block both are.
/// </remarks>
internal sealed class AnswerReader(bool isThinking, IReadOnlyList<string> stopTexts)
{
    private static readonly string[] s_thinkingMarks = [SpecialTokens.ThinkEnd, SpecialTokens.ThinkStart];

    private readonly string[] _answerMarks = [.. stopTexts, SpecialTokens.ThinkEnd, SpecialTokens.ThinkStart];
    private string _held = "";
    // Nothing but white space and tags has come since the beginning, or since the think block.
    private bool _isAtStart = true;
    private bool _skipsLineBreaks;
    private bool _hasThought = isThinking;
    // Opening tags of which the answer speaks.
    private int _mentioned;

    /// <summary>Where the text is now.</summary>
    public UpdateKind Kind { get; private set; } = isThinking ? UpdateKind.Thinking : UpdateKind.Answer;

    /// <summary>Whether a stop text was found: nothing that comes after it counts.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Takes a piece of text and gives what is decided.</summary>
    /// <param name="text">The piece.</param>
    /// <param name="isEnd">Whether it is the last one: nothing is held back then.</param>
    public List<(UpdateKind Kind, string Text)> Append(string text, bool isEnd = false)
    {
        var pieces = new List<(UpdateKind, string)>();
        _held += text;
        while (!IsStopped && Advance(pieces, isEnd))
        {
        }

        return pieces;
    }

    /// <summary>One decision; false if there is nothing more to decide.</summary>
    private bool Advance(List<(UpdateKind, string)> pieces, bool isEnd)
    {
        if (_skipsLineBreaks)
        {
            _held = _held.TrimStart('\n');
            if (_held.Length == 0)
                return false;
            _skipsLineBreaks = false;
        }

        if (_isAtStart)
        {
            string trimmed = _held.TrimStart();
            bool opens = trimmed.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal);
            bool closes = Kind == UpdateKind.Answer && trimmed.StartsWith(SpecialTokens.ThinkEnd, StringComparison.Ordinal) && !stopTexts.Contains(SpecialTokens.ThinkEnd);
            if (opens || closes)
            {
                if (opens)
                    (Kind, _hasThought) = (UpdateKind.Thinking, true);
                _held = trimmed[(opens ? SpecialTokens.ThinkStart : SpecialTokens.ThinkEnd).Length..];
                _skipsLineBreaks = true;
                return true;
            }

            if (!isEnd && s_thinkingMarks.Any(tag => trimmed.Length < tag.Length && tag.StartsWith(trimmed, StringComparison.Ordinal)))
                return false;
            _isAtStart = false;
        }

        string[] marks = Kind == UpdateKind.Thinking ? s_thinkingMarks : _answerMarks;
        (int at, string mark) = (-1, "");
        foreach (string candidate in marks)
        {
            int found = _held.IndexOf(candidate, StringComparison.Ordinal);
            if (found >= 0 && (at < 0 || found < at))
                (at, mark) = (found, candidate);
        }

        if (at >= 0)
        {
            Pass(pieces, at, mark);
            return true;
        }

        int decided = isEnd ? _held.Length : _held.Length - Undecided(marks);
        Emit(pieces, _held[..decided]);
        _held = _held[decided..];
        return false;
    }

    /// <summary>Gives the text before a mark, and does what the mark says.</summary>
    private void Pass(List<(UpdateKind, string)> pieces, int at, string mark)
    {
        string before = _held[..at];
        _held = _held[(at + mark.Length)..];
        if (Kind == UpdateKind.Thinking && mark == SpecialTokens.ThinkEnd)
        {
            Emit(pieces, before.TrimEnd('\n'));
            (Kind, _isAtStart, _skipsLineBreaks) = (UpdateKind.Answer, true, true);
        }
        else if (Kind == UpdateKind.Thinking)
        {
            Emit(pieces, before);
        }
        else if (stopTexts.Contains(mark))
        {
            Emit(pieces, before);
            IsStopped = true;
        }
        else
        {
            bool opens = mark == SpecialTokens.ThinkStart, isText = opens || _hasThought || _mentioned > 0;
            Emit(pieces, isText ? before + mark : before);
            _mentioned = Math.Max(0, _mentioned + (opens ? 1 : -1));
        }
    }

    /// <summary>The length of the longest end of the text that could begin a mark; the line breaks before the end of a think block belong to it.</summary>
    private int Undecided(string[] marks)
    {
        int most = 0;
        foreach (string mark in marks)
        {
            for (int length = Math.Min(mark.Length - 1, _held.Length); length > most; length--)
            {
                if (_held.AsSpan(_held.Length - length).SequenceEqual(mark.AsSpan(0, length)))
                    most = length;
            }
        }

        while (Kind == UpdateKind.Thinking && most < _held.Length && _held[_held.Length - most - 1] == '\n')
            most++;
        return most;
    }

    private void Emit(List<(UpdateKind, string)> pieces, string text)
    {
        if (text.Length > 0)
            pieces.Add((Kind, text));
    }
}
