using System.Runtime.InteropServices;

namespace Skylight.Models;

/// <summary>
/// One normalised picture for the vision encoder. Sequences that hold the same object share its encoding: a GRPO
/// group's picture is encoded once.
/// </summary>
public sealed class ImageTile
{
    private string? _contentKey;

    /// <summary>Makes a tile.</summary>
    /// <param name="pixels">[channels, height, width], normalised; not copied, and not to be changed any more.</param>
    /// <param name="height">Pixels from top to bottom.</param>
    /// <param name="width">Pixels from left to right.</param>
    public ImageTile(float[] pixels, int height, int width)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        if (height <= 0 || width <= 0 || pixels.Length % (height * width) != 0 || pixels.Length == 0)
            throw new ArgumentException($"{pixels.Length} elements are no picture of {height}×{width} pixels.",
                nameof(pixels));
        Pixels = pixels;
        Height = height;
        Width = width;
    }

    /// <summary>[channels, height, width], normalised.</summary>
    public float[] Pixels { get; }

    /// <summary>Pixels from top to bottom.</summary>
    public int Height { get; }

    /// <summary>Pixels from left to right.</summary>
    public int Width { get; }

    /// <summary>Colour planes.</summary>
    public int Channels => Pixels.Length / (Height * Width);

    /// <summary>
    /// The same for tiles of equal size and pixels, in this process. Computed when first asked for, which takes
    /// milliseconds for a tile of 448×448.
    /// </summary>
    internal string ContentKey =>
        _contentKey ??= $"{Height}x{Width}:{ContentHash.Of(MemoryMarshal.AsBytes<float>(Pixels))}";
}

/// <summary>Tokens with the pictures that their <c>&lt;IMG_CONTEXT&gt;</c> places stand for, in order.</summary>
/// <param name="Tokens">Token ids.</param>
/// <param name="Images">The pictures, in the order of their places.</param>
public sealed record TokenSequence(int[] Tokens, IReadOnlyList<ImageTile> Images)
{
    /// <summary>Text alone.</summary>
    public TokenSequence(int[] tokens)
        : this(tokens, [])
    {
    }

    /// <summary>
    /// From this index on every token is text, even one that stands for image features elsewhere: a model may write any
    /// token.
    /// </summary>
    public int TextFrom { get; init; } = int.MaxValue;
}
