using Skylight.Training.Answers;
using Skylight.Training.Evaluation;

namespace Skylight.Training.Rewards;

/// <summary>1 if what follows the think block is the row's answer, by the one checker.</summary>
internal sealed class AnswerReward(bool needsMark, bool unfinished) : SampleReward("answer")
{
    protected override double Score(RewardRequest request)
    {
        IReadOnlyList<string> keys = AnswerKey.Of(request);
        return (request.Finished || unfinished) && AnswerKey.Accepts(request, keys, needsMark) ? 1 : 0;
    }
}

/// <summary>1 if what follows the think block names the right option.</summary>
internal sealed class ChoiceReward(bool needsMark, bool unfinished) : SampleReward("choice")
{
    protected override double Score(RewardRequest request)
    {
        IReadOnlyList<string> keys = AnswerKey.Of(request);
        // Rows whose options stand in the question alone have the letter as their answer.
        if (request.Options.Count == 0)
            keys = [.. keys.Select(key => OptionRules.LetterOf(key, 26, acceptsLowerCase: true)?.ToString()
                ?? throw new InvalidDataException(
                    $"the row has no options, and its answer '{AnswerKey.Shortened(key)}' is no letter; use the " +
                    $"reward 'answer' for open questions."))];
        if (!request.Finished && !unfinished)
            return 0;
        return keys.Any(
            key => AnswerChecker.Score(request.Turn, [key], request.Options, needsMark) is { IsCorrect: true } score
            && (!needsMark || score.Rule is AnswerRule.Boxed or AnswerRule.Stated)) ? 1 : 0;
    }
}

/// <summary>1 if what follows the think block is a number that is close to the row's answer.</summary>
internal sealed class NumericReward(double tolerance, double absoluteTolerance, bool needsMark, bool unfinished)
    : SampleReward("numeric")
{
    protected override double Score(RewardRequest request)
    {
        if (request.Answers.Count == 0)
            throw new InvalidDataException("the row has no answer to compare with; name the column that holds it.");
        AnswerNumber[] keys = [.. request.Answers.Select(answer => AnswerNumber.Read(answer)
            ?? throw new InvalidDataException(
                $"the row's answer '{AnswerKey.Shortened(answer)}' is no number; use the reward 'answer' for such rows."))];
        if (!request.Finished && !unfinished)
            return 0;
        string text = ThinkBlock.Answer(request.Turn).ToString().Trim();
        string? given = FinalAnswer.Marked(text) ?? FinalAnswer.Stated(text) ?? (needsMark ? null : text);
        return given is not null && AnswerNumber.Read(given) is { } number
            && keys.Any(key => number.IsCloseTo(key, tolerance, absoluteTolerance)) ? 1 : 0;
    }
}

/// <summary>1 if the turn is one think block, then an answer, then its end.</summary>
internal sealed class FormatReward() : SampleReward("format")
{
    protected override double Score(RewardRequest request) =>
        ThinkFormatReward.IsWellFormed(request.PromptSuffix, request.Completion, request.Finished) ? 1 : 0;
}
