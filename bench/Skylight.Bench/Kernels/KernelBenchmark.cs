using System.Globalization;
using System.Text.Json;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>
/// Every op at the shapes of real models on a card: the own kernels, and beside them, in turn within every round, those
/// of a device that is not deterministic (cuBLAS, other splits) where it would run something else. Beside the roofline
/// that the same run measures.
/// </summary>
internal static class KernelBenchmark
{
    private const int Rounds = 21;
    private const string Usage = "kernels [--filter NAME] [--device cuda:0] [--output PATH] [--dry-run [--compile]]";

    // What there are published figures of comes first: a card that is lent for minutes has at least those.
    private static readonly Workload[] _all = [.. KernelRecord.All.Select(record => record.Workload), .. ModelWorkloads.All];

    private sealed record Row(Workload Workload, IReadOnlyList<KernelArm> Arms, string? Skipped);

    /// <summary>Measures, prints and writes the results.</summary>
    /// <param name="arguments">What follows the verb.</param>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        string device = "cuda:0";
        string? filter = null, output = null;
        bool dryRun = false, compile = false;
        for (int index = 0; index < arguments.Length; index++)
        {
            string? next = index + 1 < arguments.Length ? arguments[index + 1] : null;
            switch (arguments[index])
            {
                case "--dry-run":
                    dryRun = true;
                    break;
                case "--compile":
                    compile = true;
                    break;
                case "--filter" when next is not null:
                    (filter, index) = (next, index + 1);
                    break;
                case "--device" when next is not null:
                    (device, index) = (next, index + 1);
                    break;
                case "--output" when next is not null:
                    (output, index) = (next, index + 1);
                    break;
                default:
                    return Refuse($"'{arguments[index]}' is not understood, or its value is missing.");
            }
        }

        Workload[] workloads =
            [.. _all.Where(workload => filter is null
                || workload.Name.Contains(filter, StringComparison.Ordinal))
                    .Select(workload => workload.ForActivations(DataType.BFloat16))];
        if (workloads.Length == 0)
            return Refuse(
                $"No workload's name contains '{filter}'. There are: {string.Join(", ", _all.Select(workload => workload.Name))}.");
        if (dryRun)
            return KernelDescriptions.Print(workloads, compile);
        if (compile)
            return Refuse("--compile goes with --dry-run: a measurement compiles what it runs.");
        if (device == "simt")
            return Refuse(
                "Emulator time is never GPU time: the emulator is not timed. Its counters are: the verb 'counters'. " +
                "What would run on a card: --dry-run.");
        if (!device.StartsWith("cuda:", StringComparison.Ordinal)
            || !int.TryParse(device.AsSpan("cuda:".Length), NumberStyles.None, CultureInfo.InvariantCulture,
                out int ordinal))
            return Refuse($"There is no card '{device}': give cuda:0 or another number.");
        try
        {
            return Measure(workloads, ordinal, filter, output);
        }
        catch (CudaException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }

    /// <summary>The median.</summary>
    public static double Median(IReadOnlyCollection<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static int Refuse(string message)
    {
        Console.Error.WriteLine(message);
        Console.Error.WriteLine($"Usage: {Usage}");
        return 2;
    }

    private static int Measure(Workload[] workloads, int ordinal, string? filter, string? output)
    {
        using var own = new CudaDevice(new CudaDeviceOptions { Ordinal = ordinal });
        using var library = new CudaDevice(new CudaDeviceOptions { Ordinal = ordinal, Deterministic = false });
        using var ownTimer = new ColdTimer(own, ordinal);
        using var libraryTimer = new ColdTimer(library, ordinal);
        CardPeak peak = CardPeak.Measure(own, ownTimer, library, libraryTimer, Rounds);
        Console.WriteLine(
            FormattableString.Invariant(
                $"{own.CardName}: copy {peak.BytesPerSecond / 1e9:F0} GB/s read and written; cuBLAS bfloat16 product {(peak.FlopsPerSecond is { } flops ? FormattableString.Invariant($"{flops / 1e12:F0} TFLOP/s") : $"not measured: {peak.WhyNoFlops}")}"));
        Console.WriteLine($"{"workload",-56} {"arm",-8} {"ms",9} {"TFLOP/s",8} {"GB/s",7} {"roofline",9}");
        var rows = new List<Row>();
        bool lost = false;
        foreach (Workload workload in workloads)
        {
            Row row;
            try
            {
                row = Measure(workload, own, ownTimer, library, libraryTimer);
            }
            catch (Exception exception)
                when (exception is OutOfDeviceMemoryException or NotSupportedException or CudaException or ArgumentException)
            {
                row = new Row(workload, [], $"{exception.GetType().Name}: {exception.Message}");
                lost = exception is CudaException { Code: var code } && Skylight.Cuda.Interop.Driver.IsLasting(code);
            }

            rows.Add(row);
            Print(row, peak);
            // After every workload: what was measured is not lost with a card that hangs later.
            if (filter is null || output is not null)
                BenchmarkReport.Write("cuda-kernels.json", "kernels", json => Write(json, rows, own, ownTimer, peak),
                    output, announce: rows.Count == workloads.Length || lost);
            if (lost)
            {
                Console.Error.WriteLine(
                    $"The card's context is lost after {workload.Name}; {workloads.Length - rows.Count} workloads were not run. Run them with --filter.");
                break;
            }
        }

        PrintRecords(rows);
        return rows.Any(row => row.Skipped is not null) ? 1 : 0;
    }

    /// <summary>What is furthest from its target first: there is most to be had.</summary>
    private static void PrintRecords(List<Row> rows)
    {
        (KernelRecord Record, double Figure)[] figures =
            [.. from row in rows
                from arm in row.Arms
                where arm.Name == "own"
                join record in KernelRecord.All on row.Workload.Name equals record.Workload.Name
                let figure = record.Figure(Median(arm.Times))
                orderby figure / record.Target
                select (record, figure)];
        foreach ((KernelRecord record, double figure) in figures)
            Console.WriteLine(FormattableString.Invariant(
                $"{record.Kernel,-28} {figure,8:0.##} {record.Unit,-8} {figure / record.Target,6:P0} of the target {record.Target:0.##}, {figure / record.Published,6:P0} of {record.Published:0.##} ({record.Source})"));
    }

    private static Row Measure(Workload workload, CudaDevice own, ColdTimer ownTimer, CudaDevice library,
        ColdTimer libraryTimer)
    {
        TensorType[] types = [.. workload.Inputs.Select(input => input.Type)];
        bool same = KernelDescriptions.AsText(CudaBindings.Standard.Describe(workload.Op, types,
            own.Target)) == KernelDescriptions.AsText(CudaBindings.Standard.Describe(workload.Op, types, library.Target));
        using var first = new KernelArm("own", own, ownTimer, workload);
        using KernelArm? second = same ? null : new KernelArm("library", library, libraryTimer, workload);
        KernelArm[] arms = second is null ? [first] : [first, second];
        foreach (KernelArm arm in arms)
            arm.WarmUp();
        for (int round = 0; round < Rounds; round++)
        {
            foreach (KernelArm arm in arms)
                arm.Time();
        }

        return new Row(workload, arms, null);
    }

    private static void Print(Row row, CardPeak peak)
    {
        foreach (KernelArm arm in row.Arms)
        {
            double seconds = Median(arm.Times);
            Console.WriteLine(
                FormattableString.Invariant(
                    $"{row.Workload.Name,-56} {arm.Name,-8} {seconds * 1e3,9:F4} {arm.Cost.Flops / seconds / 1e12,8:F1} {arm.Cost.Bytes / seconds / 1e9,7:F0} {peak.LeastSeconds(arm.Cost) / seconds,9:P0}"));
        }

        if (row.Skipped is not null)
            Console.WriteLine($"{row.Workload.Name,-56} skipped: {row.Skipped}");
    }

    private static void Write(Utf8JsonWriter json, List<Row> rows, CudaDevice device, ColdTimer timer, CardPeak peak)
    {
        json.WriteString("device", device.CardName);
        json.WriteString("architecture", device.Target.ArchitectureName);
        json.WriteString("warpgroups", device.Target.HasHopperInstructions ? device.WarpgroupsOff ?? "used" : "none");
        json.WriteNumber("multiprocessors", device.Target.MultiprocessorCount);
        json.WriteString("driver", DriverVersion());
        json.WriteString("nvrtc", device.Libraries.NvrtcVersion.ToString());
        json.WriteNumber("rounds", Rounds);
        json.WriteString("method",
            "median of the time between two events on the stream; the level-2 cache is overwritten before every run; " +
            "the arms alternate within a round; operands of bfloat16 as on the device");
        json.WriteNumber("level2_bytes", timer.Level2Bytes);
        json.WriteNumber("cleared_bytes", timer.ClearedBytes);
        json.WriteNumber("copy_gbs", Math.Round(peak.BytesPerSecond / 1e9, 1));
        if (peak.FlopsPerSecond is { } flops)
            json.WriteNumber("cublas_product_tflops", Math.Round(flops / 1e12, 1));
        else
            json.WriteString("cublas_product_not_measured", peak.WhyNoFlops);
        json.WriteString("roofline",
            "the longer of flops at cuBLAS's 8192 × 8192 × 8192 product and fewest bytes at the speed of a copy of 2 " +
            "GiB (read and written), over the median");
        json.WriteStartArray("workloads");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("workload", row.Workload.Name);
            if (row.Skipped is not null)
                json.WriteString("skipped", row.Skipped);
            if (row.Arms.Count > 0)
            {
                json.WriteNumber("flops", row.Arms[0].Cost.Flops);
                json.WriteNumber("bytes", row.Arms[0].Cost.Bytes);
            }

            foreach (KernelArm arm in row.Arms)
            {
                double seconds = Median(arm.Times);
                json.WriteStartObject(arm.Name);
                json.WriteNumber("ms", Math.Round(seconds * 1e3, 5));
                json.WriteNumber("ms_least", Math.Round(arm.Times.Min() * 1e3, 5));
                json.WriteNumber("ms_most", Math.Round(arm.Times.Max() * 1e3, 5));
                json.WriteNumber("tflops", Math.Round(arm.Cost.Flops / seconds / 1e12, 2));
                json.WriteNumber("gbs", Math.Round(arm.Cost.Bytes / seconds / 1e9, 1));
                if (peak.LeastSeconds(arm.Cost) is { } least)
                    json.WriteNumber("roofline_share", Math.Round(least / seconds, 3));
                json.WriteNumber("memory_bytes", arm.MemoryBytes);
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static string DriverVersion()
    {
        const string Source = "/proc/driver/nvidia/version";
        return File.Exists(Source) ? File.ReadLines(Source).First() : "unknown";
    }
}
