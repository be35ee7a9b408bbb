using System.Globalization;
using System.Text.RegularExpressions;

namespace Skylight.Cuda;

/// <summary>What the assembler says of one entry point.</summary>
/// <param name="EntryPoint">The kernel.</param>
/// <param name="Registers">Registers of a thread.</param>
/// <param name="SpillStoreBytes">Bytes that a thread writes because registers were not enough.</param>
/// <param name="SpillLoadBytes">Bytes that a thread reads because registers were not enough.</param>
/// <param name="StackBytes">The stack frame of a thread.</param>
/// <param name="StaticSharedBytes">Shared memory besides the dynamic one of a launch.</param>
public sealed record KernelResources(string EntryPoint, int Registers, int SpillStoreBytes, int SpillLoadBytes,
    int StackBytes, int StaticSharedBytes);

/// <summary>A compiled variant.</summary>
/// <param name="Variant">What was compiled.</param>
/// <param name="Image">The machine code (a cubin), or PTX with a zero at its end where
/// <see cref="KernelVariant.IsPtx"/>; to be loaded as a module.</param>
/// <param name="Log">What the compiler said: warnings, and the assembler's report.</param>
public sealed partial record CompiledKernels(KernelVariant Variant, ReadOnlyMemory<byte> Image, string Log)
{
    /// <summary>
    /// The assembler's figures for each entry point, from the log; none for PTX, or from a compiler that does not
    /// report them (the emulator's).
    /// </summary>
    public IReadOnlyList<KernelResources> Resources => ParseResources(Log);

    private static List<KernelResources> ParseResources(string log)
    {
        var resources = new List<KernelResources>();
        string? entryPoint = null;
        int stack = 0, stores = 0, loads = 0;
        foreach (string line in log.Split('\n'))
        {
            if (EntryLine().Match(line) is { Success: true } entry)
            {
                (entryPoint, stack, stores, loads) = (entry.Groups[1].Value, 0, 0, 0);
            }
            else if (FrameLine().Match(line) is { Success: true } frame)
            {
                (stack, stores, loads) = (Number(frame.Groups[1]), Number(frame.Groups[2]), Number(frame.Groups[3]));
            }
            else if (entryPoint is not null && RegisterLine().Match(line) is { Success: true } registers)
            {
                Match shared = SharedPart().Match(line);
                resources.Add(new KernelResources(entryPoint, Number(registers.Groups[1]), stores, loads, stack,
                    shared.Success ? Number(shared.Groups[1]) : 0));
                entryPoint = null;
            }
        }

        return resources;
    }

    private static int Number(Group group) => int.Parse(group.ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"Compiling entry function '([^']+)'")]
    private static partial Regex EntryLine();

    [GeneratedRegex(@"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex FrameLine();

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex RegisterLine();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex SharedPart();
}
