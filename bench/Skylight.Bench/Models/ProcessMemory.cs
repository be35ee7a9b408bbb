using System.Diagnostics;
using System.Globalization;

namespace Skylight.Bench.Models;

/// <summary>The memory of this process.</summary>
internal static class ProcessMemory
{
    /// <summary>The most bytes that were resident so far.</summary>
    public static long Peak()
    {
        const string Source = "/proc/self/status", Field = "VmHWM:";
        if (File.Exists(Source)
            && Array.Find(File.ReadAllLines(Source), line => line.StartsWith(Field, StringComparison.Ordinal)) is { } line)
            return long.Parse(line[Field.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(),
                CultureInfo.InvariantCulture) * 1024;
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }
}
