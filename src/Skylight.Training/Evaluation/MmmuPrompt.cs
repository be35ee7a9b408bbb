using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Training.Evaluation;

/// <summary>How a question is put.</summary>
public enum PromptStyle
{
    /// <summary>As VLMEvalKit asks MMMU: the question, its options, and a request to choose. What Skywork-R1V3 was evaluated with.</summary>
    Direct,

    /// <summary>With a request to think step by step and to end with <c>Answer: \boxed{…}</c>, after InternVL's evaluation.</summary>
    StepByStep,
}

/// <summary>Writes questions as VLMEvalKit writes those of MMMU, with the pictures where <c>&lt;image k&gt;</c> stands.</summary>
public static partial class MmmuPrompt
{
    private const string Choose = "Please select the correct answer from the options above. \n";
    private const string ThinkAndChoose = @"Answer the preceding multiple choice question. The last line of your response should follow this format: 'Answer: \boxed{$LETTER}' (without quotes), where LETTER is one of the options. Think step by step before answering.";
    private const string ThinkAndAnswer = @"Answer the preceding question. The last line of your response should follow this format: 'Answer: \boxed{$FINAL_ANSWER}' (without quotes), where FINAL_ANSWER is your conclusion. Think step by step before answering.";

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
        var parts = new List<MessagePart>();
        MatchCollection places = Place().Matches(text);
        if (places.Count == 0)
            parts.AddRange(item.Images.Select(ImagePart.FromFile));
        int start = 0;
        foreach (Match place in places)
        {
            AddText(text[start..place.Index]);
            parts.Add(ImagePart.FromFile(item.Images[Number(place) - 1]));
            start = place.Index + place.Length;
        }

        AddText(text[start..]);
        return new Message(ChatRole.User, parts);

        void AddText(string piece)
        {
            if (piece.Length > 0)
                parts.Add(new TextPart(piece));
        }
    }

    /// <summary>Sees that every place has a picture, and that every picture has a place if any has.</summary>
    /// <exception cref="InvalidDataException">Not so; says which.</exception>
    internal static void CheckImages(EvaluationItem item)
    {
        int[] places = [.. Place().Matches(Text(item)).Select(Number)];
        if (places.FirstOrDefault(place => place < 1 || place > item.Images.Count, -1) is >= 0 and var missing)
            throw new InvalidDataException($"has a place <image {missing}>, but {item.Images.Count} pictures in 'images'; <image 1> is the first.");
        if (places.Length > 0 && Enumerable.Range(1, item.Images.Count).Except(places).FirstOrDefault() is > 0 and var unplaced)
            throw new InvalidDataException($"has no place for picture {unplaced}, which would not be shown: write <image {unplaced}> in the question or an option, or take the picture out.");
    }

    // A number beyond any count of pictures is as wrong as the greatest.
    private static int Number(Match place) => int.TryParse(place.Groups[1].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : int.MaxValue;

    [GeneratedRegex(@"<image ([0-9]+)>", RegexOptions.CultureInvariant)]
    private static partial Regex Place();
}
