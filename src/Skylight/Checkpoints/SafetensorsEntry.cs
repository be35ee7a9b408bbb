using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">The name on disk.</param>
/// <param name="Type">The element type on disk.</param>
/// <param name="Shape">The extents on disk; rank 0 for a scalar.</param>
/// <param name="ByteOffset">Where the elements start, in bytes from the start of the file.</param>
/// <param name="ByteCount">The bytes of all elements.</param>
public sealed record SafetensorsEntry(string Name, StoredType Type, Shape Shape, long ByteOffset, long ByteCount)
{
    /// <summary>The number of elements.</summary>
    public long ElementCount => ByteCount / Type.Size();

    /// <inheritdoc/>
    public override string ToString() => $"{Name}: {Type.HeaderName()} {Shape}";
}
