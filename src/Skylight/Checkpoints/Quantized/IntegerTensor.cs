using System.Buffers;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// A weight of unsigned integers with scales [groups, outputs] and zeros, as AWQ and GPTQ have: <c>scale · (code − zero)</c>.
/// It is seen as <c>scale · code + minimum</c>, which in float32 is exact for float16 scales; where every zero is the middle
/// of the range, codes are signed and there is no minimum.
/// </summary>
internal abstract class IntegerTensor : QuantizedTensor
{
    private readonly PackedParts _parts;
    private readonly PackedWords _words;
    private readonly int _bits;
    private readonly int _groups;
    private readonly Lazy<bool> _isSymmetric;

    protected IntegerTensor(string name, Shape shape, int bits, int groupSize, PlainTensor codes, PlainTensor scales,
        PlainTensor? zeros, bool maySymmetric, PackedWords words)
        : base(name, shape, codes.File)
    {
        _words = words;
        _parts = new PackedParts(codes, zeros, scales);
        (_bits, GroupSize) = (bits, groupSize);
        _groups = scales.Shape[0];
        _isSymmetric = new Lazy<bool>(() => zeros is null || (maySymmetric && HasOnlyMiddleZeros()));
    }

    /// <inheritdoc/>
    public override long StoredBytes => _parts.Codes.StoredBytes + _parts.Scales.StoredBytes + (_parts.Zeros?.StoredBytes ?? 0);

    /// <inheritdoc/>
    public override QuantizedFormat? Format => ValueFormat;

    /// <summary>What codes, scales and minimums are, whichever block an input belongs to.</summary>
    protected QuantizedFormat ValueFormat => new(
        _bits == 8 ? CodeType.Int8 : _isSymmetric.Value ? CodeType.Int4 : CodeType.UInt4, GroupSize, !_isSymmetric.Value)
    {
        HasHalfScales = _parts.Scales.ElementType == StoredType.Float16,
        HasZeroPoints = _bits == 4 && !_isSymmetric.Value,
    };

    /// <summary>Inputs that share a scale.</summary>
    protected int GroupSize { get; }

    /// <summary>Groups of inputs.</summary>
    protected int Groups => _groups;

    /// <summary>The code that stands for 0 where numbers are symmetric.</summary>
    protected int Middle => 1 << (_bits - 1);

    /// <summary>What is taken off a stored code: 8-bit ones become signed, and symmetric 4-bit ones.</summary>
    protected int CodeOffset => _bits == 8 || _isSymmetric.Value ? Middle : 0;

    /// <inheritdoc/>
    public override void ReadCodes(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums,
        Span<float> superScales = default)
    {
        CheckSpans(firstRow, rows, codes, scales, minimums, superScales);
        Unpack(firstRow, rows, codes, scales, minimums);
    }

    /// <summary>Reads all words on all cores; a thread that has to wait for them could not help.</summary>
    internal override void Prepare()
    {
        using PackedWords.Lease lease = _words.Rent(_parts);
    }

    /// <summary>Reads codes, and scales and minimums of groups, whichever inputs belong to them.</summary>
    protected void Unpack(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums)
    {
        using PackedWords.Lease lease = _words.Rent(_parts);
        UnpackCodes(lease.Codes, firstRow, rows, codes);
        UnpackScales(lease, firstRow, rows, scales, minimums);
    }

    /// <summary>Takes the codes of some outputs out of their words, less <see cref="CodeOffset"/>.</summary>
    protected abstract void UnpackCodes(ReadOnlySpan<uint> words, int firstRow, int rows, Span<sbyte> codes);

    /// <summary>Takes the zeros of some outputs out of a group's words.</summary>
    protected abstract void UnpackZeros(ReadOnlySpan<uint> words, int firstRow, Span<int> zeros);

    private void UnpackScales(in PackedWords.Lease lease, int firstRow, int rows, Span<float> scales, Span<float> minimums)
    {
        StoredType type = _parts.Scales.Entry.Type;
        int outputs = Shape[0], zeroWords = _parts.Zeros?.Shape[1] ?? 0, size = type.Size();
        float[] scaleOf = ArrayPool<float>.Shared.Rent(rows);
        int[] zeroOf = ArrayPool<int>.Shared.Rent(rows);
        try
        {
            for (int group = 0; group < _groups; group++)
            {
                StoredElements.ToFloat32(type, lease.Scales.Slice((group * outputs + firstRow) * size, rows * size),
                    scaleOf.AsSpan(0, rows));
                if (minimums.Length > 0)
                    UnpackZeros(lease.Zeros.Slice(group * zeroWords, zeroWords), firstRow, zeroOf.AsSpan(0, rows));
                for (int row = 0; row < rows; row++)
                {
                    scales[row * _groups + group] = scaleOf[row];
                    if (minimums.Length > 0)
                        minimums[row * _groups + group] = -(zeroOf[row] - CodeOffset) * scaleOf[row];
                }
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(scaleOf);
            ArrayPool<int>.Shared.Return(zeroOf);
        }

        DemandFinite(scales, firstRow, _groups, "scale", _parts.Scales.Name);
    }

    private void ReadZeroWords(int group, Span<uint> words) =>
        _parts.Zeros!.Source.ReadBytes(_parts.Zeros.Entry, (long)group * words.Length * sizeof(uint),
            MemoryMarshal.AsBytes(words));

    private bool HasOnlyMiddleZeros()
    {
        uint[] words = new uint[_parts.Zeros!.Shape[1]];
        int[] zeros = new int[Shape[0]];
        for (int group = 0; group < _groups; group++)
        {
            ReadZeroWords(group, words);
            UnpackZeros(words, 0, zeros);
            if (zeros.AsSpan().ContainsAnyExcept(Middle))
                return false;
        }

        return true;
    }

    /// <summary>Writes 4 bits of each word, less an offset.</summary>
    protected static void TakeNibbles(ReadOnlySpan<uint> words, int shift, int offset, Span<sbyte> codes)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            Vector256<sbyte> less = Vector256.Create((sbyte)offset);
            for (; i <= words.Length - 32; i += 32)
            {
                Vector256<ushort> low = Vector256.Narrow(At(words, i, shift), At(words, i + 8, shift)),
                    high = Vector256.Narrow(At(words, i + 16, shift), At(words, i + 24, shift));
                (Vector256.Narrow(low, high).AsSByte() - less).CopyTo(codes[i..]);
            }
        }

        for (; i < words.Length; i++)
            codes[i] = (sbyte)((int)(words[i] >> shift & 0xF) - offset);

        static Vector256<uint> At(ReadOnlySpan<uint> words, int index, int shift) =>
            (Vector256.Create(words[index..]) >>> shift) & Vector256.Create(0xFu);
    }
}
