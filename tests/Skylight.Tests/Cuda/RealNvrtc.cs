using Skylight.Cuda;

namespace Skylight.Tests.Cuda;

/// <summary>The real NVRTC, for tests that need it and no GPU.</summary>
internal static class RealNvrtc
{
    /// <summary>Loads it; skips the calling test where there is none, or fails it in CI.</summary>
    public static CudaCompiler Compiler()
    {
        try
        {
            return new CudaCompiler();
        }
        catch (CudaException exception) when (Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Skip(exception.Message);
            throw;
        }
    }

    /// <summary>
    /// The files of the NVRTC that this process loads by name: only the loader knows where they are. Linux only.
    /// </summary>
    public static (string Nvrtc, string Builtins) Files()
    {
        CudaCompiler compiler = Compiler();
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        string nvrtc = File.ReadLines("/proc/self/maps").Select(line => line[(line.LastIndexOf(' ') + 1)..])
            .First(path =>
                Path.GetFileName(path).StartsWith($"libnvrtc.so.{compiler.Version.Major}", StringComparison.Ordinal));
        return (nvrtc, Path.Combine(Path.GetDirectoryName(nvrtc)!, $"libnvrtc-builtins.so.{compiler.Version}"));
    }
}
