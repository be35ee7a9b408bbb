using System.Globalization;

namespace Skylight.Hub;

/// <summary>Numbers of bytes as people read them.</summary>
public static class ByteText
{
    /// <summary>Bytes, kilobytes, megabytes or gigabytes of powers of ten, with three digits or so.</summary>
    public static string Of(double bytes) => bytes switch
    {
        < 1e3 => string.Create(CultureInfo.InvariantCulture, $"{bytes:F0} bytes"),
        < 1e6 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e3:F1} kB"),
        < 1e9 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F1} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB"),
    };
}
