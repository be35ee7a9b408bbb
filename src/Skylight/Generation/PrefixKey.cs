using System.Runtime.InteropServices;
using Skylight.Models;

namespace Skylight.Generation;

/// <summary>
/// Names what a full page of the key-value cache holds. Keys and values depend on everything before them, so the name
/// is a hash (<see cref="ContentHash"/>, which says why that one) of all tokens and pictures from the beginning of the
/// sequence to the page's end.
/// </summary>
internal readonly record struct PrefixKey(ContentHash Hash)
{
    /// <summary>The name of what comes before the first page.</summary>
    /// <param name="epoch">Counts how often everything was forgotten: what other weights have computed has other
    /// names.</param>
    public static PrefixKey Root(long epoch) => new(new ContentHash(0, (ulong)epoch));

    /// <summary>The name of the page after this one.</summary>
    /// <param name="tokens">The tokens of the page.</param>
    /// <param name="places">Which of them stand for which rows of pictures.</param>
    /// <param name="images">The pictures of the sequence.</param>
    public PrefixKey Next(ReadOnlySpan<int> tokens, ReadOnlySpan<FeaturePlace> places, IReadOnlyList<ImageTile> images)
    {
        PrefixKey previous = this;
        var content = new List<byte>();
        content.AddRange(MemoryMarshal.AsBytes(new ReadOnlySpan<PrefixKey>(in previous)));
        content.AddRange(MemoryMarshal.AsBytes(tokens));
        content.AddRange(MemoryMarshal.AsBytes(places));
        int last = -1;
        foreach (FeaturePlace place in places)
        {
            if (place.Image > last)
                content.AddRange(MemoryMarshal.AsBytes(images[last = place.Image].ContentKey.AsSpan()));
        }

        return new PrefixKey(ContentHash.Of(CollectionsMarshal.AsSpan(content)));
    }
}
