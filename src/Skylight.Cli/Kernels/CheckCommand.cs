using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Workloads;
using Spectre.Console;

namespace Skylight.Cli.Kernels;

/// <summary>One row of <c>skylight kernels check</c>.</summary>
/// <param name="Workload">The workload's name.</param>
/// <param name="Quantity">What was compared.</param>
/// <param name="Error">The relative error; null where there is no number.</param>
/// <param name="Tolerance">What is allowed.</param>
/// <param name="Passed">Whether it is.</param>
/// <param name="Message">Why it could not be compared.</param>
internal sealed record CheckedQuantity(string Workload, string Quantity, double? Error, double Tolerance, bool Passed,
    string? Message);

/// <summary><c>skylight kernels check</c>: every workload and its gradients on a device against the CPU.</summary>
internal static class CheckCommand
{
    // What the emulator computes in about a second.
    private const double EmulatorFlops = 1e8, EmulatorBytes = 3e7;

    public static Command Create()
    {
        Option<string> device = DeviceOption.Create("simt");
        var filter = new Option<string?>("--filter") { Description = "Only workloads whose name contains this." };
        var all = new Option<bool>("--all")
        {
            Description = "On the emulator too, run the workloads of real models' sizes (slow).",
        };
        var json = new Option<bool>("--json") { Description = "Print the rows as JSON." };
        var command = new Command("check",
            "Run every workload and its gradients on a device and compare with the CPU.") { device, filter, all, json };
        command.SetCancellableAction((parse, cancellationToken) => Run(
            parse.GetRequiredValue(device), parse.GetValue(filter), parse.GetValue(all), parse.GetValue(json),
            cancellationToken));
        return command;
    }

    /// <summary>The catalog's workloads whose names contain a text.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static IReadOnlyList<Workload> Select(string? filter)
    {
        Workload[] selected = [.. Catalog.All.Where(workload => filter is null
            || workload.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))];
        return selected.Length > 0 ? selected
            : throw new ArgumentException(
                $"No workload's name contains '{filter}'. There are {Catalog.All.Count}, for example {Catalog.All[0].Name}.");
    }

    /// <summary>Whether a workload is small enough for the emulator.</summary>
    public static bool IsSmall(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        TensorType[] inputs = [.. workload.Inputs.Select(input => input.Type)];
        OpCost cost = workload.Op.Cost(inputs, workload.Op.Infer(inputs));
        return cost.Flops <= EmulatorFlops && cost.Bytes <= EmulatorBytes;
    }

    /// <summary>Compares one workload; a device that cannot run it gives one row that says why.</summary>
    public static IEnumerable<CheckedQuantity> Check(Workload workload, Device device)
    {
        foreach (Func<Workload, Device, IReadOnlyList<ParityRow>> check in new[]
        {
            DeviceParity.CheckForward, DeviceParity.CheckGradients,
        })
        {
            IReadOnlyList<ParityRow> rows;
            string? message = null;
            try
            {
                rows = check(workload, device);
            }
            catch (NotSupportedException exception)
            {
                rows = [];
                message = exception.Message;
            }

            if (message is not null)
                yield return new CheckedQuantity(workload.Name, "kernel", null, 0, Passed: false, message);
            foreach (ParityRow row in rows)
                yield return new CheckedQuantity(row.Workload, row.Quantity, double.IsFinite(row.Error) ? row.Error
                    : null, row.Tolerance, row.Passed, double.IsFinite(row.Error) ? null : "not a number");
        }
    }

    private static int Run(string deviceName, string? filter, bool all, bool json, CancellationToken cancellationToken)
    {
        using Device device = DeviceOption.Open(deviceName);
        IReadOnlyList<Workload> selected = Select(filter);
        Workload[] workloads = deviceName == "simt" && !all ? [.. selected.Where(IsSmall)] : [.. selected];
        var rows = new List<CheckedQuantity>();
        foreach (Workload workload in workloads)
        {
            cancellationToken.ThrowIfCancellationRequested();
            foreach (CheckedQuantity row in Check(workload, device))
            {
                rows.Add(row);
                if (!json)
                    Print(row);
            }
        }

        if (json)
            Console.WriteLine(JsonSerializer.Serialize([.. rows], KernelJson.Default.CheckedQuantityArray));
        int failed = rows.Count(row => !row.Passed);
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{device.Name}: {workloads.Length} workloads, {rows.Count} quantities, {failed} beyond their limits."));
        if (workloads.Length < selected.Count)
            Console.Error.WriteLine(
                string.Create(CultureInfo.InvariantCulture,
                    $"{selected.Count - workloads.Length} workloads of real models' sizes are too large for the emulator; --all runs them."));
        return failed == 0 ? 0 : 1;
    }

    private static void Print(CheckedQuantity row)
    {
        string error = row.Error is { } value ? value.ToString("E2", CultureInfo.InvariantCulture) : "-";
        string line = string.Create(CultureInfo.InvariantCulture,
            $"{row.Workload,-44} {row.Quantity,-22} {error,10} of {row.Tolerance:E0}  ");
        AnsiConsole.MarkupLine(
            Markup.Escape(line) + (row.Passed ? "[green]ok[/]" : $"[red]FAILS[/] {Markup.Escape(row.Message ?? "")}"));
    }
}
