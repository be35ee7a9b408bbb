using Skylight.Chat;
using Skylight.Training.Data;

namespace Skylight.Training.Evaluation;

/// <summary>A question of an evaluation.</summary>
/// <param name="Id">What it is called; no two items of a data set share it.</param>
/// <param name="Question">The question. <c>&lt;image 1&gt;</c>, <c>&lt;image 2&gt;</c>, … say where pictures stand;
/// without them all stand before the text.</param>
/// <param name="Answers">What is right: of a question with options the letter of one; else every text that is
/// accepted.</param>
public sealed record EvaluationItem(string Id, string Question, IReadOnlyList<string> Answers)
{
    /// <summary>
    /// The texts to choose from, A first; empty for an open question. They may hold <c>&lt;image k&gt;</c> too.
    /// </summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>The pictures: <c>&lt;image 1&gt;</c> is the first.</summary>
    public IReadOnlyList<ExampleImage> Images { get; init; } = [];

    /// <summary>
    /// A conversation, with its pictures, that is put to the model as it is, in place of the question; null to put the
    /// question.
    /// </summary>
    public IReadOnlyList<Message>? Conversation { get; init; }

    /// <summary>What the program says before the question; null for nothing.</summary>
    public string? SystemPrompt { get; init; }

    /// <summary>What is said before the question; null for nothing.</summary>
    public string? Hint { get; init; }

    /// <summary>What the report groups by; null for nothing.</summary>
    public string? Category { get; init; }

    /// <summary>Whether there are options to choose from.</summary>
    public bool IsMultipleChoice => Options.Count > 0;

    /// <summary>The letter of an option: A is the first.</summary>
    /// <param name="option">Its place, from 0 to 25.</param>
    public static char Letter(int option) => option is >= 0 and < 26 ? (char)('A' + option)
        : throw new ArgumentOutOfRangeException(nameof(option), option, "Options have the letters A to Z.");
}
