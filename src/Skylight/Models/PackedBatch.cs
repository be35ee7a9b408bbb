namespace Skylight.Models;

/// <summary>The extents on which a packed forward pass depends.</summary>
/// <param name="Tokens">Tokens of all sequences together.</param>
/// <param name="Sequences">The number of sequences.</param>
/// <param name="Images">The number of different pictures; 0 for text alone.</param>
/// <param name="ImageHeight">Pixels from top to bottom; 0 without pictures.</param>
/// <param name="ImageWidth">Pixels from left to right; 0 without pictures.</param>
public readonly record struct PackedShape(int Tokens, int Sequences, int Images, int ImageHeight, int ImageWidth);

/// <summary>
/// Sequences laid end to end, with no padding between them. Pictures that several sequences hold are there once.
/// </summary>
public sealed class PackedBatch
{
    private PackedBatch(PackedShape shape)
    {
        Shape = shape;
        Tokens = new int[shape.Tokens];
        Positions = new int[shape.Tokens];
        FeatureIndex = new int[shape.Tokens];
        Starts = new int[shape.Sequences + 1];
        Array.Fill(FeatureIndex, -1);
    }

    /// <summary>The extents.</summary>
    public PackedShape Shape { get; }

    /// <summary>[tokens]: ids; 0 in the padding at the end.</summary>
    public int[] Tokens { get; }

    /// <summary>[tokens]: the place of each token in its sequence.</summary>
    public int[] Positions { get; }

    /// <summary>[tokens]: the row of image features that replaces the token's embedding; −1 for text.</summary>
    public int[] FeatureIndex { get; }

    /// <summary>[sequences + 1]: where each sequence starts; the last one is where the padding starts.</summary>
    public int[] Starts { get; }

    /// <summary>[images, channels, height, width].</summary>
    public float[] Pixels { get; private set; } = [];

    /// <summary>Packs sequences.</summary>
    /// <param name="sequences">At least one.</param>
    /// <param name="configuration">Says which token stands for image features and how many a picture has.</param>
    /// <param name="tokenMultiple">The number of tokens is padded to a multiple of this, so that fewer plans are
    /// needed.</param>
    /// <exception cref="ArgumentException">A sequence has more or fewer places than its pictures have features, or
    /// pictures differ in size.</exception>
    public static PackedBatch Pack(IReadOnlyList<TokenSequence> sequences, ModelConfiguration configuration,
        int tokenMultiple = 1)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(configuration);
        var images = new Dictionary<ImageTile, int>(ReferenceEqualityComparer.Instance);
        foreach (TokenSequence sequence in sequences)
        {
            foreach (ImageTile image in sequence.Images)
                images.TryAdd(image, images.Count);
        }

        ImageTile? first = images.Keys.FirstOrDefault();
        int total = sequences.Sum(sequence => sequence.Tokens.Length);
        int padded = Math.Max(1, (total + tokenMultiple - 1) / tokenMultiple) * tokenMultiple;
        var batch = new PackedBatch(
            new PackedShape(padded, sequences.Count, images.Count, first?.Height ?? 0, first?.Width ?? 0));
        if (first is not null)
            batch.CopyPixels(images);
        int featuresPerImage = first is null ? 0 : configuration.TokensPerImage(first.Height, first.Width);
        int next = 0;
        for (int index = 0; index < sequences.Count; index++)
        {
            batch.Starts[index] = next;
            batch.Place(sequences[index], index, next, images, featuresPerImage, configuration);
            next += sequences[index].Tokens.Length;
        }

        batch.Starts[^1] = next;
        return batch;
    }

    private void Place(TokenSequence sequence, int index, int start, Dictionary<ImageTile, int> images,
        int featuresPerImage, ModelConfiguration configuration)
    {
        FeaturePlace[] places = FeaturePlace.Of(sequence, configuration, $"Sequence {index}");
        for (int position = 0; position < sequence.Tokens.Length; position++)
        {
            Tokens[start + position] = sequence.Tokens[position];
            Positions[start + position] = position;
            if (places[position].Image >= 0)
                FeatureIndex[start + position] = images[sequence.Images[places[position].Image]] * featuresPerImage
                    + places[position].Row;
        }
    }

    private void CopyPixels(Dictionary<ImageTile, int> images)
    {
        ImageTile first = images.Keys.First();
        Pixels = new float[first.Pixels.Length * images.Count];
        foreach ((ImageTile image, int index) in images)
        {
            if (image.Height != first.Height || image.Width != first.Width || image.Channels != first.Channels)
                throw new ArgumentException(
                    $"Pictures of one batch must be of one size; found {first.Height}×{first.Width} and " +
                    $"{image.Height}×{image.Width}.");
            image.Pixels.CopyTo(Pixels, (long)index * first.Pixels.Length);
        }
    }
}
