using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>
/// Asks for 2 MiB pages where the system hands them out on request only (Linux, transparent huge pages at 'madvise'). Weights are streamed once for every
/// token: with pages of 4 KiB the processor's prefetcher stops at each page's end and looks the next one up.
/// </summary>
internal static unsafe partial class HugePages
{
    private const nuint Size = 2 << 20;
    private const int UseHugePages = 14;

    /// <summary>The alignment at which memory of so many bytes gains from large pages: theirs, or that of a cache line if it is too small.</summary>
    public static nuint AlignmentFor(long bytes) => OperatingSystem.IsLinux() && bytes >= (long)Size ? Size : 64;

    /// <summary>Asks for whole large pages only, so that no memory is reserved beyond what was asked for. To be called before the memory is written.</summary>
    public static void Request(void* memory, long bytes)
    {
        if (AlignmentFor(bytes) != Size || (nuint)memory % Size != 0)
            return;
        try
        {
            // What it answers does not matter: without large pages memory works as well.
            _ = Advise(memory, (nuint)bytes / Size * Size, UseHugePages);
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException)
        {
            // A system with another C library.
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
