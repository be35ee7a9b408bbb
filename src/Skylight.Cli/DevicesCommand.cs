using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Tensors;

namespace Skylight.Cli;

/// <summary>The processor.</summary>
/// <param name="Name">The device's name.</param>
/// <param name="Architecture">The instruction set.</param>
/// <param name="Threads">How many threads it runs at once.</param>
/// <param name="VectorBits">The width of the vectors that kernels use.</param>
/// <param name="MachineVectorBits">The width of the widest fast vectors that the machine has.</param>
/// <param name="MemoryBytes">What plans may use.</param>
/// <param name="Compute">What products with bfloat16 weights round their operands to, unless told otherwise.</param>
/// <param name="AssembledKernels">What matrix kernels are assembled for: bfloat16, int8; empty for nothing.</param>
/// <param name="WhyNotAssembled">Why there are none, or not all.</param>
internal sealed record ProcessorInfo(string Name, string Architecture, int Threads, int VectorBits,
    int MachineVectorBits, long MemoryBytes, string Compute, IReadOnlyList<string> AssembledKernels, string? WhyNotAssembled);

/// <summary>What <c>skylight devices --json</c> prints.</summary>
/// <param name="Cpu">The processor.</param>
/// <param name="Cuda">CUDA and its cards.</param>
/// <param name="Simt">The emulator.</param>
internal sealed record DeviceList(ProcessorInfo Cpu, CudaInstallation Cuda, CudaInstallation Simt);

/// <summary><c>skylight devices</c>: what <c>--device</c> can be given on this machine, and why not more.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Print the list as JSON." };
        var verbose = new Option<bool>("--verbose",
            "-v")
        { Description = "Also say which libraries were found, where, and what was tried." };
        var command = new Command("devices",
            "List what can be given to --device: the CPU, the CUDA cards and the emulator, or why they cannot be used.") { json, verbose };
        command.SetAction((parse, _) => Task.FromResult(Run(parse.GetValue(json), parse.GetValue(verbose))));
        return command;
    }

    private static int Run(bool json, bool verbose)
    {
        DeviceList list = Find();
        Console.Write(json ? JsonSerializer.Serialize(list, DeviceJson.Default.DeviceList) + "\n" : Format(list, verbose));
        return 0;
    }

    private static DeviceList Find()
    {
        using var cpu = new CpuDevice();
        var processor = new ProcessorInfo(
            cpu.Name, $"{RuntimeInformation.ProcessArchitecture}", Environment.ProcessorCount, CpuVectors.Bits,
            CpuVectors.MachineBits, cpu.MemoryBytes, cpu.Compute == DataType.BFloat16 ? "bfloat16" : "float32",
            CpuAssembly.Kernels, CpuAssembly.WhyNot);
        return new DeviceList(processor, CudaDevices.Find(), CudaDevices.FindSimulated());
    }

    private static string Format(DeviceList list, bool verbose)
    {
        var lines = new List<string>
        {
            string.Create(CultureInfo.InvariantCulture,
                $"cpu      {list.Cpu.Architecture}, {list.Cpu.Threads} threads, {Vectors(list.Cpu)}, {Kernels(list.Cpu)}, {Gigabytes(list.Cpu.MemoryBytes)}"),
        };
        AddCards(lines, "cuda", list.Cuda, verbose);
        if (verbose)
        {
            lines.Add(Library("driver", list.Cuda.Driver, "up to CUDA "));
            lines.Add(Library("NVRTC", list.Cuda.Nvrtc, ""));
            lines.Add(Library("cuBLAS", list.Cuda.Cublas, ""));
        }

        AddCards(lines, "simt", list.Simt, verbose);
        if (verbose && list.Simt.Driver.Path is { } path)
            lines.Add($"         {path}");
        if (!verbose && (list.Cuda.Problem ?? list.Simt.Problem) is not null)
            lines.Add("Libraries, and what was tried: skylight devices --verbose");
        return string.Join('\n', lines) + "\n";
    }

    private static string Kernels(ProcessorInfo cpu) =>
        (cpu.AssembledKernels.Count > 0 ? $"kernels assembled for {string.Join(" and ", cpu.AssembledKernels)}"
            : "managed kernels") + (cpu.WhyNotAssembled is { } why ? $" ({why})" : "");

    private static string Vectors(ProcessorInfo cpu) => string.Create(
        CultureInfo.InvariantCulture,
        $"{cpu.VectorBits}-bit vectors{(cpu.MachineVectorBits > cpu.VectorBits ? $" (the machine has {cpu.MachineVectorBits}-bit ones)" : "")}");

    private static void AddCards(List<string> lines, string name, CudaInstallation installation, bool verbose)
    {
        foreach (CudaCardInfo card in installation.Cards)
        {
            string free = card.FreeBytes is { } bytes ? $"{Gigabytes(bytes)} of {Gigabytes(card.TotalBytes)} free"
                : Gigabytes(card.TotalBytes);
            string device = name == "simt" ? name : string.Create(CultureInfo.InvariantCulture, $"{name}:{card.Ordinal}");
            string line = string.Create(CultureInfo.InvariantCulture,
                $"{device,-8} {card.Name}, {card.Architecture}, {card.MultiprocessorCount} multiprocessors, {free}");
            lines.Add(verbose || card.Problem is null ? line : $"{line}; cannot be used: {FirstLine(card.Problem)}");
            if (verbose && card.CompiledFor is { } compiledFor)
                lines.Add($"         kernels: {Form(card, compiledFor)}");
            if (verbose && card.Problem is { } problem)
                lines.Add(Indented($"cannot be used: {problem}"));
        }

        if (installation.Cards.Count > 0)
            return;
        string why = installation.Problem ?? installation.Driver.Problem ?? "no card is visible";
        // In the long list the driver's own line says why there is none.
        lines.Add($"{name,-8} none: " + (!verbose ? FirstLine(why) : installation.Driver.Problem is null
            || name == "simt" ? Indented(why).TrimStart() : "there is no driver"));
    }

    private static string FirstLine(string problem)
    {
        string line = problem.Split('\n')[0].TrimEnd();
        // What was tried is a list below.
        return line.EndsWith(" Tried:", StringComparison.Ordinal) ? line[..^" Tried:".Length] : line;
    }

    private static string Form(CudaCardInfo card, string compiledFor) => compiledFor == card.Architecture
        ? $"machine code for {compiledFor}"
        : $"PTX of {compiledFor}, which the driver translates, because NVRTC does not know {card.Architecture}";

    private static string Library(string name, CudaLibraryInfo library, string versionPrefix) =>
        library.Problem is { } problem
        ? Indented($"{name}: {problem}")
        : $"         {name}: {library.Path}{(library.Version is { } version ? $", {versionPrefix}{version}" : "")}";

    private static string Indented(string text) => "         " + text.Replace("\n", "\n         ", StringComparison.Ordinal);

    private static string Gigabytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F1} GB");
}

/// <summary>How the list is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(DeviceList))]
internal sealed partial class DeviceJson : JsonSerializerContext;
