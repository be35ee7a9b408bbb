using System.Collections.ObjectModel;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Training.Data;

/// <summary>A row of a data set, as methods, rewards and evaluations use it.</summary>
/// <param name="Id">The row's own <c>id</c>, or its file and place: <c>train.jsonl:7</c>.</param>
/// <param name="Messages">
/// The conversation with its pictures. It ends with the user's turn, or with the assistant's where the row has an
/// answer to learn from.
/// </param>
public sealed record TrainingExample(string Id, IReadOnlyList<Message> Messages)
{
    /// <summary>The file; empty for an example that came from none.</summary>
    public string File { get; init; } = "";

    /// <summary>Its line (JSONL) or row (Parquet) there, from 1; 0 for none.</summary>
    public long Row { get; init; }

    /// <summary>What <see cref="Row"/> counts: "line" or "row".</summary>
    public string Unit { get; init; } = "row";

    /// <summary>
    /// The question, with <c>&lt;image k&gt;</c> where pictures stand; null where the row is a conversation.
    /// </summary>
    public string? Question { get; init; }

    /// <summary>What is said before the question; null for nothing.</summary>
    public string? Hint { get; init; }

    /// <summary>The texts to choose from, A first; empty for an open question.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>The pictures in the order in which they are shown; those of <see cref="Messages"/>.</summary>
    public IReadOnlyList<ExampleImage> Images { get; init; } = [];

    /// <summary>
    /// What is right: of a question with options the letter of one, else every text that is accepted; of a worked
    /// solution what stands in its last box or between its answer tags. Empty where the row has none.
    /// </summary>
    public IReadOnlyList<string> Answers { get; init; } = [];

    /// <summary>What reports group by; null for nothing.</summary>
    public string? Category { get; init; }

    /// <summary>How hard it is, in the data set's own measure; null where it says nothing.</summary>
    public double? Difficulty { get; init; }

    /// <summary>The better answer of a pair; null where the row is none.</summary>
    public string? Chosen { get; init; }

    /// <summary>The worse answer of a pair; null where the row is none.</summary>
    public string? Rejected { get; init; }

    /// <summary>
    /// Every other column as a text, by its name: lists and structs as JSON. What is null, bytes or of a type that
    /// cannot be read is left out.
    /// </summary>
    public IReadOnlyDictionary<string, string> Columns { get; init; } = ReadOnlyDictionary<string, string>.Empty;

    /// <summary>
    /// The conversation up to and with the last turn of the user: what is put to a model that writes the answer itself.
    /// </summary>
    public IReadOnlyList<Message> Prompt
    {
        get
        {
            int end = Messages.Count;
            while (end > 0 && Messages[end - 1].Role == ChatRole.Assistant)
                end--;
            return end == Messages.Count ? Messages : [.. Messages.Take(end)];
        }
    }
}
