using System.Text;
using Skylight.Chat;
using Skylight.Text;
using Skylight.Training.Data;

namespace Skylight.Training.Evaluation;

/// <summary>How a question is put.</summary>
public enum PromptStyle
{
    /// <summary>
    /// As VLMEvalKit asks MMMU: the question, its options, and a request to choose. What Skywork-R1V3 was evaluated
    /// with.
    /// </summary>
    Direct,

    /// <summary>
    /// With a request to think step by step and to end with <c>Answer: \boxed{…}</c>, after InternVL's evaluation.
    /// </summary>
    StepByStep,
}

/// <summary>
/// Writes questions as VLMEvalKit writes those of MMMU, with the pictures where <c>&lt;image k&gt;</c> stands.
/// </summary>
public static class MmmuPrompt
{
    private const string Choose = "Please select the correct answer from the options above. \n";
    private const string ThinkAndChoose =
        @"Answer the preceding multiple choice question. The last line of your response should follow this format: 'Answer: \boxed{$LETTER}' (without quotes), where LETTER is one of the options. Think step by step before answering.";
    private const string ThinkAndAnswer =
        @"Answer the preceding question. The last line of your response should follow this format: 'Answer: \boxed{$FINAL_ANSWER}' (without quotes), where FINAL_ANSWER is your conclusion. Think step by step before answering.";

    /// <summary>The text, with <c>&lt;image k&gt;</c> where pictures go.</summary>
    public static string Text(EvaluationItem item, PromptStyle style = PromptStyle.Direct)
    {
        ArgumentNullException.ThrowIfNull(item);
        var text = new StringBuilder();
        if (item.Hint is not null)
            text.Append("Hint: ").Append(item.Hint).Append('\n');
        text.Append("Question: ").Append(item.Question).Append('\n');
        if (item.IsMultipleChoice)
            text.Append("Options:\n");
        for (int option = 0; option < item.Options.Count; option++)
            text.Append(EvaluationItem.Letter(option)).Append(". ").Append(item.Options[option]).Append('\n');
        return (style, item.IsMultipleChoice) switch
        {
            (PromptStyle.Direct, true) => text.Append(Choose).ToString(),
            (PromptStyle.Direct, false) => text.ToString(),
            (_, true) => text.Append(ThinkAndChoose).ToString(),
            (_, false) => text.Append(ThinkAndAnswer).ToString(),
        };
    }

    /// <summary>The user's message: text and pictures in the order in which they stand.</summary>
    /// <exception cref="InvalidDataException">Places and pictures do not match.</exception>
    public static Message Write(EvaluationItem item, PromptStyle style = PromptStyle.Direct)
    {
        string text = Text(item, style);
        CheckImages(item);
        List<MessagePart> parts = ImagePlaces.Split(text, item.Images);
        if (!parts.OfType<ImagePart>().Any())
            parts.InsertRange(0, item.Images.Select(image => image.ToPart()));
        return new Message(ChatRole.User, parts);
    }

    /// <summary>Sees that every place has a picture, and that every picture has a place if any has.</summary>
    /// <exception cref="InvalidDataException">Not so; says which.</exception>
    internal static void CheckImages(EvaluationItem item) => ImagePlaces.CheckNumbered([Text(item)], item.Images);
}
