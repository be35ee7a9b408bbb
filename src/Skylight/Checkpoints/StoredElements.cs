using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Conversions from stored bytes (little-endian, possibly unaligned) to the types that we compute with.</summary>
internal static class StoredElements
{
    public static void ToFloat32(StoredType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        switch (type)
        {
            case StoredType.Float32:
                source.CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case StoredType.BFloat16:
                BFloat16.Widen(MemoryMarshal.Cast<byte, BFloat16>(source), destination);
                break;
            case StoredType.Float16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(source), destination);
                break;
            case StoredType.Float64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(source);
                for (int i = 0; i < doubles.Length; i++)
                    destination[i] = (float)doubles[i];
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a floating-point type.");
        }
    }

    public static void ToBFloat16(StoredType type, ReadOnlySpan<byte> source, Span<BFloat16> destination)
    {
        switch (type)
        {
            case StoredType.BFloat16:
                source.CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case StoredType.Float32:
                Round(MemoryMarshal.Cast<byte, float>(source), destination);
                break;
            case StoredType.Float16:
                // A binary16 is exact in binary32, so this rounds once.
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(source);
                Span<float> exact = stackalloc float[512];
                for (int i = 0; i < halves.Length; i += exact.Length)
                {
                    int count = Math.Min(exact.Length, halves.Length - i);
                    TensorPrimitives.ConvertToSingle(halves.Slice(i, count), exact);
                    Round(exact[..count], destination[i..]);
                }

                break;
            case StoredType.Float64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(source);
                for (int i = 0; i < doubles.Length; i++)
                    destination[i] = (BFloat16)(float)doubles[i];
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a floating-point type.");
        }
    }

    /// <summary>Converts integers; returns the index of the first one that does not fit, or −1.</summary>
    public static int ToInt32(StoredType type, ReadOnlySpan<byte> source, Span<int> destination)
    {
        switch (type)
        {
            case StoredType.Int32:
                source.CopyTo(MemoryMarshal.AsBytes(destination));
                return -1;
            case StoredType.Int64:
                ReadOnlySpan<long> longs = MemoryMarshal.Cast<byte, long>(source);
                for (int i = 0; i < longs.Length; i++)
                {
                    if (longs[i] != (int)longs[i])
                        return i;
                    destination[i] = (int)longs[i];
                }

                return -1;
            case StoredType.UInt8 or StoredType.Boolean:
                for (int i = 0; i < source.Length; i++)
                    destination[i] = source[i];
                return -1;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not an integer type.");
        }
    }

    /// <summary>Rounds to nearest even, as the conversion operator of <see cref="BFloat16"/> does.</summary>
    public static void Round(ReadOnlySpan<float> source, Span<BFloat16> destination)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(source);
        Span<ushort> rounded = MemoryMarshal.Cast<BFloat16, ushort>(destination);
        int i = 0;
        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
            Vector.Narrow(Upper(new Vector<uint>(bits[i..])), Upper(new Vector<uint>(bits[(i + Vector<uint>.Count)..])))
                .CopyTo(rounded[i..]);
        for (; i < source.Length; i++)
            destination[i] = (BFloat16)source[i];
    }

    private static Vector<uint> Upper(Vector<uint> bits)
    {
        Vector<uint> upper = bits >>> 16;
        Vector<uint> nearest = (bits + new Vector<uint>(0x7FFF) + (upper & Vector<uint>.One)) >>> 16;
        // A NaN must not be carried over into an infinity.
        return Vector.ConditionalSelect(Vector.GreaterThan(bits & new Vector<uint>(0x7FFF_FFFF),
            new Vector<uint>(0x7F80_0000)), upper | new Vector<uint>(0x40), nearest);
    }
}
