using System.Text.RegularExpressions;
using Skylight.Training.Answers;

namespace Skylight.Training.Rewards;

/// <summary>The part of a turn that an expression is held against.</summary>
internal enum RegexScope
{
    Turn,
    Completion,
    Answer,
}

/// <summary>1 if an expression matches; with a group, if what it captured is the row's answer.</summary>
internal sealed class RegexReward : SampleReward
{
    private readonly Regex _expression;
    private readonly string? _group;
    private readonly RegexScope _scope;
    private readonly bool _unfinished;

    /// <exception cref="ArgumentException">The expression is none, or has no such group.</exception>
    public RegexReward(string pattern, string? group, RegexScope scope, bool ignoreCase, bool unfinished, TimeSpan timeout)
        : base("regex")
    {
        (_group, _scope, _unfinished) = (group, scope, unfinished);
        RegexOptions options = RegexOptions.CultureInvariant | (ignoreCase ? RegexOptions.IgnoreCase : RegexOptions.None);
        try
        {
            // In time that grows with the text, whatever a model writes.
            _expression = new Regex(pattern, options | RegexOptions.NonBacktracking, timeout);
        }
        catch (NotSupportedException)
        {
            // Lookarounds and back references need the other engine; the time limit is its only bound.
            _expression = new Regex(pattern, options, timeout);
        }
        catch (RegexParseException exception)
        {
            throw new ArgumentException($"is no regular expression: {exception.Message}", exception);
        }

        if (group is not null && !_expression.GetGroupNames().Contains(group))
            throw new ArgumentException(
                $"has no group '{group}' but {string.Join(", ", _expression.GetGroupNames().Select(name => $"'{name}'"))}.");
    }

    protected override double Score(RewardRequest request)
    {
        if (_group is not null && request.Answers.Count == 0)
            throw new InvalidDataException(
                "the row has no answer to compare the group with; name the column that holds it.");
        if (!request.Finished && !_unfinished)
            return 0;
        string text = _scope switch
        {
            RegexScope.Turn => request.Turn,
            RegexScope.Completion => request.Completion,
            _ => ThinkBlock.Answer(request.Turn).ToString(),
        };
        try
        {
            if (_group is null)
                return _expression.IsMatch(text) ? 1 : 0;
            Match match = _expression.Match(text);
            return match.Success && match.Groups[_group] is { Success: true, Value: var found }
                && request.Answers.Any(answer => AnswerChecker.AreEqual(found, answer)) ? 1 : 0;
        }
        catch (RegexMatchTimeoutException exception)
        {
            string took =
                $"the expression was not done with its {text.Length:N0} characters after " +
                $"{exception.MatchTimeout.TotalSeconds:0.###} s";
            throw new InvalidDataException($"{took}; one without lookarounds and back references cannot take so long.",
                exception);
        }
    }
}
