using System.Text.Json;
using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// float32 y = x·W^T with the weight in panels, as the models call it, beside a register-only multiply-add loop
/// and OpenBLAS (plain row-major C = A·B, which packs its right operand itself; ours lies packed since it was loaded).
/// "Unpacked" is our product of two row-major matrices, which packs as OpenBLAS does.
/// </summary>
internal static unsafe class GemmBenchmark
{
    private sealed record Row(int M, int N, int K, int Rounds, bool IsCalm, double Peak, double Weight, double Unpacked,
        double? OpenBlas);

    // The square sizes, then layers of a small model (rows = tokens of a batch).
    private static readonly (int M, int N, int K)[] Shapes =
    [
        (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048),
        (4096, 384, 128), (4096, 128, 384), (1024, 128, 128), (64, 1024, 1024), (8, 1024, 1024),
    ];

    /// <summary>Measures, prints and writes the results.</summary>
    public static int Run()
    {
        Console.WriteLine(OpenBlas.IsAvailable ? $"OpenBLAS: {OpenBlas.Description}"
            : "OpenBLAS: not found (Debian: apt-get install libopenblas0); left out");
        if (OpenBlas.Variables.Length > 0)
            Console.WriteLine($"Not its own choice of kernels: {OpenBlas.Variables}. Unset these for a fair comparison.");
        Console.WriteLine(
            $"{"M×N×K",-16} {"peak",8} {"weight",8} {"of peak",8} {"unpacked",9} {"OpenBLAS",9} {"ratio",6} {"unp.",6}  GFLOP/s, medians");
        Row[] rows = Array.ConvertAll(Shapes, shape => Measure(shape.M, shape.N, shape.K));
        BenchmarkReport.Write("cpu-gemm.json", "gemm", json => WriteRows(json, rows));
        return 0;
    }

    private static Row Measure(int M, int N, int K)
    {
        using var x = new NativeFloats((long)M * K);
        using var weight = new NativeFloats((long)N * K);
        using var panels = new NativeFloats(WeightPanels.ElementCount(N, K));
        using var y = new NativeFloats((long)M * N);
        float* px = x.Pointer, pw = weight.Pointer, pp = panels.Pointer, py = y.Pointer;
        double flops = 2.0 * M * N * K;
        // Small products repeat within a measurement, so that the clock's and the threads' start weigh little.
        int repeats = Math.Max(1, (int)(2e8 / flops));
        int rounds = Math.Clamp((int)(1.5e11 / (flops * repeats)), 15, 101);

        var arms = new List<Action>
        {
            () => Repeat(repeats, () => Gemm.MultiplyWeight(px, K, pp, DataType.Float32, null, py, N, M, N, K)),
            () => Repeat(repeats, () => Gemm.Multiply(px, K, false, pw, N, false, py, N, M, N, K, false)),
        };
        if (OpenBlas.IsAvailable)
            arms.Add(() => Repeat(repeats, () => OpenBlas.Multiply(px, pw, py, M, N, K)));
        Measurement measured = Measurement.InTurn(rounds, [.. arms]);

        double Speed(int arm) => flops * repeats / measured.Seconds(arm) / 1e9;
        var row = new Row(
            M, N, K, measured.Rounds, measured.IsCalm, measured.PeakFlops / 1e9, Speed(0), Speed(1),
            OpenBlas.IsAvailable ? Speed(2) : null);
        Console.WriteLine(
            $"{$"{M}×{N}×{K}",-16} {row.Peak,8:F1} {row.Weight,8:F1} {row.Weight / row.Peak,8:P1} {row.Unpacked,9:F1} " +
            $"{row.OpenBlas,9:F1} {row.Weight / row.OpenBlas,6:F2} {row.Unpacked / row.OpenBlas,6:F2}{(row.IsCalm ? "" : "  (machine busy)")}");
        return row;
    }

    private static void Repeat(int repeats, Action action)
    {
        for (int i = 0; i < repeats; i++)
            action();
    }

    private static void WriteRows(Utf8JsonWriter json, Row[] rows)
    {
        json.WriteString("openblas", OpenBlas.IsAvailable ? OpenBlas.Description : "not found");
        json.WriteString("openblas_variables", OpenBlas.Variables);
        json.WriteString("unit", "GFLOP/s, median over the rounds in which nothing else had a core, arms in turn");
        json.WriteStartArray("products");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteNumber("m", row.M);
            json.WriteNumber("n", row.N);
            json.WriteNumber("k", row.K);
            json.WriteNumber("rounds", row.Rounds);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            json.WriteNumber("fma_peak", Math.Round(row.Peak, 1));
            json.WriteNumber("weight_in_panels", Math.Round(row.Weight, 1));
            json.WriteNumber("weight_in_panels_share_of_peak", Math.Round(row.Weight / row.Peak, 3));
            json.WriteNumber("unpacked", Math.Round(row.Unpacked, 1));
            if (row.OpenBlas is double openBlas)
            {
                json.WriteNumber("openblas", Math.Round(openBlas, 1));
                json.WriteNumber("weight_in_panels_over_openblas", Math.Round(row.Weight / openBlas, 2));
                json.WriteNumber("unpacked_over_openblas", Math.Round(row.Unpacked / openBlas, 2));
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }
}
