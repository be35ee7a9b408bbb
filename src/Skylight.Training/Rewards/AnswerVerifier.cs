using Skylight.Training.Answers;

namespace Skylight.Training.Rewards;

/// <summary>
/// The rule verifier: what follows the think block must mark the expected answer (its last <c>\boxed{…}</c>, else
/// answer tags, else "the answer is …"), as
/// <see cref="AnswerChecker"/> compares it. Evaluations use the same checker.
/// </summary>
public sealed class AnswerVerifier : IVerifier
{
    /// <inheritdoc/>
    public bool Verify(string completion, string expectedAnswer)
    {
        ArgumentNullException.ThrowIfNull(expectedAnswer);
        return AnswerChecker.Score(completion, [expectedAnswer], [], needsMark: true).IsCorrect;
    }
}
