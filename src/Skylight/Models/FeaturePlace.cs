namespace Skylight.Models;

/// <summary>Which row of which picture's features stands at a token's place.</summary>
/// <param name="Image">The picture, counted in its sequence; −1 for text.</param>
/// <param name="Row">The row of its features.</param>
internal readonly record struct FeaturePlace(int Image, int Row)
{
    /// <summary>A token that is text.</summary>
    public static FeaturePlace Text { get; } = new(-1, 0);

    /// <summary>Checks a sequence's tokens and finds the places of its pictures.</summary>
    /// <param name="sequence">Tokens and pictures.</param>
    /// <param name="configuration">Says which token stands for image features and how many a picture has.</param>
    /// <param name="name">What errors call the sequence.</param>
    /// <returns>One place for each token.</returns>
    /// <exception cref="ArgumentException">A token is outside the vocabulary, or there are more or fewer places than
    /// the pictures have features.</exception>
    public static FeaturePlace[] Of(TokenSequence sequence, ModelConfiguration configuration, string name)
    {
        int[] features = [.. sequence.Images.Select(image => configuration.TokensPerImage(image.Height, image.Width))];
        var places = new FeaturePlace[sequence.Tokens.Length];
        int image = 0, row = 0, count = 0;
        for (int position = 0; position < places.Length; position++)
        {
            int token = sequence.Tokens[position];
            if (token < 0 || token >= configuration.Language.VocabularySize)
                throw new ArgumentException(
                    $"{name}: token {token} at position {position} is outside the vocabulary of " +
                    $"{configuration.Language.VocabularySize}.");
            places[position] = Text;
            if (features.Length == 0 || token != configuration.ImageTokenId || position >= sequence.TextFrom)
                continue;
            count++;
            if (image == features.Length)
                continue;
            places[position] = new FeaturePlace(image, row++);
            if (row == features[image])
                (image, row) = (image + 1, 0);
        }

        if (count != features.Sum())
        {
            throw new ArgumentException(
                $"{name} has {count} image places (token {configuration.ImageTokenId}), but its {features.Length} " +
                $"pictures need {features.Sum()}: " +
                $"{string.Join(" + ", features.Distinct().Select(each => $"{features.Count(value => value == each)} × {each}"))}.");
        }

        return places;
    }
}
