namespace Skylight.Training.Rewards;

/// <summary>A model that judges whether a response gives the known answer.</summary>
public interface IVerifierModel
{
    /// <summary>Judges a response; called by several at once.</summary>
    /// <param name="question">The question as text, with its options.</param>
    /// <param name="answers">The accepted answers.</param>
    /// <param name="response">What follows the think block.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="VerifierException">It cannot be asked.</exception>
    ValueTask<VerifierVerdict> JudgeAsync(string question, IReadOnlyList<string> answers, string response,
        CancellationToken cancellationToken);
}

/// <summary>What a verifier model said.</summary>
/// <param name="IsCorrect">Its verdict; null if it said neither yes nor no.</param>
/// <param name="Text">What it said, for errors.</param>
/// <param name="Requests">How often it was asked, retries included.</param>
/// <param name="PromptTokens">Tokens that it read; 0 if it does not say.</param>
/// <param name="CompletionTokens">Tokens that it wrote; 0 if it does not say.</param>
public sealed record VerifierVerdict(bool? IsCorrect, string Text, int Requests = 1, long PromptTokens = 0,
    long CompletionTokens = 0);

/// <summary>A verifier model could not be asked. Messages hold no key.</summary>
/// <param name="message">Why, and what to do.</param>
/// <param name="requests">How often it was tried.</param>
/// <param name="inner">The cause.</param>
public sealed class VerifierException(string message, int requests = 1, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>How often it was tried.</summary>
    public int Requests { get; } = requests;
}

/// <summary>What a verifier has done so far.</summary>
/// <param name="ByRule">Completions that the rule accepted, for which no model was asked.</param>
/// <param name="Cached">Completions whose verdict was known already.</param>
/// <param name="Judged">Completions that the model gave a verdict for.</param>
/// <param name="Faults">Completions that it gave none for: it could not be asked, or said neither yes nor no.</param>
/// <param name="Requests">Requests to the model, retries included.</param>
/// <param name="PromptTokens">Tokens that the model read, as far as it says so.</param>
/// <param name="CompletionTokens">Tokens that the model wrote, as far as it says so.</param>
public sealed record VerifierUsage(long ByRule, long Cached, long Judged, long Faults, long Requests, long PromptTokens,
    long CompletionTokens)
{
    /// <summary>What the tokens cost.</summary>
    /// <param name="promptPrice">The price of a million tokens read.</param>
    /// <param name="completionPrice">The price of a million tokens written.</param>
    public double Cost(double promptPrice, double completionPrice) =>
        (PromptTokens * promptPrice + CompletionTokens * completionPrice) / 1e6;

    /// <summary>The counts under the names that metrics use.</summary>
    internal IReadOnlyList<(string Name, double Value)> Figures =>
    [
        ("verifier/by_rule", ByRule), ("verifier/cached", Cached), ("verifier/judged", Judged),
        ("verifier/faults", Faults), ("verifier/requests", Requests),
        ("verifier/prompt_tokens", PromptTokens), ("verifier/completion_tokens", CompletionTokens),
    ];

    /// <summary>What was done since an earlier moment.</summary>
    internal VerifierUsage Since(VerifierUsage? before) => before is null ? this : this + new VerifierUsage(
        -before.ByRule, -before.Cached, -before.Judged, -before.Faults, -before.Requests, -before.PromptTokens,
        -before.CompletionTokens);

    /// <summary>Adds what two verifiers have done.</summary>
    public static VerifierUsage operator +(VerifierUsage left, VerifierUsage right)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        return new VerifierUsage(
            left.ByRule + right.ByRule, left.Cached + right.Cached, left.Judged + right.Judged, left.Faults + right.Faults,
            left.Requests + right.Requests, left.PromptTokens + right.PromptTokens,
            left.CompletionTokens + right.CompletionTokens);
    }
}
