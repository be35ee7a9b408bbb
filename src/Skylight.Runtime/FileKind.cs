using System.Runtime.InteropServices;

namespace Skylight;

/// <summary>What a path leads to, as far as the base library does not say.</summary>
internal static unsafe partial class FileKind
{
    // The layout of Linux's statx is the same on every architecture: that is what the call is for.
    private const int CurrentFolder = -100, BytesOfStatx = 256, OffsetOfMode = 28;
    private const uint TypeWanted = 1;
    private const int TypeMask = 0xF000, NamedPipe = 0x1000;

    /// <summary>
    /// Whether there is a pipe with a name of its own. Those of a shell (<c>/dev/stdin</c>, <c>/dev/fd/63</c>) are open
    /// already and have a writer.
    /// </summary>
    public static bool IsNamedPipe(string path)
    {
        string full = Path.GetFullPath(path);
        if (!OperatingSystem.IsLinux() || full.StartsWith("/dev/", StringComparison.Ordinal)
            || full.StartsWith("/proc/", StringComparison.Ordinal))
            return false;
        byte* found = stackalloc byte[BytesOfStatx];
        try
        {
            return Statx(CurrentFolder, full, 0, TypeWanted, found) == 0
                && (*(ushort*)(found + OffsetOfMode) & TypeMask) == NamedPipe;
        }
        catch (EntryPointNotFoundException)
        {
            // A C library from before 2018.
            return false;
        }
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Statx(int folder, string path, int flags, uint wanted, byte* found);
}
