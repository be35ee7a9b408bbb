using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>
/// Large pieces of memory that come straight from the system and go straight back to it. The C library keeps what is
/// freed: once a block of up to 32 MiB was, it takes all blocks below that from its heap, and a process that has closed
/// a model stays as large as it was.
/// <para>They begin on a large page of 2 MiB, and large pages are asked for where the system hands them out on request
/// only (Linux, transparent huge pages at 'madvise'). Weights are streamed once for every token: with pages of 4 KiB
/// the processor's prefetcher stops at each page's end and looks the next one up.</para>
/// </summary>
internal static unsafe partial class MappedMemory
{
    /// <summary>
    /// From how many bytes on it pays: below, a page that is not filled and a call of the system weigh more.
    /// </summary>
    public const long SmallestBytes = 1 << 20;

    private const nuint LargePage = 2 << 20;
    private const int ReadWrite = 1 | 2;
    private const int Private = 2;
    private const int UseHugePages = 14;

    /// <summary>Whether memory of so many bytes is mapped. The heap of Windows maps large blocks by itself.</summary>
    public static bool IsFor(long bytes) =>
        bytes >= SmallestBytes && (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS() || OperatingSystem.IsAndroid());

    /// <summary>Maps memory, filled with zeros. Pages are taken when they are first written.</summary>
    /// <exception cref="OutOfMemoryException">There is not that much.</exception>
    public static byte* Map(long bytes)
    {
        // A mapping begins at any small page: what lies before the first large page, and behind the end, goes back at once.
        nuint page = (nuint)Environment.SystemPageSize, length = RoundUp((nuint)bytes, page),
            reserved = length + LargePage - page;
        byte* start = MapAnonymous(null, reserved, ReadWrite, Private | (OperatingSystem.IsMacOS() ? 0x1000 : 0x20), -1, 0);
        if ((nint)start == -1)
            throw new OutOfMemoryException();
        byte* aligned = (byte*)RoundUp((nuint)start, LargePage);
        if (aligned > start)
            _ = Unmap(start, (nuint)(aligned - start));
        if (start + reserved > aligned + length)
            _ = Unmap(aligned + length, (nuint)(start + reserved - (aligned + length)));
        // Whole large pages only, so that no memory is taken beyond what was asked for. Without large pages memory
        // works as well.
        if (!OperatingSystem.IsMacOS())
            _ = Advise(aligned, (nuint)bytes / LargePage * LargePage, UseHugePages);
        return aligned;
    }

    /// <summary>Gives mapped memory back.</summary>
    /// <param name="memory">What <see cref="Map"/> returned.</param>
    /// <param name="bytes">What it was given.</param>
    public static void Unmap(byte* memory, long bytes)
    {
        int result = Unmap(memory, (nuint)bytes);
        System.Diagnostics.Debug.Assert(result == 0, "A mapping of our own can be unmapped.");
    }

    private static nuint RoundUp(nuint value, nuint multiple) => (value + multiple - 1) / multiple * multiple;

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial byte* MapAnonymous(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
