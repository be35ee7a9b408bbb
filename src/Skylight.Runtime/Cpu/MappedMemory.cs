using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>
/// Large blocks of memory, mapped and unmapped directly. The C library keeps what is freed to it for later, which for a model's weights is the
/// memory of a whole model; what is unmapped is the system's again at once. Linux; elsewhere nothing is mapped here.
/// </summary>
internal static unsafe partial class MappedMemory
{
    private const int ReadWrite = 1 | 2;
    private const int PrivateAnonymous = 2 | 0x20;
    private const nint Failed = -1;

    /// <summary>Maps a block filled with zeros, aligned as asked for.</summary>
    /// <param name="bytes">Its size.</param>
    /// <param name="alignment">A power of two that is a multiple of a page.</param>
    /// <returns>The block; null where this system's memory is not mapped here.</returns>
    /// <exception cref="OutOfMemoryException">The system has no more.</exception>
    public static byte* TryAllocate(long bytes, nuint alignment)
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess)
            return null;
        nuint length = Rounded(bytes), mapped = length + alignment;
        byte* start;
        try
        {
            start = (byte*)Map(null, mapped, ReadWrite, PrivateAnonymous, -1, 0);
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException)
        {
            // A system with another C library.
            return null;
        }

        if ((nint)start == Failed)
            throw new OutOfMemoryException($"The system has no {bytes / 1e9:F2} GB of memory left.");
        // What lies before and behind the aligned block goes back.
        byte* block = (byte*)(((nuint)start + alignment - 1) & ~(alignment - 1));
        if (block > start)
            _ = Unmap(start, (nuint)(block - start));
        if (start + mapped > block + length)
            _ = Unmap(block + length, (nuint)(start + mapped - (block + length)));
        return block;
    }

    /// <summary>Gives a block back.</summary>
    /// <param name="block">What <see cref="TryAllocate"/> gave.</param>
    /// <param name="bytes">Its size, as it was asked for.</param>
    public static void Free(byte* block, long bytes) => _ = Unmap(block, Rounded(bytes));

    private static nuint Rounded(long bytes)
    {
        nuint page = (nuint)Environment.SystemPageSize;
        return ((nuint)bytes + page - 1) / page * page;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);
}
