using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// Tells thinking from answer in text that comes in pieces, and ends the answer at a stop text. What could be the beginning of a mark is held back
/// until it is decided.
/// </summary>
internal sealed class AnswerReader(bool isThinking, IReadOnlyList<string> stopTexts)
{
    private string _held = "";
    private bool _isAtStart = !isThinking;
    private bool _skipsLineBreaks;

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
            if (!isEnd && trimmed.Length < SpecialTokens.ThinkStart.Length && SpecialTokens.ThinkStart.StartsWith(trimmed, StringComparison.Ordinal))
                return false;
            _isAtStart = false;
            if (trimmed.StartsWith(SpecialTokens.ThinkStart, StringComparison.Ordinal))
            {
                (Kind, _skipsLineBreaks) = (UpdateKind.Thinking, true);
                _held = trimmed[SpecialTokens.ThinkStart.Length..];
                return true;
            }
        }

        IReadOnlyList<string> marks = Kind == UpdateKind.Thinking ? [SpecialTokens.ThinkEnd] : stopTexts;
        (int at, int length) = (-1, 0);
        foreach (string mark in marks)
        {
            int found = _held.IndexOf(mark, StringComparison.Ordinal);
            if (found >= 0 && (at < 0 || found < at))
                (at, length) = (found, mark.Length);
        }

        if (at >= 0)
        {
            string before = _held[..at];
            _held = _held[(at + length)..];
            if (Kind == UpdateKind.Thinking)
            {
                Emit(pieces, before.TrimEnd('\n'));
                (Kind, _skipsLineBreaks) = (UpdateKind.Answer, true);
            }
            else
            {
                Emit(pieces, before);
                IsStopped = true;
            }

            return true;
        }

        int decided = isEnd ? _held.Length : _held.Length - Undecided(marks);
        Emit(pieces, _held[..decided]);
        _held = _held[decided..];
        return false;
    }

    /// <summary>The length of the longest end of the text that could begin a mark; the line breaks before the end of a think block belong to it.</summary>
    private int Undecided(IReadOnlyList<string> marks)
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
