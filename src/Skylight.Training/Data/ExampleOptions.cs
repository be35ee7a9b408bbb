namespace Skylight.Training.Data;

/// <summary>What a method needs of a row; a row without it is a bad one.</summary>
[Flags]
public enum ExampleNeeds
{
    /// <summary>A prompt alone.</summary>
    None = 0,

    /// <summary>What is right: <see cref="TrainingExample.Answers"/>.</summary>
    Answer = 1,

    /// <summary>
    /// A turn of the assistant to learn from. A row with a question takes it from <c>response</c>, and without that the
    /// answer as it is written.
    /// </summary>
    Response = 2,

    /// <summary>
    /// A better and a worse answer: <see cref="TrainingExample.Chosen"/> and <see cref="TrainingExample.Rejected"/>.
    /// </summary>
    Preference = 4,
}

/// <summary>How the rows of a data set are read.</summary>
public sealed record ExampleOptions
{
    /// <summary>Which column is which part; what is not said is found.</summary>
    public ColumnMap Columns { get; init; } = ColumnMap.Detected;

    /// <summary>What paths of pictures are relative to; null for the folder of the file that names them.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>What every row must have.</summary>
    public ExampleNeeds Needs { get; init; }
}
