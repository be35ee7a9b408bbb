using System.Runtime.InteropServices;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Machine code in memory of its own: pages are written, then made executable, and are never both. They stay for the life of
/// the process. Linux; elsewhere, and where a system refuses executable pages, nothing is assembled.
/// </summary>
internal static unsafe partial class CodePages
{
    private const int Read = 1, Write = 2, Execute = 4;
    private const int PrivateAnonymous = 0x22;

    /// <summary>Puts code where it can run.</summary>
    /// <param name="code">Position-independent machine code.</param>
    /// <returns>Its first instruction, or null where the system does not allow it.</returns>
    public static byte* Load(ReadOnlySpan<byte> code)
    {
        nuint length = RoundUp((nuint)code.Length, (nuint)Environment.SystemPageSize);
        byte* pages = Map(null, length, Read | Write, PrivateAnonymous, -1, 0);
        if ((nint)pages == -1)
            return null;
        code.CopyTo(new Span<byte>(pages, code.Length));
        if (Protect(pages, length, Read | Execute) == 0)
            return pages;
        _ = Unmap(pages, length);
        return null;
    }

    private static nuint RoundUp(nuint value, nuint multiple) => (value + multiple - 1) / multiple * multiple;

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial byte* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Protect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);
}
