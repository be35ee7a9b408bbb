using System.Text.Json;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// y = x·W^T for one to a few rows and a weight in bfloat16, bytes, 4 bits, FP8 and NF4, which is bound by
/// reading the weight; beside a sum over a buffer far larger than the last cache.
/// </summary>
internal static unsafe class GemvBenchmark
{
    private const int Steps = 8192, Columns = 16384;
    private const int Rounds = 51;
    private static readonly string[] s_weights = ["bfloat16", "q8", "q4", "fp8", "nf4"];

    private sealed record Row(int M, int Rounds, bool IsCalm, double Bandwidth, double[] Speeds);

    /// <summary>Measures, prints and writes the results.</summary>
    public static int Run()
    {
        const int MostRows = 16;
        using var x = new NativeFloats(MostRows * Steps);
        using var y = new NativeFloats(MostRows * Columns);
        using var device = new CpuDevice();
        var shape = new Shape(Columns, Steps);
        // All of them where the models' weights are: in large pages.
        Tensor[] weights =
        [
            Filled(device, new TensorType(DataType.BFloat16, shape, Storage.Weight)),
            .. new[]
            {
                QuantizedFormat.Q8, QuantizedFormat.Q4, new(CodeType.Float8E4M3, 128, HasMinimum: false),
                new(CodeType.NormalFloat4, 64, HasMinimum: false),
            }.Select(format => Filled(device, TensorType.Quantized(format, shape))),
        ];
        double[] bytes = [.. weights.Select(tensor => (double)device.StorageBytes(tensor.Type))];
        float* px = x.Pointer, py = y.Pointer, pb = (float*)CpuMemory.Pointer(weights[0]);
        void* half = CpuMemory.Pointer(weights[0]);
        DataType compute = BFloat16Kernels.AreAvailable ? DataType.BFloat16 : DataType.Float32;

        Console.WriteLine($"{"rows",4} {"read",8}{string.Concat(s_weights.Select(name => $"{name,10} {"share",7}"))}  " +
            "GB/s of weights, medians");
        var rows = new List<Row>();
        foreach (int m in new[] { 1, 2, 4, 8, MostRows })
        {
            Measurement measured = Measurement.InTurn(
                Rounds,
                () => MachinePeak.Read(pb, (long)Steps * Columns / 2),
                () => Gemm.MultiplyWeight(px, Steps, half, DataType.BFloat16, null, py, Columns, m, Columns, Steps, compute),
                () => Multiply(weights[1], px, py, m),
                () => Multiply(weights[2], px, py, m),
                () => MultiplyCodes(weights[3], px, py, m, compute),
                () => MultiplyCodes(weights[4], px, py, m, compute));
            var row = new Row(m, measured.Rounds, measured.IsCalm, bytes[0] / measured.Seconds(0) / 1e9,
                [.. bytes.Select((size, arm) => size / measured.Seconds(arm + 1) / 1e9)]);
            rows.Add(row);
            string speeds = string.Concat(row.Speeds.Select(speed => $"{speed,10:F1} {speed / row.Bandwidth,7:P1}"));
            Console.WriteLine($"{m,4} {row.Bandwidth,8:F1}{speeds}{(row.IsCalm ? "" : "  (machine busy)")}");
        }

        BenchmarkReport.Write("cpu-gemv.json", "gemv", json => WriteRows(json, rows));
        return 0;
    }

    private static void Multiply(Tensor weight, float* x, float* y, int rows) => QuantizedGemm.Run(new QuantizedProduct
    {
        X = x,
        XRow = Steps,
        Panels = (byte*)CpuMemory.Pointer(weight),
        Layout = QuantizedLayout.Of(weight.Type),
        Y = y,
        YRow = Columns,
        Rows = rows,
        Columns = Columns,
        Steps = Steps,
    }, CpuParallel.ThreadCount);

    private static void MultiplyCodes(Tensor weight, float* x, float* y, int rows, DataType compute) =>
        Gemm.MultiplyCodes(FloatCodeLayout.Of(weight.Type)!.Value, (byte*)CpuMemory.Pointer(weight), x, null, y, Columns, rows,
            Columns, compute, CpuParallel.ThreadCount);

    private static Tensor Filled(CpuDevice device, TensorType type)
    {
        Tensor tensor = device.AllocateTensor(type);
        var bytes = new Span<byte>(CpuMemory.Pointer(tensor), checked((int)device.StorageBytes(tensor.Type)));
        for (int index = 0; index < bytes.Length; index++)
            bytes[index] = (byte)(index % 2 == 0 ? index : 0x2C);
        return tensor;
    }

    private static void WriteRows(Utf8JsonWriter json, List<Row> rows)
    {
        json.WriteString("weight", $"{Columns} × {Steps}, in panels");
        json.WriteString("unit", "GB/s, median over the rounds in which nothing else had a core, arms in turn");
        json.WriteStartArray("products");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteNumber("rows", row.M);
            json.WriteNumber("rounds", row.Rounds);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            json.WriteNumber("read_bandwidth", Math.Round(row.Bandwidth, 1));
            for (int arm = 0; arm < s_weights.Length; arm++)
            {
                json.WriteNumber($"{s_weights[arm]}_bandwidth", Math.Round(row.Speeds[arm], 1));
                json.WriteNumber($"{s_weights[arm]}_share", Math.Round(row.Speeds[arm] / row.Bandwidth, 3));
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
