using Skylight.Constraints;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// The forms that answers were held to lately, with what is known of them: requests that ask for the same one share it.
/// </summary>
internal sealed class ConstraintCache(ITokenizer tokenizer)
{
    private const int Most = 16;

    private readonly Lock _gate = new();
    private readonly Lazy<ConstraintVocabulary> _vocabulary = new(() => new ConstraintVocabulary(tokenizer));
    private readonly LinkedList<(string Key, TokenConstraint Constraint)> _leastRecentFirst = [];
    private readonly Dictionary<string, LinkedListNode<(string Key, TokenConstraint Constraint)>> _byKey = [];

    /// <summary>The form with the vocabulary.</summary>
    /// <param name="constraint">The form.</param>
    /// <param name="thinkBlock">Whether a think block that is open stands before it, or one that is not; null for
    /// none.</param>
    /// <exception cref="ConstraintException">The form is too large, or no token begins it.</exception>
    public TokenConstraint Get(Constraint constraint, bool? thinkBlock)
    {
        string key = $"{thinkBlock}\n{constraint.Key}";
        lock (_gate)
        {
            if (_byKey.TryGetValue(key, out LinkedListNode<(string Key, TokenConstraint Constraint)>? known))
            {
                _leastRecentFirst.Remove(known);
                _leastRecentFirst.AddLast(known);
                return known.Value.Constraint;
            }
        }

        // Not under the lock: others do not wait. What two make at once, one of them throws away.
        var made = new TokenConstraint(thinkBlock is { } isOpen ? constraint.AfterThinking(isOpen) : constraint,
            _vocabulary.Value);
        // The first mask is found here rather than on the engine's thread.
        _ = new ConstraintRun(made);
        lock (_gate)
        {
            if (_byKey.TryGetValue(key, out LinkedListNode<(string Key, TokenConstraint Constraint)>? known))
                return known.Value.Constraint;
            if (_byKey.Count >= Most && _leastRecentFirst.First is { } oldest)
            {
                _byKey.Remove(oldest.Value.Key);
                _leastRecentFirst.Remove(oldest);
            }

            _byKey.Add(key, _leastRecentFirst.AddLast((key, made)));
            return made;
        }
    }
}
