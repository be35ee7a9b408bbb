using System.Runtime.InteropServices;

namespace Skylight.Generation;

/// <summary>
/// Guesses the next tokens of a completion without a model: those that followed the last few tokens where these stood
/// before, in the prompt or in what was written (prompt look-up, Saxena, 2023; n-gram speculation). Whether a guess is worth
/// a row of a pass is learnt from how earlier ones went: guesses grow while they come true, and pause where they do not.
/// </summary>
internal sealed class PromptLookup
{
    /// <summary>In place of a token that stands for a picture: no guess begins or goes on there.</summary>
    public const int Gap = -1;

    // The more tokens agree, the likelier what followed follows again; a single one agrees too often by chance.
    private const int LongestMatch = 5, ShortestMatch = 2;

    private const int FirstLength = 4, MostMisses = 5;

    private readonly List<int> _history;
    private readonly int _most;
    private int _length, _misses, _pause;

    /// <summary>Begins with the prompt.</summary>
    /// <param name="prompt">Its tokens, <see cref="Gap"/> where one stands for a picture.</param>
    /// <param name="most">The most tokens of a guess.</param>
    public PromptLookup(IEnumerable<int> prompt, int most)
    {
        _history = [.. prompt];
        _most = most;
        _length = Math.Min(FirstLength, most);
    }

    /// <summary>Takes a token that was written.</summary>
    public void Append(int token)
    {
        _history.Add(token);
        if (_pause > 0)
            _pause--;
    }

    /// <summary>Guesses.</summary>
    /// <param name="most">The most tokens.</param>
    /// <param name="guess">Takes them; empty before, and where nothing fits.</param>
    public void Guess(int most, List<int> guess)
    {
        int count = Math.Min(most, _length);
        if (count <= 0 || _pause > 0)
            return;
        ReadOnlySpan<int> history = CollectionsMarshal.AsSpan(_history);
        for (int match = Math.Min(LongestMatch, history.Length - 1); match >= ShortestMatch; match--)
        {
            ReadOnlySpan<int> last = history[^match..];
            if (last.Contains(Gap))
                continue;
            // The latest place: what was written last is the likeliest to come again. It may overlap the end.
            int place = history[..^1].LastIndexOf(last);
            if (place < 0)
                continue;
            int next = place + match, known = history.Length - next;
            // Where the end of what is known is reached, it repeats itself: a list of equal rows, say.
            for (int index = 0; index < count; index++)
            {
                int token = index < known ? history[next + index] : guess[index - known];
                if (token == Gap)
                    break;
                guess.Add(token);
            }

            return;
        }
    }

    /// <summary>Learns how a guess went.</summary>
    /// <param name="guessed">Its tokens; 0 where there was none.</param>
    /// <param name="accepted">How many of them came true.</param>
    public void Learn(int guessed, int accepted)
    {
        if (guessed == 0)
            return;
        if (accepted == 0)
        {
            _misses = Math.Min(_misses + 1, MostMisses);
            // Counted in tokens: 1, 3, 7, 15, 31.
            _pause = (1 << _misses) - 1;
            _length = Math.Max(1, _length / 2);
            return;
        }

        _misses = 0;
        _length = Math.Min(_most, accepted == guessed ? 2 * Math.Max(_length, guessed) : accepted + 1);
    }
}
