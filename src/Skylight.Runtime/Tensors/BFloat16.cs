using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Skylight.Tensors;

/// <summary>
/// bfloat16: sign, 8 exponent bits, 7 mantissa bits; the upper half of a <see cref="float"/>.
/// Conversion from float rounds to nearest, ties to even; NaN stays NaN.
/// </summary>
/// <remarks>The .NET 10 base library has no such type.</remarks>
public readonly struct BFloat16 : IEquatable<BFloat16>
{
    private readonly ushort _bits;

    private BFloat16(ushort bits) => _bits = bits;

    /// <summary>The sixteen bits of the number.</summary>
    public ushort Bits => _bits;

    /// <summary>Makes a number from its sixteen bits.</summary>
    public static BFloat16 FromBits(ushort bits) => new(bits);

    /// <summary>Rounds to the nearest bfloat16, ties to even.</summary>
    public static explicit operator BFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return new BFloat16((ushort)((bits >> 16) | 0x0040));
        return new BFloat16((ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }

    /// <summary>Widens exactly.</summary>
    public static implicit operator float(BFloat16 value) => BitConverter.UInt32BitsToSingle((uint)value._bits << 16);

    /// <summary>Widens many numbers exactly.</summary>
    /// <param name="source">The numbers.</param>
    /// <param name="destination">Where they go; at least as many places.</param>
    public static void Widen(ReadOnlySpan<BFloat16> source, Span<float> destination)
    {
        ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<BFloat16, ushort>(source);
        Span<uint> words = MemoryMarshal.Cast<float, uint>(destination[..source.Length]);
        int index = 0;
        for (; index <= halves.Length - Vector<ushort>.Count; index += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(halves[index..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(words[index..]);
            (high << 16).CopyTo(words[(index + Vector<uint>.Count)..]);
        }

        for (; index < halves.Length; index++)
            words[index] = (uint)halves[index] << 16;
    }

    /// <inheritdoc/>
    public bool Equals(BFloat16 other) => (float)this == other;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is BFloat16 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => ((float)this).GetHashCode();

    /// <summary>Numerical equality.</summary>
    public static bool operator ==(BFloat16 left, BFloat16 right) => left.Equals(right);

    /// <summary>Numerical inequality.</summary>
    public static bool operator !=(BFloat16 left, BFloat16 right) => !left.Equals(right);

    /// <inheritdoc/>
    public override string ToString() => ((float)this).ToString(CultureInfo.InvariantCulture);
}
