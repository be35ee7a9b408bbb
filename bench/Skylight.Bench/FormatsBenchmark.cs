using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// Products with weights of the formats that stay quantised, each in turn with the same codes and a scale of its own in every
/// block, and with a loop that only reads as many bytes.
/// </summary>
internal static unsafe class FormatsBenchmark
{
    private sealed record Row(string Name, int M, bool IsCalm, double Bits, double Own, double OwnBytes, double BlockBits,
        double ByBlock, double ByBlockBytes, double Read);

    // What decodes is far larger than the caches; prefill reads its weight many times.
    private static readonly (int M, int N, int K)[] Shapes = [(1, 32768, 8192), (8, 32768, 8192), (512, 4096, 4096)];

    private static readonly (string Name, QuantizedFormat Format, QuantizedFormat ByBlock)[] Formats =
    [
        ("Q4_0", QuantizedFormat.Q4, QuantizedFormat.Q4),
        ("AWQ, 128", Zeros(128), Zeros(32)),
        ("AWQ, 128, no zeros", new(CodeType.Int4, 128, false) { HasHalfScales = true }, QuantizedFormat.Q4),
        ("Q4_K", Super(CodeType.UInt4, 32, true), new(CodeType.UInt4, 32, true)),
        ("Q5_K", Super(CodeType.UInt5, 32, true), new(CodeType.Int8, 32, true)),
        ("Q6_K", Super(CodeType.Int6, 16, false), new(CodeType.Int8, 16, false)),
        ("Q3_K", Super(CodeType.Int4, 16, false), new(CodeType.Int4, 16, false)),
        ("Q5_0", new(CodeType.Int5, 32, false) { HasHalfScales = true }, QuantizedFormat.Q8),
    ];

    /// <summary>Measures, prints and writes the results.</summary>
    /// <param name="only">Rows of activations to measure, and nothing is written; null for all.</param>
    public static int Run(string? only)
    {
        if (!QuantizedKernels.AreAvailable)
        {
            Console.Error.WriteLine($"No kernels are assembled here: {CpuAssembly.WhyNot}.");
            return 1;
        }

        Console.WriteLine($"{"format",-20} {"rows",4} {"bits",6} {"ms",8} {"GB/s",7}   {"by block",8} {"ms",8} {"GB/s",7} " +
            $"{"read",7}");
        List<Row> rows = [];
        foreach ((int M, int N, int K) in Shapes.Where(shape => only is null || only == $"{shape.M}"))
            foreach ((string name, QuantizedFormat format, QuantizedFormat byBlock) in Formats)
                rows.Add(Measure(name, format, byBlock, M, N, K));
        if (only is not null)
            return 0;
        BenchmarkReport.Write("cpu-formats.json", "formats", json =>
        {
            json.WriteString("unit", "milliseconds and GB/s of weights, medians over undisturbed rounds, arms in turn");
            json.WriteStartArray("products");
            foreach (Row row in rows)
            {
                json.WriteStartObject();
                json.WriteString("format", row.Name);
                json.WriteNumber("rows", row.M);
                json.WriteBoolean("machine_was_calm", row.IsCalm);
                foreach ((string key, double value) in ((string, double)[])[("bits", row.Bits), ("milliseconds", row.Own),
                    ("gigabytes_per_second", row.OwnBytes), ("bits_by_block", row.BlockBits),
                    ("milliseconds_by_block", row.ByBlock), ("gigabytes_per_second_by_block", row.ByBlockBytes),
                    ("read_gigabytes_per_second", row.Read)])
                    json.WriteNumber(key, Math.Round(value, 3));
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
        return 0;
    }

    private static QuantizedFormat Zeros(int block) =>
        new(CodeType.UInt4, block, true) { HasHalfScales = true, HasZeroPoints = true };

    private static QuantizedFormat Super(CodeType codes, int block, bool hasMinimum) =>
        new(codes, block, hasMinimum) { SuperBlockSize = 256 };

    private static Row Measure(string name, QuantizedFormat format, QuantizedFormat byBlock, int M, int N, int K)
    {
        using var x = new NativeFloats((long)M * K);
        using var y = new NativeFloats((long)M * N);
        using var device = new CpuDevice();
        var shape = new Shape(N, K);
        Tensor own = Filled(device, TensorType.Quantized(format, shape)),
            blocks = Filled(device, TensorType.Quantized(byBlock, shape));
        float* px = x.Pointer, py = y.Pointer, read = (float*)CpuMemory.Pointer(own);
        long ownBytes = device.StorageBytes(own.Type), blockBytes = device.StorageBytes(blocks.Type);
        int threads = CpuParallel.ThreadCount;
        QuantizedProduct Product(Tensor tensor) => new()
        {
            X = px,
            XRow = K,
            Panels = (byte*)CpuMemory.Pointer(tensor),
            Layout = QuantizedLayout.Of(tensor.Type),
            Y = py,
            YRow = N,
            Rows = M,
            Columns = N,
            Steps = K,
        };
        QuantizedProduct first = Product(own), second = Product(blocks);
        Measurement measured = Measurement.InTurn(31, TimeSpan.FromSeconds(4),
            new Arm(() => QuantizedGemm.Run(first, threads)), new Arm(() => QuantizedGemm.Run(second, threads)),
            new Arm(() => MachinePeak.Read(read, ownBytes / sizeof(float))));
        double elements = shape.ElementCount;
        var row = new Row(name, M, measured.IsCalm, ownBytes * 8 / elements, measured.Seconds(0) * 1e3,
            ownBytes / measured.Seconds(0) / 1e9, blockBytes * 8 / elements, measured.Seconds(1) * 1e3,
            blockBytes / measured.Seconds(1) / 1e9, ownBytes / measured.Seconds(2) / 1e9);
        own.Memory.Dispose();
        blocks.Memory.Dispose();
        Console.WriteLine($"{row.Name,-20} {M,4} {row.Bits,6:F3} {row.Own,8:F2} {row.OwnBytes,7:F1}   {row.BlockBits,8:F3} " +
            $"{row.ByBlock,8:F2} {row.ByBlockBytes,7:F1} {row.Read,7:F1}{(row.IsCalm ? "" : "  (machine busy)")}");
        return row;
    }

    /// <summary>A weight of small numbers, whatever its form.</summary>
    private static Tensor Filled(CpuDevice device, TensorType type)
    {
        Tensor tensor = device.AllocateTensor(type);
        Span<byte> bytes = CpuMemory.Span<byte>(tensor);
        for (int index = 0; index < bytes.Length; index++)
            bytes[index] = (byte)(index % 2 == 0 ? index : 0x2C);
        return tensor;
    }
}
