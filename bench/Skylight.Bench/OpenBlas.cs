using System.Runtime.InteropServices;

namespace Skylight.Bench;

/// <summary>Debian's OpenBLAS (package libopenblas0) as the yardstick; the benchmark runs without it too.</summary>
internal static unsafe class OpenBlas
{
    private const int RowMajor = 101;
    private const int NoTranspose = 111;

    private static readonly delegate* unmanaged<int, int, int, int, int, int, float, float*, int, float*, int, float,
        float*, int, void> Sgemm;

    /// <summary>Whether the library was found.</summary>
    public static bool IsAvailable => Sgemm != null;

    /// <summary>
    /// The OPENBLAS_* variables that are set, or empty. They can force narrower kernels than the processor's own
    /// (OPENBLAS_CORETYPE), so a fair comparison has none.
    /// </summary>
    public static string Variables { get; } = string.Join(
        ' ', Environment.GetEnvironmentVariables().Keys.Cast<string>()
            .Where(name => name.StartsWith("OPENBLAS_", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal).Select(name => $"{name}={Environment.GetEnvironmentVariable(name)}"));

    /// <summary>Version, build and the processor kernels that it chose.</summary>
    public static string Description { get; } = "";

    static OpenBlas()
    {
        if (!NativeLibrary.TryLoad("libopenblas.so.0", out nint library))
            return;
        Sgemm = (delegate* unmanaged<int, int, int, int, int, int, float, float*, int, float*, int, float, float*, int,
            void>)
            NativeLibrary.GetExport(library, "cblas_sgemm");
        var setThreads = (delegate* unmanaged<int, void>)NativeLibrary.GetExport(library, "openblas_set_num_threads");
        setThreads(Environment.ProcessorCount);
        var config = (delegate* unmanaged<byte*>)NativeLibrary.GetExport(library, "openblas_get_config");
        var core = (delegate* unmanaged<byte*>)NativeLibrary.GetExport(library, "openblas_get_corename");
        Description = $"{Marshal.PtrToStringUTF8((nint)config())}; kernels {Marshal.PtrToStringUTF8((nint)core())}";
    }

    /// <summary>C = A·B, row-major without gaps.</summary>
    public static void Multiply(float* a, float* b, float* c, int m, int n, int k) =>
        Sgemm(RowMajor, NoTranspose, NoTranspose, m, n, k, 1f, a, k, b, n, 0f, c, n);
}
