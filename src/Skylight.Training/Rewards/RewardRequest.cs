namespace Skylight.Training.Rewards;

/// <summary>A completion to be judged, with what its row of the data says.</summary>
public sealed record RewardRequest
{
    /// <summary>Where the row is from: <c>file:row</c>. Errors name it; the completions of one prompt share it.</summary>
    public required string Id { get; init; }

    /// <summary>The question as text, without the system prompt.</summary>
    public string Question { get; init; } = "";

    /// <summary>The texts that are accepted as answers; empty if the row has none.</summary>
    public IReadOnlyList<string> Answers { get; init; } = [];

    /// <summary>
    /// What there is to choose from, A first; empty for an open question. The answer is then a letter, or the text of
    /// an option.
    /// </summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>All other columns of the row, as text.</summary>
    public IReadOnlyDictionary<string, string> Columns { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// The part of the assistant's turn that the prompt already holds, such as <c>&lt;think&gt;\n</c>; not the
    /// question, whose own words could be taken for an answer.
    /// </summary>
    public string PromptSuffix { get; init; } = "";

    /// <summary>What the model wrote, without the end token.</summary>
    public required string Completion { get; init; }

    /// <summary>Whether the model ended it; false if the length limit cut it off.</summary>
    public bool Finished { get; init; }

    /// <summary>The completion's length in tokens, its end token included.</summary>
    public int TokenCount { get; init; }

    /// <summary>The most tokens that it could have; 0 if there is no such limit.</summary>
    public int MaximumTokens { get; init; }

    /// <summary>The whole turn of the assistant: what the prompt holds of it, and the completion.</summary>
    public string Turn => PromptSuffix + Completion;
}
