using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// Tells thinking from answer in text that comes in pieces, and ends the answer at a stop text. What could be the
/// beginning of a mark is held back until it is decided.
/// </summary>
/// <remarks>
/// The tags of think blocks are no part of the text, wherever they stand and whether or not anybody asked for them:
/// what is between them is thinking, all else the answer. A tag that opens a block which is open, or closes one where
/// none is, is left out.
/// <para>
/// An answer that is held to a form has one think block at most, which its form says how to leave; in what comes behind
/// it tags are text like any other, as in a string of JSON.
/// </para>
/// </remarks>
/// <param name="isThinking">Whether the text begins in a think block.</param>
/// <param name="stopTexts">The texts before which the answer ends.</param>
/// <param name="hasForm">Whether the answer is held to a form.</param>
/// <param name="isPlain">Whether no tag means anything: a text that goes on, not an answer.</param>
internal sealed class AnswerReader(bool isThinking, IReadOnlyList<string> stopTexts, bool hasForm = false,
    bool isPlain = false)
{
    private static readonly string[] s_tags = [SpecialTokens.ThinkEnd, SpecialTokens.ThinkStart];

    private string _held = "";
    // So much of what is held is from tokens that no stop text may end in.
    private int _unstoppable;
    // Nothing but white space and tags has come since the beginning, or since a think block began or ended.
    private bool _isAtStart = true;
    private bool _skipsLineBreaks;
    // What comes has the form that was asked for, in which no tag means anything.
    private bool _isForm = isPlain;

    /// <summary>Where the text is now.</summary>
    public UpdateKind Kind { get; private set; } = isThinking ? UpdateKind.Thinking : UpdateKind.Answer;

    /// <summary>Whether a stop text was found: nothing that comes after it counts.</summary>
    public bool IsStopped { get; private set; }

    private string[] Tags => _isForm ? [] : s_tags;

    private IEnumerable<string> StopSequences => Kind == UpdateKind.Thinking ? [] : stopTexts;

    /// <summary>Takes a piece of text and gives what is decided.</summary>
    /// <param name="text">The piece.</param>
    /// <param name="isEnd">Whether it is the last one: nothing is held back then.</param>
    /// <param name="mayStop">Whether a stop text may end in this piece; one may begin in a piece where none may end.</param>
    public List<(UpdateKind Kind, string Text)> Append(string text, bool isEnd = false, bool mayStop = true)
    {
        var pieces = new List<(UpdateKind, string)>();
        _held += text;
        if (!mayStop)
            _unstoppable = _held.Length;
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
            Take(_held.Length - _held.TrimStart('\n').Length);
            if (_held.Length == 0)
                return false;
            _skipsLineBreaks = false;
        }

        if (_isAtStart && !_isForm)
        {
            int blank = _held.Length - _held.TrimStart().Length;
            string? tag = s_tags.FirstOrDefault(tag => _held.AsSpan(blank).StartsWith(tag));
            bool isStop = tag is not null && StopSequences.Contains(tag) && blank + tag.Length > _unstoppable;
            if (tag is not null && !isStop
                && (tag == SpecialTokens.ThinkStart || (Kind == UpdateKind.Answer && !hasForm)))
            {
                Take(blank + tag.Length);
                Kind = tag == SpecialTokens.ThinkStart ? UpdateKind.Thinking : UpdateKind.Answer;
                _skipsLineBreaks = true;
                return true;
            }

            if (!isEnd && s_tags.Any(tag => _held.Length - blank < tag.Length
                && tag.AsSpan().StartsWith(_held.AsSpan(blank))))
                return false;
            _isAtStart = false;
            _isForm = hasForm && Kind == UpdateKind.Answer;
        }

        (int at, int length, bool isTag) = FirstMark();
        if (at >= 0)
        {
            Pass(pieces, at, length, isTag);
            return true;
        }

        Emit(pieces, Take(isEnd ? _held.Length : _held.Length - Undecided()));
        return false;
    }

    private (int At, int Length, bool IsTag) FirstMark()
    {
        (int At, int Length, bool IsTag) first = (-1, 0, false);
        // Of a tag that is a stop text as well the stop text counts.
        foreach (string stop in StopSequences)
            Look(stop, Math.Max(0, _unstoppable - stop.Length + 1), isTag: false);
        foreach (string tag in Tags)
            Look(tag, 0, isTag: true);
        return first;

        void Look(string mark, int start, bool isTag)
        {
            int found = start < _held.Length ? _held.IndexOf(mark, start, StringComparison.Ordinal) : -1;
            if (found >= 0 && (first.At < 0 || found < first.At))
                first = (found, mark.Length, isTag);
        }
    }

    /// <summary>Gives the text before a mark, and does what the mark says.</summary>
    private void Pass(List<(UpdateKind, string)> pieces, int at, int length, bool isTag)
    {
        UpdateKind next = !isTag ? Kind : _held[at + 1] == '/' ? UpdateKind.Answer : UpdateKind.Thinking;
        if (isTag && next == Kind)
        {
            // Left out before what stands before it is decided: that and what comes may make a mark together.
            _held = _held.Remove(at, length);
            _unstoppable = Math.Max(Math.Min(_unstoppable, at), _unstoppable - length);
            return;
        }

        string before = Take(at);
        Emit(pieces, Kind == UpdateKind.Thinking ? before.TrimEnd('\n') : before);
        Take(length);
        (IsStopped, Kind) = (!isTag, next);
        _isForm = hasForm && Kind == UpdateKind.Answer;
        _isAtStart = _skipsLineBreaks = isTag;
    }

    /// <summary>
    /// The length of the end of the text that is not decided: what could begin a mark, and before it what could begin
    /// one once that is left out; the line breaks before the end of a think block belong to it.
    /// </summary>
    private int Undecided()
    {
        int undecided = 0;
        while (Beginning(_held.AsSpan(0, _held.Length - undecided)) is var length and > 0)
            undecided += length;
        while (Kind == UpdateKind.Thinking && undecided < _held.Length && _held[_held.Length - undecided - 1] == '\n')
            undecided++;
        return undecided;
    }

    /// <summary>The length of the longest end of a text that could begin a mark.</summary>
    private int Beginning(ReadOnlySpan<char> text)
    {
        int most = 0;
        foreach (string mark in StopSequences.Concat(Tags))
        {
            for (int length = Math.Min(mark.Length - 1, text.Length); length > most; length--)
            {
                if (text[^length..].SequenceEqual(mark.AsSpan(0, length)))
                    most = length;
            }
        }

        return most;
    }

    private string Take(int count)
    {
        string taken = _held[..count];
        _held = _held[count..];
        _unstoppable = Math.Max(0, _unstoppable - count);
        return taken;
    }

    private void Emit(List<(UpdateKind, string)> pieces, string text)
    {
        if (text.Length > 0)
            pieces.Add((Kind, text));
    }
}
