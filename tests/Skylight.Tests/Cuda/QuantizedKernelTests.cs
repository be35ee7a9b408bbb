using Skylight.Checkpoints;
using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>Weights that stay quantised in a card's memory, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class QuantizedKernelTests
{
    private static readonly QuantizedFormat[] s_formats =
    [
        QuantizedFormat.Q8, QuantizedFormat.Q4,
        new(CodeType.Int8, 16, HasMinimum: false), new(CodeType.Int4, 16, HasMinimum: false),
        new(CodeType.UInt4, 32, HasMinimum: true), new(CodeType.UInt4, 16, HasMinimum: true),
        new(CodeType.Int8, 32, HasMinimum: true), new(CodeType.Int4, 48, HasMinimum: false),
        new(CodeType.UInt4, 128, HasMinimum: true) { HasHalfScales = true, HasZeroPoints = true },
        new(CodeType.Int8, 64, HasMinimum: true) { HasHalfScales = true, HasZeroPoints = true },
        new(CodeType.Float8E4M3, 144, HasMinimum: false), new(CodeType.Float8E4M3, 128, HasMinimum: false),
        new(CodeType.NormalFloat4, 64, HasMinimum: false), new(CodeType.UInt5, 32, HasMinimum: true) { SuperBlockSize = 256 },
        new(CodeType.Int6, 16, HasMinimum: false) { SuperBlockSize = 256 },
    ];

    /// <summary>One of each kind that there are kernels for.</summary>
    internal static IReadOnlyList<QuantizedFormat> AllFormats => s_formats;

    public static TheoryData<int> Formats => [.. Enumerable.Range(0, s_formats.Length)];

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_product_has_the_bits_of_the_values_rounded_to_bfloat16(int index)
    {
        const int Rows = 17, Columns = 35, Inner = 136;
        QuantizedElements weight = Elements(s_formats[index], Columns, Inner);
        using var kernels = new EmulatedKernels();
        BFloat16[] x = Random(1, Rows * Inner);
        Assert.Equal(Plain(kernels, weight, Rows, x), Product(kernels, weight, Rows, x));
    }

    [Theory]
    [InlineData(0, 136)]
    [InlineData(1, 136)]
    [InlineData(1, 90)]
    [InlineData(8, 272)]
    public void Bits_depend_on_neither_rows_nor_tile(int index, int inner)
    {
        const int Rows = 70, Columns = 67;
        QuantizedElements weight = Elements(s_formats[index], Columns, inner);
        using var kernels = new EmulatedKernels();
        BFloat16[] x = Random(2, Rows * inner), all = Plain(kernels, weight, Rows, x);
        foreach (int rows in (int[])[1, 2, 17, 70])
            Assert.Equal(all[^(rows * Columns)..], Product(kernels, weight, rows, x[^(rows * inner)..]));
        foreach (MatrixTile tile in inner == 136 ? MatrixTile.OfQuantizedWeights : [])
        {
            CudaBindings bindings = CudaBindings.Standard.With<MatMul>((_, kernel) =>
            {
                var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), Rows, Columns, inner);
                MatMulBindings.QueueWeight(kernel, product, weight.Type, tile);
            });
            TensorType[] types = [Half(Rows, inner), weight.Type];
            Assert.Equal(all, kernels.Run<BFloat16>(bindings.Describe(new MatMul(), types, CudaTarget.Ampere),
                Half(Rows, Columns), x, Packed(weight)));
        }
    }

    [Theory]
    [InlineData(1, 70)]
    [InlineData(5, 136)]
    [InlineData(8, 24)]
    [InlineData(10, 88)]
    [InlineData(12, 70)]
    [InlineData(13, 300)]
    [InlineData(14, 300)]
    public void Rows_that_are_looked_up_are_the_values(int index, int columns)
    {
        QuantizedElements table = Elements(s_formats[index], 37, columns);
        // The two codes of floating-point that stand for no number.
        if (s_formats[index].Codes == CodeType.Float8E4M3)
            (table.Codes[5], table.Codes[6]) = (0x7F, -1);
        float[] values = Values(table);
        using var card = new SimulatedCard();
        var parameter = new PersistentTensor("table", table.Type);
        card.Device.Bind(parameter);
        table.Upload(card.Device, parameter.Tensor);
        var graph = new Graph();
        Value ids = graph.Input("ids", TensorType.Int32(4)), rows = graph.Add(new EmbeddingLookup(),
            graph.Persistent(parameter), ids);
        graph.Output("rows", rows);
        var executor = new Executor(Planner.Plan(graph, card.Device), card.Workspace);
        executor.Write<int>(ids, [36, 0, 31, 32]);
        executor.Run();
        Assert.Equal([.. new[] { 36, 0, 31, 32 }.SelectMany(row => values[(row * columns)..((row + 1) * columns)])],
            executor.Read<float>(rows));
        executor.Write<int>(ids, [36, 0, 37, 32]);
        executor.Run();
        Assert.Contains("ids[2] is 37", Assert.Throws<ArgumentOutOfRangeException>(() => executor.Read<float>(rows)).Message,
            StringComparison.Ordinal);
        parameter.Tensor.Memory.Dispose();
    }

    [Fact]
    public void Parts_lie_as_the_whole_and_codes_are_no_elements()
    {
        using var card = new SimulatedCard();
        QuantizedFormat format = s_formats[8];
        QuantizedElements elements = Elements(format, 70, 272);
        using Device device = card.Device;
        Tensor whole = device.AllocateTensor(elements.Type), parts = device.AllocateTensor(elements.Type);
        elements.Upload(device, whole);
        for (int first = 0; first < 70; first += 32)
        {
            int count = Math.Min(32, 70 - first);
            device.UploadCodes(device.Part(parts, first, count), elements.Codes.AsSpan(first * 272, count * 272),
                elements.Scales.AsSpan(first * 3, count * 3), elements.Minimums.AsSpan(first * 3, count * 3));
        }

        int[] expected = Words(device, whole);
        Assert.Equal(expected, Words(device, parts));
        Assert.Equal((int[])Packed(elements), expected);
        Assert.NotEqual(0, expected.Sum(word => word & 1));
        // Three panels of 32 outputs: 9 chunks of 16 bytes, 3 scales of 2 bytes and 3 zeros of a byte for each.
        Assert.Equal(3 * 32 * (9 * 16 + 3 * 2 + 3), device.StorageBytes(elements.Type));
        device.Copy(whole, parts);
        device.Clear(whole);
        Assert.Equal(expected, Words(device, parts));
        Assert.All(Words(device, whole), word => Assert.Equal(0, word));
        foreach (Action refused in (Action[])[() => device.Upload(new byte[100], whole),
            () => device.Download(whole, new byte[100]),
            () => device.UploadCodes(whole, elements.Codes, elements.Scales, [])])
        {
            Assert.Contains($"{elements.Type}", Assert.Throws<ArgumentException>(refused).Message,
                StringComparison.Ordinal);
        }

        foreach (QuantizedFormat odd in (QuantizedFormat[])[new(CodeType.Int4, 24, false), new(CodeType.Float8E4M3, 64, true)])
        {
            Assert.False(device.Multiplies(odd));
            Assert.Contains($"{odd}", Assert.Throws<NotSupportedException>(
                () => device.AllocateTensor(TensorType.Quantized(odd, new Shape(4, 48)))).Message, StringComparison.Ordinal);
        }

        whole.Memory.Dispose();
        parts.Memory.Dispose();
    }

    [Fact]
    public void Every_tile_fits_on_every_card_and_no_mode_asks_the_library()
    {
        foreach (QuantizedFormat format in s_formats)
        {
            TensorType weight = TensorType.Quantized(format, new Shape(4864, 896));
            // The smallest cards that are supported have 99 KiB for a block.
            Assert.All(MatrixTile.OfQuantizedWeights.Append(MatrixTile.Tall),
                tile => Assert.InRange(tile.WeightBytes(weight), 1, 99 * 1024));
            CudaKernelDescription description = CudaBindings.Standard.Describe(new MatMul(), [Half(3, 896), weight],
                CudaTarget.Ampere with { Deterministic = false });
            Assert.Equal("quantized_product",
                Assert.IsType<CudaLaunchStep>(Assert.Single(description.Steps)).Launch.EntryPoint);
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Values_are_those_that_checkpoints_are_read_as(int index)
    {
        QuantizedElements elements = Elements(s_formats[index], 9, 144);
        float[] expected = new float[elements.Codes.Length];
        Dequantizer.ToFloat32(s_formats[index], 144, elements.Codes, elements.Scales, elements.Minimums, expected);
        Assert.Equal(expected, elements.Values());
    }

    private static QuantizedElements Elements(QuantizedFormat format, int outputs, int inputs) =>
        QuantizedElements.Random(format, new Shape(outputs, inputs), 5);

    /// <summary>With the minimum added before the product is rounded, as kernels do.</summary>
    private static float[] Values(QuantizedElements elements)
    {
        QuantizedFormat format = elements.Type.Format!;
        int inputs = elements.Type.Shape.Columns, blocks = format.BlocksOf(inputs);
        return !format.HasMinimum || format.HasZeroPoints ? elements.Values() : [.. elements.Codes.Select((code, index) =>
        {
            int block = index / inputs * blocks + index % inputs / format.BlockSize;
            return MathF.FusedMultiplyAdd(code, elements.Scales[block], elements.Minimums[block]);
        })];
    }

    private static BFloat16[] Product(EmulatedKernels kernels, QuantizedElements weight, int rows, BFloat16[] x) =>
        kernels.Run<BFloat16>(new MatMul(), [Half(rows, weight.Type.Shape.Columns), weight.Type], x, Packed(weight));

    private static BFloat16[] Plain(EmulatedKernels kernels, QuantizedElements weight, int rows, BFloat16[] x) =>
        kernels.Run<BFloat16>(new MatMul(),
            [Half(rows, weight.Type.Shape.Columns), new TensorType(DataType.BFloat16, weight.Type.Shape, Storage.Weight)],
            x, Array.ConvertAll(Values(weight), value => (BFloat16)value));

    /// <summary>The words of a weight as they lie on a card.</summary>
    internal static Array Packed(QuantizedElements elements)
    {
        QuantizedWeightLayout layout = QuantizedWeightLayout.Of(elements.Type);
        byte[] bytes = new byte[layout.BytesOf(elements.Type.Shape.Rows)];
        layout.Pack(elements.Codes, elements.Scales, elements.Minimums, elements.Type.Shape.Rows, bytes);
        int[] words = new int[bytes.Length / 4];
        Buffer.BlockCopy(bytes, 0, words, 0, bytes.Length);
        return words;
    }

    private static int[] Words(Device device, Tensor tensor)
    {
        int[] words = new int[device.StorageBytes(tensor.Type) / 4];
        device.Download(new Tensor(tensor.Memory, tensor.ByteOffset, TensorType.Int32(words.Length)),
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(words.AsSpan()));
        return words;
    }

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    private static BFloat16[] Random(int seed, int count) =>
        [.. Numbers.Random(seed, count).Select(value => (BFloat16)value)];
}
