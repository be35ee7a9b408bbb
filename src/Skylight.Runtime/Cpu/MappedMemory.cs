using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

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
    public static bool IsFor(long bytes) => bytes >= SmallestBytes && IsSupported;

    /// <summary>Whether there is a way to map memory and files.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() || OperatingSystem.IsMacOS() || OperatingSystem.IsAndroid();

    /// <summary>Maps memory, filled with zeros. Pages are taken when they are first written.</summary>
    /// <exception cref="OutOfMemoryException">There is not that much.</exception>
    public static byte* Map(long bytes)
    {
        nuint length = RoundUp((nuint)bytes, (nuint)Environment.SystemPageSize);
        byte* aligned = Reserve(length);
        // Whole large pages only, so that no memory is taken beyond what was asked for. Without large pages memory
        // works as well.
        if (!OperatingSystem.IsMacOS())
            _ = Advise(aligned, (nuint)bytes / LargePage * LargePage, UseHugePages);
        return aligned;
    }

    /// <summary>
    /// Maps a file: reading shows its bytes, from the system's cache of files without a copy, in large pages where the
    /// cache has such; what is written stays with this process.
    /// </summary>
    /// <param name="file">Open for reading.</param>
    /// <param name="bytes">How many, from its beginning; it has as many.</param>
    /// <exception cref="IOException">It cannot be mapped.</exception>
    public static byte* MapFile(SafeFileHandle file, long bytes)
    {
        nuint length = RoundUp((nuint)bytes, (nuint)Environment.SystemPageSize);
        byte* place = Reserve(length);
        bool isHeld = false;
        try
        {
            file.DangerousAddRef(ref isHeld);
            // In the place of what was reserved.
            byte* mapped = MapAnonymous(place, length, ReadWrite, Private | 0x10, (int)file.DangerousGetHandle(), 0);
            if ((nint)mapped == -1)
            {
                int error = Marshal.GetLastPInvokeError();
                _ = Unmap(place, length);
                throw new IOException($"It cannot be mapped: {Marshal.GetPInvokeErrorMessage(error)}.");
            }
        }
        finally
        {
            if (isHeld)
                file.DangerousRelease();
        }

        if (!OperatingSystem.IsMacOS())
            _ = Advise(place, length, UseHugePages);
        return place;
    }

    /// <summary>Gives mapped memory back.</summary>
    /// <param name="memory">What <see cref="Map"/> returned.</param>
    /// <param name="bytes">What it was given.</param>
    public static void Unmap(byte* memory, long bytes)
    {
        int result = Unmap(memory, (nuint)bytes);
        System.Diagnostics.Debug.Assert(result == 0, "A mapping of our own can be unmapped.");
    }

    /// <summary>Reserves whole small pages that begin on a large one.</summary>
    private static byte* Reserve(nuint length)
    {
        // A mapping begins at any small page: what lies before the first large page, and behind the end, goes back at once.
        nuint reserved = length + LargePage - (nuint)Environment.SystemPageSize;
        byte* start = MapAnonymous(null, reserved, ReadWrite, Private | (OperatingSystem.IsMacOS() ? 0x1000 : 0x20), -1, 0);
        if ((nint)start == -1)
            throw new OutOfMemoryException();
        byte* aligned = (byte*)RoundUp((nuint)start, LargePage);
        if (aligned > start)
            _ = Unmap(start, (nuint)(aligned - start));
        if (start + reserved > aligned + length)
            _ = Unmap(aligned + length, (nuint)(start + reserved - (aligned + length)));
        return aligned;
    }

    private static nuint RoundUp(nuint value, nuint multiple) => (value + multiple - 1) / multiple * multiple;

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial byte* MapAnonymous(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
