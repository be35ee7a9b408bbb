using System.Text.Json;
using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// y = x·W^T for one to a few rows and a bfloat16 weight, which is bound by reading the weight; beside a sum over a
/// buffer of the same size, far larger than the last cache.
/// </summary>
internal static unsafe class GemvBenchmark
{
    private const int Size = 8192;
    private const int Rounds = 101;

    private sealed record Row(int M, int Rounds, bool IsCalm, double Bandwidth, double Speed);

    /// <summary>Measures, prints and writes the results.</summary>
    public static int Run()
    {
        using var x = new NativeFloats(16 * Size);
        using var weight = new NativeFloats((long)Size * Size / 2);
        using var buffer = new NativeFloats((long)Size * Size / 2);
        using var y = new NativeFloats(16 * Size);
        float* px = x.Pointer, py = y.Pointer, pb = buffer.Pointer;
        ushort* bits = (ushort*)weight.Pointer;
        for (long i = 0; i < (long)Size * Size; i++)
            bits[i] = ((BFloat16)((i % 251 - 125) * 0.01f)).Bits;
        double bytes = (double)Size * Size * sizeof(ushort);

        Console.WriteLine($"{"rows",4} {"read",8} {"product",8} {"share",7}  GB/s of weights, medians");
        var rows = new List<Row>();
        foreach (int m in new[] { 1, 2, 4, 8, 12 })
        {
            Measurement measured = Measurement.InTurn(
                Rounds,
                () => MachinePeak.Read(pb, (long)Size * Size / 2),
                () => Gemm.MultiplyWeight(px, Size, bits, DataType.BFloat16, null, py, Size, m, Size, Size));
            var row = new Row(m, measured.Rounds, measured.IsCalm, bytes / measured.Seconds(0) / 1e9,
                bytes / measured.Seconds(1) / 1e9);
            rows.Add(row);
            Console.WriteLine(
                $"{m,4} {row.Bandwidth,8:F1} {row.Speed,8:F1} {row.Speed / row.Bandwidth,7:P1}{(row.IsCalm ? "" : "  (machine busy)")}");
        }
        BenchmarkReport.Write("cpu-gemv.json", "gemv", json => WriteRows(json, rows));
        return 0;
    }

    private static void WriteRows(Utf8JsonWriter json, List<Row> rows)
    {
        json.WriteString("weight", $"bfloat16 {Size} × {Size} in panels");
        json.WriteString("unit", "GB/s, median over the rounds in which nothing else had a core, arms in turn");
        json.WriteStartArray("products");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteNumber("rows", row.M);
            json.WriteNumber("rounds", row.Rounds);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            json.WriteNumber("read_bandwidth", Math.Round(row.Bandwidth, 1));
            json.WriteNumber("weight_bandwidth", Math.Round(row.Speed, 1));
            json.WriteNumber("share", Math.Round(row.Speed / row.Bandwidth, 3));
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }
}
