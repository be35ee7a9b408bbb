using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Skylight.Chat;

namespace Skylight.Training.Data;

/// <summary>
/// Where pictures stand in texts: <c>&lt;image&gt;</c>, the next one each time, or <c>&lt;image k&gt;</c>, the k-th. If
/// no text says so, all stand before the first.
/// </summary>
internal static partial class ImagePlaces
{
    /// <summary>What stands for the next picture.</summary>
    public const string Next = "<image>";

    /// <summary>Numbers the places in texts that are read in this order, and sees that places and pictures fit.</summary>
    /// <param name="texts">The texts.</param>
    /// <param name="images">The pictures, the first is number 1; null where a number has none.</param>
    /// <param name="mayBeUnused">Whether a picture that no text speaks of is left out, rather than a fault.</param>
    /// <returns>The texts with <c>&lt;image k&gt;</c> and the pictures that those number; without any place the texts
    /// as they were and all pictures.</returns>
    /// <exception cref="InvalidDataException">They do not fit; says which.</exception>
    public static (string[] Texts, ExampleImage[] Images) Number(IReadOnlyList<string> texts,
        IReadOnlyList<ExampleImage?> images, bool mayBeUnused)
    {
        int plain = texts.Sum(text => Plain().Count(text));
        int[] numbers = [.. texts.SelectMany(text => Place().Matches(text)).Select(NumberOf)];
        int count = images.Count(image => image is not null);
        if (plain > 0 && numbers.Length > 0)
            throw new InvalidDataException($"has places of both forms, {Next} and <image {numbers[0]}>; use one.");
        if (plain > 0)
        {
            if (plain != count)
                throw new InvalidDataException($"has {Count(plain, "place")} {Next}, but {Count(count, "picture")}.");
            int next = 0;
            return ([.. texts.Select(text => Plain().Replace(text, _ => $"<image {++next}>"))],
                [.. images.OfType<ExampleImage>()]);
        }

        if (numbers.Length == 0)
            return ([.. texts], [.. images.OfType<ExampleImage>()]);
        CheckNumbered(texts, images, mayBeUnused);
        if (!mayBeUnused)
            return ([.. texts], [.. images.OfType<ExampleImage>()]);
        int[] used = [.. numbers.Distinct()];
        return ([.. texts.Select(text =>
            Place().Replace(text, place => $"<image {Array.IndexOf(used, NumberOf(place)) + 1}>"))],
                [.. used.Select(number => images[number - 1]!)]);
    }

    /// <summary>Sees that every numbered place has a picture and, if there is any, every picture a place.</summary>
    /// <exception cref="InvalidDataException">Not so; says which.</exception>
    public static void CheckNumbered(IReadOnlyList<string> texts, IReadOnlyList<ExampleImage?> images,
        bool mayBeUnused = false)
    {
        int[] numbers = [.. texts.SelectMany(text => Place().Matches(text)).Select(NumberOf)];
        foreach (int number in numbers)
        {
            if (number < 1 || number > images.Count || images[number - 1] is null)
                throw new InvalidDataException(
                    $"has a place <image {number}>, but " +
                    $"{(number >= 1 && number <= images.Count ? "no picture of that number" : $"{Count(images.Count, "picture")} in 'images'")}; <image 1> is the first.");
        }

        if (!mayBeUnused && numbers.Length > 0
            && Enumerable.Range(1, images.Count).Except(numbers).FirstOrDefault() is > 0 and var unplaced)
            throw new InvalidDataException(
                $"has no place for picture {unplaced}, which would not be shown: write <image {unplaced}> in the " +
                $"question or an option, or take the picture out.");
    }

    /// <summary>Whether a text has a place for a picture.</summary>
    public static bool IsIn(string text) => Plain().IsMatch(text) || Place().IsMatch(text);

    /// <summary>Cuts a text with numbered places into texts and pictures.</summary>
    /// <param name="text">The text.</param>
    /// <param name="images">The pictures; <c>&lt;image 1&gt;</c> is the first.</param>
    public static List<MessagePart> Split(string text, IReadOnlyList<ExampleImage> images)
    {
        var parts = new List<MessagePart>();
        int start = 0;
        foreach (Match place in Place().Matches(text))
        {
            Add(text[start..place.Index]);
            parts.Add(images[NumberOf(place) - 1].ToPart());
            start = place.Index + place.Length;
        }

        Add(text[start..]);
        return parts;

        void Add(string piece)
        {
            if (piece.Length > 0)
                parts.Add(new TextPart(piece));
        }
    }

    /// <summary>Texts and pictures as a text with numbered places, for who shows them.</summary>
    public static string Join(IEnumerable<MessagePart> parts)
    {
        var text = new StringBuilder();
        int number = 0;
        foreach (MessagePart part in parts)
            text.Append(part is TextPart piece ? piece.Text : $"<image {++number}>");
        return text.ToString();
    }

    private static string Count(int count, string what) => count == 1 ? $"1 {what}" : $"{count} {what}s";

    // A number beyond any count of pictures is as wrong as the greatest.
    private static int NumberOf(Match place) => int.TryParse(place.Groups[1].ValueSpan, NumberStyles.None,
        CultureInfo.InvariantCulture, out int number) ? number : int.MaxValue;

    [GeneratedRegex("<image>", RegexOptions.CultureInvariant)]
    private static partial Regex Plain();

    [GeneratedRegex("<image ?([0-9]+)>", RegexOptions.CultureInvariant)]
    private static partial Regex Place();
}
