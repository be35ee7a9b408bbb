using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Skylight.Models;

namespace Skylight.Generation;

/// <summary>
/// Names what a full page of the key-value cache holds. Keys and values depend on everything before them, so the name is a hash (SHA-256) of all tokens and
/// pictures from the beginning of the sequence to the page's end.
/// </summary>
internal readonly record struct PrefixKey(UInt128 High, UInt128 Low)
{
    /// <summary>The name of what comes before the first page.</summary>
    /// <param name="epoch">Counts how often everything was forgotten: what other weights have computed has other names.</param>
    public static PrefixKey Root(long epoch) => new(0, (UInt128)epoch);

    /// <summary>The name of the page after this one.</summary>
    /// <param name="tokens">The tokens of the page.</param>
    /// <param name="places">Which of them stand for which rows of pictures.</param>
    /// <param name="images">The pictures of the sequence.</param>
    public PrefixKey Next(ReadOnlySpan<int> tokens, ReadOnlySpan<FeaturePlace> places, IReadOnlyList<ImageTile> images)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        PrefixKey previous = this;
        hash.AppendData(MemoryMarshal.AsBytes(new ReadOnlySpan<PrefixKey>(in previous)));
        hash.AppendData(MemoryMarshal.AsBytes(tokens));
        hash.AppendData(MemoryMarshal.AsBytes(places));
        int last = -1;
        foreach (FeaturePlace place in places)
        {
            if (place.Image > last)
                hash.AppendData(MemoryMarshal.AsBytes(images[last = place.Image].ContentKey.AsSpan()));
        }

        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        hash.GetHashAndReset(digest);
        return new PrefixKey(BinaryPrimitives.ReadUInt128LittleEndian(digest), BinaryPrimitives.ReadUInt128LittleEndian(digest[16..]));
    }
}
