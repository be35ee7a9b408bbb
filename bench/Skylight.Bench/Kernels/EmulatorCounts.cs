using System.Runtime.InteropServices;
using System.Text.Json;
using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>
/// What kernels do to memory, counted by the emulator at the catalog's shapes: bytes beside the fewest that the op
/// allows, sectors beside the bytes asked for, bank conflicts. These numbers follow from the kernel alone; no time is
/// among them.
/// </summary>
internal static unsafe class EmulatorCounts
{
    private const int SectorBytes = 32;

    // What the emulator runs in seconds. Larger workloads are counted when they are named.
    private const double MostFlops = 2e8, MostBytes = 2e7;

    private sealed record Row(string Workload, string Kernel, double LeastBytes, Counters Counters);

    /// <summary>The layout that simtCountersRead writes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Counters
    {
        public ulong Launches, Blocks, LoadRequests, LoadSectors, LoadBytes, StoreRequests, StoreSectors, StoreBytes,
            AtomicRequests;
        public ulong SharedLoadRequests, SharedLoadTransactions, SharedStoreRequests, SharedStoreTransactions,
            SharedAtomicRequests, BankConflicts;
        public ulong MatrixInstructions, WarpgroupInstructions, Barriers, BulkCopies, BulkLoadBytes, BulkStoreBytes;
    }

    /// <summary>Counts, prints and writes the results.</summary>
    /// <param name="filter">Only workloads whose name contains it; null for all, which alone writes the results.</param>
    public static int Run(string? filter)
    {
        Workload[] workloads =
            [.. Catalog.All.Where(workload => filter is null
                || workload.Name.Contains(filter, StringComparison.Ordinal))
                    .Select(workload => workload.ForActivations(DataType.BFloat16))];
        if (workloads.Length == 0)
        {
            Console.Error.WriteLine(
                $"No workload's name contains '{filter}'. There are: {string.Join(", ", Catalog.All.Select(workload => workload.Name))}.");
            return 2;
        }

        using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
        nint library = NativeLibrary.Load(device.Libraries.DriverPath);
        Configure(library, "counters", "on");
        Console.WriteLine(
            $"{"workload",-44} {"kernel",-32} {"launches",8} {"bytes",12} {"/ least",8} {"sectors",8} {"conflicts",10}");
        var rows = new List<Row>();
        var leftOut = new List<string>();
        foreach (Workload workload in workloads)
        {
            TensorType[] types = [.. workload.Inputs.Select(input => input.Type)];
            OpCost cost = workload.Op.Cost(types, workload.Op.Infer(types));
            if (filter is null && (cost.Flops > MostFlops || cost.Bytes > MostBytes))
            {
                leftOut.Add(workload.Name);
                continue;
            }

            foreach (Row row in Count(device, library, workload))
            {
                rows.Add(row);
                Counters counters = row.Counters;
                Console.WriteLine(
                    FormattableString.Invariant(
                        $"{row.Workload,-44} {row.Kernel,-32} {counters.Launches,8} {Bytes(counters),12} {Bytes(counters) / row.LeastBytes,8:F2} {SectorShare(counters),8:P0} {counters.BankConflicts,10}"));
            }
        }

        if (leftOut.Count > 0)
            Console.WriteLine($"Left out as too large for the emulator, unless named: {string.Join(", ", leftOut)}.");
        if (filter is null)
            BenchmarkReport.Write("simt-counters.json", "counters", json => Write(json, rows, leftOut, device));
        return 0;
    }

    private static List<Row> Count(CudaDevice device, nint library, Workload workload)
    {
        CudaKernelDescription description = CudaBindings.Standard.Describe(workload.Op,
            [.. workload.Inputs.Select(input => input.Type)], device.Target);
        using var arm = new KernelArm("simt", device, timer: null, workload);
        device.Synchronize();
        Check(((delegate* unmanaged<int>)NativeLibrary.GetExport(library, "simtCountersReset"))(), "simtCountersReset");
        arm.Run();
        device.Synchronize();
        string[] kernels = [.. description.Launches.Select(launch => launch.EntryPoint).Distinct()];
        return [.. kernels.Select(kernel => new Row(workload.Name, kernel, arm.Cost.Bytes, Read(library, kernel)))];
    }

    private static Counters Read(nint library, string kernel)
    {
        Counters counters;
        fixed (byte* name = System.Text.Encoding.UTF8.GetBytes(kernel + "\0"))
            Check(((delegate* unmanaged<byte*, Counters*, int>)NativeLibrary.GetExport(library, "simtCountersRead"))(
                name, &counters), $"simtCountersRead for {kernel}");
        return counters;
    }

    private static void Configure(nint library, string name, string value)
    {
        fixed (byte* first = System.Text.Encoding.UTF8.GetBytes(name + "\0"),
            second = System.Text.Encoding.UTF8.GetBytes(value + "\0"))
            Check(((delegate* unmanaged<byte*, byte*, int>)NativeLibrary.GetExport(library, "simtConfigure"))(first,
                second), $"simtConfigure {name}");
    }

    private static void Check(int result, string call)
    {
        if (result != 0)
            throw new InvalidOperationException($"{call} failed with code {result}.");
    }

    private static ulong Bytes(Counters counters) =>
        counters.LoadBytes + counters.StoreBytes + counters.BulkLoadBytes + counters.BulkStoreBytes;

    /// <summary>The part of the sectors' bytes that was asked for; above 1 where lanes of a warp share sectors.</summary>
    private static double SectorShare(Counters counters) =>
        counters.LoadSectors + counters.StoreSectors == 0 ? 1
            : (double)(counters.LoadBytes + counters.StoreBytes) / (
                SectorBytes * (counters.LoadSectors + counters.StoreSectors));

    private static void Write(Utf8JsonWriter json, List<Row> rows, List<string> leftOut, CudaDevice device)
    {
        json.WriteString("architecture", device.Target.ArchitectureName);
        json.WriteString("unit",
            "counts of the emulator at the catalog's shapes, bfloat16 activations; no time is among them. " +
            "least_bytes: what the whole op must read and write; an op of several kernels has one row for each");
        json.WriteStartArray("left_out_as_too_large");
        leftOut.ForEach(json.WriteStringValue);
        json.WriteEndArray();
        json.WriteStartArray("kernels");
        foreach (Row row in rows)
        {
            Counters counters = row.Counters;
            json.WriteStartObject();
            json.WriteString("workload", row.Workload);
            json.WriteString("kernel", row.Kernel);
            json.WriteNumber("launches", counters.Launches);
            json.WriteNumber("blocks", counters.Blocks);
            json.WriteNumber("least_bytes", row.LeastBytes);
            json.WriteNumber("load_bytes", counters.LoadBytes + counters.BulkLoadBytes);
            json.WriteNumber("store_bytes", counters.StoreBytes + counters.BulkStoreBytes);
            json.WriteNumber("sector_share", Math.Round(SectorShare(counters), 3));
            json.WriteNumber("atomics", counters.AtomicRequests);
            json.WriteNumber("bank_conflicts", counters.BankConflicts);
            json.WriteNumber("shared_transactions", counters.SharedLoadTransactions + counters.SharedStoreTransactions);
            json.WriteNumber("matrix_instructions", counters.MatrixInstructions);
            json.WriteNumber("warpgroup_instructions", counters.WarpgroupInstructions);
            json.WriteNumber("barriers", counters.Barriers);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
