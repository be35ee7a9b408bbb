using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>Looks for cards and for the libraries that work with them. What is missing is described, not thrown.</summary>
public static class CudaDevices
{
    /// <summary>Looks for CUDA.</summary>
    /// <param name="driver">The driver's library; by default as <see cref="CudaLibraries.Load"/> looks for it.</param>
    /// <param name="nvrtc">NVRTC, likewise.</param>
    /// <param name="cublas">cuBLAS, likewise.</param>
    public static CudaInstallation Find(string? driver = null, string? nvrtc = null, string? cublas = null) => Describe(
        () => CudaLibraryPaths.LoadDriver(driver),
        () => CudaLibraryPaths.LoadNvrtc(nvrtc),
        () => CudaLibraryPaths.LoadCublas(cublas),
        isSimulated: false);

    /// <summary>Looks for the emulator, which stands for all of them.</summary>
    /// <param name="path">The library; by default as <see cref="CudaLibraries.LoadSimulated"/> looks for it.</param>
    public static CudaInstallation FindSimulated(string? path = null)
    {
        NativeLibraryFile Load() => CudaLibraryPaths.LoadEmulator(path);
        return Describe(Load, Load, Load, isSimulated: true);
    }

    private static CudaInstallation Describe(Func<NativeLibraryFile> loadDriver, Func<NativeLibraryFile> loadNvrtc, Func<NativeLibraryFile> loadCublas, bool isSimulated)
    {
        CudaLibraryInfo nvrtc = Library(() =>
        {
            var library = new Nvrtc(loadNvrtc());
            return (library.Library, library.Version);
        });
        CudaLibraryInfo cublas = Library(() =>
        {
            var library = new Cublas(loadCublas());
            return (library.Library, library.Version);
        });
        Driver? driver = null;
        CudaLibraryInfo driverInfo = Library(() =>
        {
            NativeLibraryFile file = loadDriver();
            driver = new Driver(file, isSimulated ? new Emulator(file) : null);
            return (file, SupportedVersion(driver));
        });
        if (driver is null)
            return new CudaInstallation(driverInfo, nvrtc, cublas, [], driverInfo.Problem);
        (IReadOnlyList<CudaCardInfo> cards, string? problem) = Cards(driver);
        return new CudaInstallation(driverInfo, nvrtc, cublas, cards, problem ?? (cards.Any(card => card.Problem is null) ? nvrtc.Problem : cards.FirstOrDefault()?.Problem ?? "The driver shows no card."));
    }

    private static CudaLibraryInfo Library(Func<(NativeLibraryFile File, Version? Version)> load)
    {
        try
        {
            (NativeLibraryFile file, Version? version) = load();
            return new CudaLibraryInfo(file.Path, version, null);
        }
        catch (CudaException exception)
        {
            return new CudaLibraryInfo(null, null, exception.Message);
        }
    }

    private static unsafe Version? SupportedVersion(Driver driver)
    {
        int version;
        return driver.DriverGetVersion(&version) == 0 ? new Version(version / 1000, version % 1000 / 10) : null;
    }

    private static unsafe (IReadOnlyList<CudaCardInfo> Cards, string? Problem) Cards(Driver driver)
    {
        try
        {
            driver.Check(driver.Init(0), "cuInit");
            int count;
            driver.Check(driver.DeviceGetCount(&count), "cuDeviceGetCount");
            return ([.. Enumerable.Range(0, count).Select(ordinal => Card(driver, ordinal))], null);
        }
        catch (CudaException exception)
        {
            return ([], exception.Message);
        }
    }

    private static unsafe CudaCardInfo Card(Driver driver, int ordinal)
    {
        int device;
        driver.Check(driver.DeviceGet(&device, ordinal), "cuDeviceGet");
        nuint total;
        driver.Check(driver.DeviceTotalMem(&total, device), "cuDeviceTotalMem");
        int architecture = driver.ArchitectureOf(device);
        string name = driver.NameOf(device);
        string? problem = CudaTarget.WhyUnsupported(architecture) is { } reason ? $"{name} {reason}." : null;
        long? free = null;
        try
        {
            free = FreeBytes(driver, device);
        }
        catch (CudaException exception)
        {
            problem ??= exception.Message;
        }

        return new CudaCardInfo(ordinal, name, CudaTarget.NameOf(architecture), driver.AttributeOf(device, Driver.AttributeMultiprocessors), (long)total, free, problem);
    }

    /// <summary>Free memory can be asked within a context only; it is retained for the question.</summary>
    private static unsafe long FreeBytes(Driver driver, int device)
    {
        nint context;
        driver.Check(driver.DevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
        try
        {
            driver.Check(driver.CtxSetCurrent(context), "cuCtxSetCurrent");
            nuint free, total;
            driver.Check(driver.MemGetInfo(&free, &total), "cuMemGetInfo");
            return (long)free;
        }
        finally
        {
            // Not left current: it may end with the release. A device makes its own current before every call.
            _ = driver.CtxSetCurrent(0);
            _ = driver.DevicePrimaryCtxRelease(device);
        }
    }
}
