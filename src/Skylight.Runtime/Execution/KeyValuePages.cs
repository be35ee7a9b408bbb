using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// How keys and values are cut into pages, in memory and in every reduction over keys; alike on all devices.
/// </summary>
public static class KeyValuePages
{
    /// <summary>Tokens in a page: page i of a sequence holds positions 32·i to 32·i + 31.</summary>
    public const int Size = 32;

    /// <summary>
    /// Consecutive numbers of a value, or of a key after its Walsh–Hadamard transform, that share a scale in a cache of
    /// <see cref="DataType.Int8"/>: scale = greatest magnitude / 127, rounded up to bfloat16; code = number / scale, rounded to
    /// even.
    /// </summary>
    public const int BlockSize = 32;

    private const int ScaleBytes = sizeof(ushort);

    /// <summary>
    /// Elements of the keys, or of the values, of a page and one key-value head: D numbers for each token; of
    /// <see cref="DataType.Int8"/> they are bytes, scales included.
    /// </summary>
    /// <param name="type">The cache's.</param>
    /// <param name="headDimension">The width of a head, D; for <see cref="DataType.Int8"/> a multiple of
    /// <see cref="BlockSize"/>.</param>
    public static int ElementCount(DataType type, int headDimension) => checked(type == DataType.Int8
        ? headDimension / BlockSize * (BlockSize + ScaleBytes) * Size : headDimension * Size);
}
