using System.Text.Json;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench;

/// <summary>
/// Every op at its real shapes, beside the roofline of the machine: the longer of its floating-point operations at the
/// FMA peak and its fewest bytes at the read bandwidth, both measured in the same run. Operands that stay in a cache
/// can beat it.
/// </summary>
internal static unsafe class OpBenchmark
{
    private const int Rounds = 15;
    private const long BandwidthFloats = 64L << 20;

    private sealed record Row(string Workload, double Milliseconds, double GigaflopsPerSecond,
        double GigabytesPerSecond, double RooflineShare, bool IsCalm);

    /// <summary>Measures, prints and writes the results.</summary>
    /// <param name="filter">Only workloads whose name contains it; null for all, which alone writes the results.</param>
    public static int Run(string? filter)
    {
        Workload[] workloads = [.. Catalog.All.Where(workload => !workload.Tiny
            && (filter is null || workload.Name.Contains(filter, StringComparison.Ordinal)))];
        if (workloads.Length == 0)
        {
            Console.Error.WriteLine(
                $"No workload's name contains '{filter}'. There are: {string.Join(", ", Catalog.All.Where(workload => !workload.Tiny).Select(workload => workload.Name))}.");
            return 2;
        }

        (double peak, double bandwidth) = MeasureMachine();
        Console.WriteLine($"FMA peak {peak / 1e9:F0} GFLOP/s, read bandwidth {bandwidth / 1e9:F1} GB/s");
        Console.WriteLine($"{"workload",-44} {"ms",9} {"GFLOP/s",9} {"GB/s",8} {"roofline",9}");
        var rows = new List<Row>();
        foreach (Workload workload in workloads)
        {
            Row row = Measure(workload, peak, bandwidth);
            rows.Add(row);
            Console.WriteLine(
                $"{row.Workload,-44} {row.Milliseconds,9:F3} {row.GigaflopsPerSecond,9:F1} {row.GigabytesPerSecond,8:F1} {row.RooflineShare,9:P0}{(row.IsCalm ? "" : "  (machine busy)")}");
        }

        if (filter is null)
            BenchmarkReport.Write("cpu-ops.json", "ops", json => WriteRows(json, rows, peak, bandwidth));
        return 0;
    }

    private static (double Peak, double Bandwidth) MeasureMachine()
    {
        using var buffer = new NativeFloats(BandwidthFloats);
        float* pointer = buffer.Pointer;
        Measurement measured = Measurement.InTurn(Rounds, () => MachinePeak.Read(pointer, BandwidthFloats));
        return (measured.PeakFlops, BandwidthFloats * sizeof(float) / measured.Seconds(0));
    }

    private static Row Measure(Workload workload, double peak, double bandwidth)
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var graph = new Graph();
        PersistentTensor[] operands = [.. workload.Inputs.Select((operand, index) => Bind(device, operand, index))];
        IReadOnlyList<Value> outputs = graph.AddNode(workload.Op, [.. operands.Select(graph.Persistent)]);
        for (int index = 0; index < outputs.Count; index++)
            graph.Output($"output{index}", outputs[index]);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        Measurement measured = Measurement.InTurn(Rounds, () => executor.Run());
        double seconds = measured.Seconds(0);
        foreach (PersistentTensor operand in operands)
            operand.Tensor.Memory.Dispose();
        OpCost cost = graph.Nodes[0].Cost;
        double roofline = Math.Max(cost.Flops / peak, cost.Bytes / bandwidth);
        return new Row(workload.Name, seconds * 1e3, cost.Flops / seconds / 1e9, cost.Bytes / seconds / 1e9,
            roofline / seconds, measured.IsCalm);
    }

    private static PersistentTensor Bind(CpuDevice device, Operand operand, int index)
    {
        var tensor = new PersistentTensor($"operand{index}", operand.Type);
        device.Bind(tensor);
        if (operand.Codes is { } codes)
        {
            codes(index + 1).Upload(device, tensor.Tensor);
            return tensor;
        }

        switch (operand.Fill(index + 1))
        {
            case float[] values:
                PersistentTensors.Write(device, tensor, values);
                break;
            case int[] values:
                device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes<int>(values), tensor.Tensor);
                break;
        }

        return tensor;
    }

    private static void WriteRows(Utf8JsonWriter json, List<Row> rows, double peak, double bandwidth)
    {
        json.WriteString("unit",
            "median over the rounds in which nothing else had a core; roofline: the longer of flops at the FMA peak " +
            "and fewest bytes at the read bandwidth, over the median");
        json.WriteNumber("fma_peak_gflops", Math.Round(peak / 1e9));
        json.WriteNumber("read_bandwidth_gbs", Math.Round(bandwidth / 1e9, 1));
        json.WriteStartArray("workloads");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("workload", row.Workload);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            json.WriteNumber("ms", Math.Round(row.Milliseconds, 4));
            json.WriteNumber("gflops", Math.Round(row.GigaflopsPerSecond, 1));
            json.WriteNumber("gbs", Math.Round(row.GigabytesPerSecond, 1));
            json.WriteNumber("roofline_share", Math.Round(row.RooflineShare, 3));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
