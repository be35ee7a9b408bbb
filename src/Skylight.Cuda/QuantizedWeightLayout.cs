using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>What is added to a value beside scale · code.</summary>
internal enum WeightOffset
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>−zero · scale, with the zero as a byte.</summary>
    Zero,

    /// <summary>A float32 minimum.</summary>
    Minimum,
}

/// <summary>
/// How a quantised weight [outputs, inputs] lies in a card's memory; <c>kernels/common/quantized.cuh</c> reads it. Panels of
/// 32 outputs (<see cref="Device.RowBlock"/>), in each the codes as [chunks][32] of 16 bytes, a chunk being 32 or 16
/// consecutive inputs of an output; then the scales as [blocks][32], then zeros or minimums likewise. A tile of a product so
/// reads neighbouring chunks of 16 bytes, and no scale is kept twice.
/// </summary>
internal readonly record struct QuantizedWeightLayout
{
    private const int Outputs = Device.RowBlock, ChunkBytes = 16;

    private readonly QuantizedFormat _format;
    private readonly int _inputs;

    private QuantizedWeightLayout(QuantizedFormat format, int inputs)
    {
        _format = format;
        _inputs = inputs;
    }

    /// <summary>Whether there are kernels for a format.</summary>
    public static bool Supports(QuantizedFormat format) =>
        format.BlockSize > 0 && format.BlockSize % 16 == 0
        && (!format.HasMinimum || format.HasIntegerCodes);

    /// <summary>The layout of a quantised weight.</summary>
    /// <exception cref="NotSupportedException">There are no kernels for its format.</exception>
    public static QuantizedWeightLayout Of(TensorType type)
    {
        QuantizedFormat format = type.Format ?? throw new ArgumentException($"{type} is not quantised.", nameof(type));
        return Supports(format) ? new QuantizedWeightLayout(format, type.Shape.Columns)
            : throw new NotSupportedException($"CUDA has no kernels for weights of format {format}: load them as bfloat16.");
    }

    // Codes of five or six bits take a byte.
    private int Bits => _format.CodeBits > 4 ? 8 : 4;

    private int ChunkInputs => ChunkBytes * 8 / Bits;

    private int Chunks => (_inputs + ChunkInputs - 1) / ChunkInputs;

    /// <summary>Inputs of a scale; 0 where all of an output have one.</summary>
    private int Block => _format.BlockSize >= _inputs ? 0 : _format.BlockSize;

    private int Blocks => Block == 0 ? 1 : _format.BlocksOf(_inputs);

    private int ScaleBytes => _format.HasHalfScales ? 2 : 4;

    private WeightOffset Offset => !_format.HasMinimum ? WeightOffset.None
        : _format.HasZeroPoints ? WeightOffset.Zero : WeightOffset.Minimum;

    private int OffsetBytes => Offset switch
    {
        WeightOffset.None => 0,
        WeightOffset.Zero => 1,
        _ => sizeof(float),
    };

    /// <summary>What is added to codes so that they are not negative.</summary>
    private int Bias => Bits == 8 && _format.CodeBias > 0 ? 128 : _format.CodeBias;

    private long ScalesAt => (long)Chunks * Outputs * ChunkBytes;

    private long OffsetsAt => ScalesAt + (long)Blocks * Outputs * ScaleBytes;

    /// <summary>The bytes of 32 outputs.</summary>
    public long PanelBytes => OffsetsAt + (long)Blocks * Outputs * OffsetBytes;

    /// <summary>The chunks of 16 bytes of a row.</summary>
    public int ChunksOfRow => Chunks;

    /// <summary>The bytes of so many outputs, padding included.</summary>
    public long BytesOf(int outputs) => Panels(outputs) * PanelBytes;

    /// <summary>How many panels so many outputs fill.</summary>
    public static int Panels(int outputs) => (outputs + Outputs - 1) / Outputs;

    /// <summary>Defines what <c>common/quantized.cuh</c> needs to know.</summary>
    public KernelLaunch Define(KernelLaunch launch) => launch
        .Define("CODE_BITS", Bits)
        .Define("CODE_KIND", _format.Codes switch
        {
            CodeType.Float8E4M3 => 1,
            CodeType.NormalFloat4 => 2,
            _ => 0,
        })
        .Define("CODE_BIAS", Bias).Define("SCALE_BITS", ScaleBytes * 8).Define("OFFSET_KIND", (int)Offset)
        .Define("BLOCK_SIZE", Block);

    /// <summary>The bytes of the table of quantiles that kernels keep in shared memory.</summary>
    public int QuantileBytes => _format.Codes == CodeType.NormalFloat4 ? 16 * sizeof(float) : 0;

    /// <summary>
    /// The shared memory of a block that makes a tile of a product; as <c>WeightProduct</c> in
    /// <c>kernels/common/weight_product.cuh</c>.
    /// </summary>
    public int SharedBytes(MatrixTile tile)
    {
        int divisor = Block == 0 ? tile.Inner : Block;
        int blocks = tile.Inner % divisor == 0 ? tile.Inner / divisor
            : divisor % tile.Inner == 0 ? 1 : (tile.Inner - 16) / divisor + 2;
        int raw = tile.Columns * (tile.Inner * Bits / 8 + blocks * (ScaleBytes + OffsetBytes)),
            left = tile.Rows * tile.Inner * 2, values = tile.Columns * tile.Inner * 2;
        return tile.Stages * (left + raw) + 2 * values + QuantileBytes;
    }

    /// <summary>Puts rows, from one that begins a panel on, into the layout.</summary>
    /// <param name="codes">Row-major, one a byte.</param>
    /// <param name="scales">[rows, blocks of the format].</param>
    /// <param name="minimums">The same; empty where there are none.</param>
    /// <param name="rows">How many.</param>
    /// <param name="target">The panels; every byte is written.</param>
    public unsafe void Pack(ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales, ReadOnlySpan<float> minimums, int rows,
        Span<byte> target)
    {
        QuantizedWeightLayout layout = this;
        fixed (sbyte* pCodes = codes)
        fixed (float* pScales = scales, pMinimums = minimums)
        fixed (byte* pTarget = target)
        {
            // Lambdas take no pointers to what is fixed, but numbers.
            nint codesAt = (nint)pCodes, scalesAt = (nint)pScales, minimumsAt = (nint)pMinimums, targetAt = (nint)pTarget;
            Parallel.For(0, Panels(rows), panel => layout.PackPanel((sbyte*)codesAt, (float*)scalesAt, (float*)minimumsAt,
                panel * Outputs, Math.Min(Outputs, rows - panel * Outputs), (byte*)targetAt + panel * layout.PanelBytes));
        }
    }

    private unsafe void PackPanel(sbyte* codes, float* scales, float* minimums, int firstRow, int rows, byte* target)
    {
        NativeMemory.Clear(target, (nuint)PanelBytes);
        sbyte* last = stackalloc sbyte[ChunkInputs];
        // What pads a row stands for 0, so that it changes no sum.
        new Span<sbyte>(last, ChunkInputs).Fill(_format.Codes == CodeType.NormalFloat4 ? (sbyte)7 : (sbyte)0);
        for (int output = 0; output < rows; output++)
        {
            long row = firstRow + output;
            sbyte* source = codes + row * _inputs;
            for (int chunk = 0; chunk < Chunks; chunk++)
            {
                int first = chunk * ChunkInputs, count = Math.Min(ChunkInputs, _inputs - first);
                sbyte* from = source + first;
                if (count < ChunkInputs)
                {
                    new ReadOnlySpan<sbyte>(from, count).CopyTo(new Span<sbyte>(last, count));
                    from = last;
                }

                PackChunk(from, target + (chunk * Outputs + output) * ChunkBytes);
            }

            for (int block = 0; block < Blocks; block++)
            {
                long from = row * Blocks + block;
                int to = block * Outputs + output;
                if (_format.HasHalfScales)
                    ((Half*)(target + ScalesAt))[to] = (Half)scales[from];
                else
                    ((float*)(target + ScalesAt))[to] = scales[from];
                if (Offset == WeightOffset.Minimum)
                    ((float*)(target + OffsetsAt))[to] = minimums[from];
                else if (Offset == WeightOffset.Zero)
                    target[OffsetsAt + to] = scales[from] == 0 ? (byte)0
                        : (byte)Math.Clamp(MathF.Round(-minimums[from] / scales[from]), 0, 255);
            }
        }
    }

    private unsafe void PackChunk(sbyte* codes, byte* target)
    {
        Vector128<byte> bias = Vector128.Create((byte)Bias), low = Vector128.Load((byte*)codes) + bias;
        if (Bits == 8)
        {
            low.Store(target);
            return;
        }

        Vector128<byte> high = Vector128.Load((byte*)codes + ChunkBytes) + bias;
        Vector128.Narrow(Pairs(low), Pairs(high)).Store(target);

        // Two codes of four bits, each in a byte, as one byte.
        static Vector128<ushort> Pairs(Vector128<byte> bytes)
        {
            Vector128<ushort> words = (bytes & Vector128.Create((byte)15)).AsUInt16();
            return (words | words >>> 4) & Vector128.Create((ushort)0xFF);
        }
    }
}
