using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>The types of metadata; the numbers are the file's.</summary>
internal enum GgufValueType
{
    UInt8 = 0,
    Int8 = 1,
    UInt16 = 2,
    Int16 = 3,
    UInt32 = 4,
    Int32 = 5,
    Float32 = 6,
    Boolean = 7,
    Text = 8,
    Array = 9,
    UInt64 = 10,
    Int64 = 11,
    Float64 = 12,
}

/// <summary>Where the value of a key lies in a header.</summary>
/// <param name="Type">Of the value.</param>
/// <param name="ElementType">Of an array's elements.</param>
/// <param name="Count">Of an array's elements; 1 for everything else.</param>
/// <param name="Start">Its first byte; of a text the first after its length, of an array that of the first element.</param>
/// <param name="Length">Its bytes.</param>
internal readonly record struct GgufValue(GgufValueType Type, GgufValueType ElementType, int Count, int Start, int Length);

/// <summary>One tensor of a file.</summary>
/// <param name="Name">llama.cpp's name.</param>
/// <param name="Type">The type of its elements.</param>
/// <param name="Shape">Its extents, the slowest first and without leading ones.</param>
/// <param name="ByteOffset">Where it begins in the file.</param>
/// <param name="ByteCount">Its bytes.</param>
internal sealed record GgufEntry(string Name, GgufType Type, Shape Shape, long ByteOffset, long ByteCount);
