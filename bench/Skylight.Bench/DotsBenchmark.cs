using System.Globalization;
using System.Text.Json;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench;

/// <summary>
/// Products with weights of bfloat16 and of codes on the processor's dot products, beside register-only loops of the same
/// instructions and the float32 kernels, all in turn. Activations are converted and packed in every call.
/// </summary>
internal static unsafe class DotsBenchmark
{
    private sealed record Row(int M, int N, int K, bool IsCalm, double PeakBFloat16, double PeakBytes, double Float32,
        double BFloat16, double Gradient, double WeightGradient, double Q8, double Q4, double Fp8, double Nf4,
        double Fp8Float32, double Nf4Float32,
        double BFloat16Bytes, double Q4Bytes, double Fp8Bytes, double Nf4Bytes);

    // Squares, the products of InternVL3-1B's language model and encoder, and rows of a decoding batch.
    private static readonly (int M, int N, int K)[] Shapes =
    [
        (1024, 1024, 1024), (2048, 2048, 2048), (512, 9728, 896), (512, 896, 4864), (512, 1152, 896), (1025, 4096, 1024),
        (16, 9728, 896), (8, 9728, 896), (1, 9728, 896), (1, 151674, 896),
    ];

    /// <summary>Measures and prints; all shapes together are written, too.</summary>
    /// <param name="only">One shape, as M×N×K; null for those above.</param>
    public static int Run(string? only)
    {
        if (!BFloat16Kernels.AreAvailable || !QuantizedKernels.AreAvailable)
        {
            Console.Error.WriteLine($"No kernels are assembled here: {CpuAssembly.WhyNot}.");
            return 1;
        }

        Console.WriteLine($"{"M×N×K",-16} {"peak bf16",9} {"peak int8",9} {"float32",8} {"bf16",8} {"of peak",8} {"dx",8} {"dW",8} " +
            $"{"q8",8} {"of peak",8} {"q4",8} {"fp8",8} {"nf4",8} {"fp8 f32",8} {"nf4 f32",8}  GFLOP/s  GB/s: {"bf16",5} {"q4",5} {"fp8",5} {"nf4",5}  medians");
        if (only is not null)
        {
            int[] sizes = Array.ConvertAll(only.Split('x', '×'), size => int.Parse(size, CultureInfo.InvariantCulture));
            Measure(sizes[0], sizes[1], sizes[2]);
            return 0;
        }

        Row[] rows = Array.ConvertAll(Shapes, shape => Measure(shape.M, shape.N, shape.K));
        BenchmarkReport.Write("cpu-dots.json", "dots", json => WriteRows(json, rows));
        return 0;
    }

    private static Row Measure(int M, int N, int K)
    {
        using var x = new NativeFloats((long)M * K);
        using var y = new NativeFloats((long)M * N);
        using var dx = new NativeFloats((long)M * K);
        using var device = new CpuDevice();
        var shape = new Shape(N, K);
        Tensor half = Filled(device, new TensorType(DataType.BFloat16, shape, Storage.Weight)),
            gradient = device.AllocateTensor(new TensorType(DataType.Float32, shape, Storage.Weight)),
            q8 = Filled(device, TensorType.Quantized(QuantizedFormat.Q8, shape)),
            q4 = Filled(device, TensorType.Quantized(QuantizedFormat.Q4, shape)),
            fp8 = Codes(device, new QuantizedFormat(CodeType.Float8E4M3, K, HasMinimum: false), shape),
            nf4 = Codes(device, new QuantizedFormat(CodeType.NormalFloat4, 64, HasMinimum: false), shape);
        float* px = x.Pointer, py = y.Pointer, pd = dx.Pointer, pg = (float*)CpuMemory.Pointer(gradient);
        void* weight = CpuMemory.Pointer(half);
        double flops = 2.0 * M * N * K;
        int repeats = Math.Max(1, (int)(4e8 / flops)), rounds = Math.Clamp((int)(1e11 / (flops * repeats)), 11, 51);
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
        QuantizedProduct ofQ8 = Product(q8), ofQ4 = Product(q4);
        int threads = CpuParallel.ThreadCount;
        void MultiplyCodes(Tensor tensor, DataType operands = DataType.BFloat16) => Gemm.MultiplyCodes(FloatCodeLayout.Of(tensor.Type)!.Value,
            (byte*)CpuMemory.Pointer(tensor), px, null, py, N, M, N, operands, threads);
        Measurement measured = Measurement.InTurn(rounds,
            () => AssembledPeak.Run(isInteger: false),
            () => AssembledPeak.Run(isInteger: true),
            () => Repeat(() => Gemm.MultiplyWeight(px, K, weight, DataType.BFloat16, null, py, N, M, N, K)),
            () => Repeat(() => Gemm.MultiplyWeight(px, K, weight, DataType.BFloat16, null, py, N, M, N, K, DataType.BFloat16)),
            () => Repeat(() => Gemm.MultiplyWeightTransposed(py, N, weight, DataType.BFloat16, pd, K, M, N, K,
                accumulate: false, DataType.BFloat16)),
            () => Repeat(() => Gemm.WeightGradient(px, K, py, N, pg, M, N, K, accumulate: false, DataType.BFloat16)),
            () => Repeat(() => QuantizedGemm.Run(ofQ8, threads)),
            () => Repeat(() => QuantizedGemm.Run(ofQ4, threads)),
            () => Repeat(() => MultiplyCodes(fp8)),
            () => Repeat(() => MultiplyCodes(nf4)),
            () => Repeat(() => MultiplyCodes(fp8, DataType.Float32)),
            () => Repeat(() => MultiplyCodes(nf4, DataType.Float32)));
        double Speed(int arm) => flops * repeats / measured.Seconds(arm) / 1e9;
        double Peak(int arm, bool isInteger) => AssembledPeak.OperationsOf(isInteger) / measured.Seconds(arm) / 1e9;
        double Bytes(Tensor tensor, int arm) => device.StorageBytes(tensor.Type) * repeats / measured.Seconds(arm) / 1e9;
        var row = new Row(M, N, K, measured.IsCalm, Peak(0, false), Peak(1, true), Speed(2), Speed(3), Speed(4), Speed(5),
            Speed(6), Speed(7), Speed(8), Speed(9), Speed(10), Speed(11), Bytes(half, 3), Bytes(q4, 7), Bytes(fp8, 8), Bytes(nf4, 9));
        foreach (Tensor tensor in (Tensor[])[half, gradient, q8, q4, fp8, nf4])
            tensor.Memory.Dispose();
        Console.WriteLine(
            $"{$"{M}×{N}×{K}",-16} {row.PeakBFloat16,9:F0} {row.PeakBytes,9:F0} {row.Float32,8:F0} {row.BFloat16,8:F0} " +
            $"{row.BFloat16 / row.PeakBFloat16,8:P0} {row.Gradient,8:F0} {row.WeightGradient,8:F0} {row.Q8,8:F0} " +
            $"{row.Q8 / row.PeakBytes,8:P0} {row.Q4,8:F0} {row.Fp8,8:F0} {row.Nf4,8:F0} {row.Fp8Float32,8:F0} {row.Nf4Float32,8:F0}                 {row.BFloat16Bytes,5:F1} " +
            $"{row.Q4Bytes,5:F1} {row.Fp8Bytes,5:F1} {row.Nf4Bytes,5:F1}{(row.IsCalm ? "" : "  (machine busy)")}");
        return row;

        void Repeat(Action action)
        {
            for (int i = 0; i < repeats; i++)
                action();
        }
    }

    /// <summary>A weight of small numbers, whatever its form.</summary>
    private static Tensor Filled(CpuDevice device, TensorType type)
    {
        Tensor tensor = device.AllocateTensor(type);
        var bytes = new Span<byte>(CpuMemory.Pointer(tensor), checked((int)device.StorageBytes(type)));
        for (int index = 0; index < bytes.Length; index++)
            bytes[index] = (byte)(index % 2 == 0 ? index : 0x2C);
        return tensor;
    }

    /// <summary>Random codes; those of 8 bits that have no leading one, of which a real weight has few, become others.</summary>
    private static Tensor Codes(CpuDevice device, QuantizedFormat format, Shape shape)
    {
        QuantizedElements elements = QuantizedElements.Random(format, shape, 1);
        for (int index = 0; format.Codes == CodeType.Float8E4M3 && index < elements.Codes.Length; index++)
        {
            if ((elements.Codes[index] & 0x78) == 0)
                elements.Codes[index] |= 0x40;
        }

        Tensor tensor = device.AllocateTensor(elements.Type);
        elements.Upload(device, tensor);
        return tensor;
    }

    private static void WriteRows(Utf8JsonWriter json, Row[] rows)
    {
        json.WriteString("unit",
            "GFLOP/s (of bytes: GOP/s), median over the rounds in which nothing else had a core, arms in turn");
        json.WriteStartArray("products");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteNumber("m", row.M);
            json.WriteNumber("n", row.N);
            json.WriteNumber("k", row.K);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            Write("peak_bfloat16", row.PeakBFloat16);
            Write("peak_bytes", row.PeakBytes);
            Write("float32", row.Float32);
            Write("bfloat16", row.BFloat16);
            Write("bfloat16_input_gradient", row.Gradient);
            Write("bfloat16_weight_gradient", row.WeightGradient);
            Write("q8", row.Q8);
            Write("q4", row.Q4);
            Write("fp8", row.Fp8);
            Write("nf4", row.Nf4);
            Write("fp8_float32", row.Fp8Float32);
            Write("nf4_float32", row.Nf4Float32);
            Write("bfloat16_gigabytes_per_second", row.BFloat16Bytes);
            Write("q4_gigabytes_per_second", row.Q4Bytes);
            Write("fp8_gigabytes_per_second", row.Fp8Bytes);
            Write("nf4_gigabytes_per_second", row.Nf4Bytes);
            json.WriteNumber("bfloat16_share_of_peak", Math.Round(row.BFloat16 / row.PeakBFloat16, 3));
            json.WriteNumber("q8_share_of_peak", Math.Round(row.Q8 / row.PeakBytes, 3));
            json.WriteEndObject();

            void Write(string name, double value) => json.WriteNumber(name, Math.Round(value, 1));
        }

        json.WriteEndArray();
    }
}
