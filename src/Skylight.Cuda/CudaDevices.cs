using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>Looks for cards and for the libraries that work with them. What is missing is described, not thrown.</summary>
public static partial class CudaDevices
{
    /// <summary>Looks for CUDA.</summary>
    /// <param name="driver">The driver's library; by default as <see cref="CudaLibraries.Load"/> looks for it.</param>
    /// <param name="nvrtc">NVRTC, likewise.</param>
    /// <param name="cublas">cuBLAS, likewise.</param>
    public static CudaInstallation Find(string? driver = null, string? nvrtc = null, string? cublas = null) => Describe(
        () => CudaLibraryPaths.LoadDriver(driver),
        version => CudaLibraryPaths.LoadNvrtc(nvrtc, version),
        version => CudaLibraryPaths.LoadCublas(cublas, version),
        isSimulated: false);

    /// <summary>
    /// Looks for the emulator, which stands for all of them. One that is not built yet is not built for this.
    /// </summary>
    /// <param name="path">The library; by default as <see cref="CudaLibraries.LoadSimulated"/> looks for it.</param>
    public static CudaInstallation FindSimulated(string? path = null)
    {
        NativeLibraryContext Load(Version? driver = null) => CudaLibraryPaths.LoadEmulator(path);
        return Describe(() => Load(), Load, Load, isSimulated: true);
    }

    private static CudaInstallation Describe(
        Func<NativeLibraryContext> loadDriver, Func<Version?, NativeLibraryContext> loadNvrtc,
        Func<Version?, NativeLibraryContext> loadCublas,
        bool isSimulated)
    {
        Driver? driver = null;
        CudaLibraryInfo driverInfo = Library(() =>
        {
            var file = new LibraryFunctions(loadDriver());
            driver = new Driver(file, isSimulated ? new Emulator(file) : null);
            return (file, driver.Version);
        });
        Nvrtc? compiler = null;
        CudaLibraryInfo nvrtc = Library(() =>
        {
            compiler = new Nvrtc(new LibraryFunctions(loadNvrtc(driverInfo.Version)));
            return (compiler.Library, compiler.Version);
        });
        CudaLibraryInfo cublas = Library(() =>
        {
            var library = new Cublas(new LibraryFunctions(loadCublas(driverInfo.Version)));
            return (library.Library, library.Version);
        });
        if (driver is null)
            return new CudaInstallation(driverInfo, nvrtc, cublas, [], driverInfo.Problem);
        (IReadOnlyList<CudaCardInfo> cards, string? problem) = Cards(driver, compiler);
        return new CudaInstallation(driverInfo, nvrtc, cublas, cards,
            problem ?? (cards.Any(card => card.Problem is null) ? nvrtc.Problem
                : cards.FirstOrDefault()?.Problem ?? "The driver shows no card."));
    }

    private static CudaLibraryInfo Library(Func<(LibraryFunctions File, Version? Version)> load)
    {
        try
        {
            (LibraryFunctions file, Version? version) = load();
            return new CudaLibraryInfo(file.Path, version, null);
        }
        catch (CudaException exception)
        {
            return new CudaLibraryInfo(null, null, exception.Message);
        }
    }

    private static unsafe (IReadOnlyList<CudaCardInfo> Cards, string? Problem) Cards(Driver driver, Nvrtc? compiler)
    {
        try
        {
            driver.Check(driver.Init(0), "cuInit");
            int count;
            driver.Check(driver.DeviceGetCount(&count), "cuDeviceGetCount");
            return ([.. Enumerable.Range(0, count).Select(ordinal => Card(driver, compiler, ordinal))], null);
        }
        catch (CudaException exception)
        {
            return ([], exception.Message);
        }
    }

    private static unsafe CudaCardInfo Card(Driver driver, Nvrtc? compiler, int ordinal)
    {
        int device;
        driver.Check(driver.DeviceGet(&device, ordinal), "cuDeviceGet");
        nuint total;
        driver.Check(driver.DeviceTotalMem(&total, device), "cuDeviceTotalMem");
        int architecture = driver.ArchitectureOf(device);
        string name = driver.NameOf(device);
        string? problem = CudaTarget.WhyUnsupported(architecture) is { } reason ? $"{name} {reason}." : null;
        CompiledForm? form = problem is null && compiler is not null
            ? CompiledForm.For(architecture, compiler, driver.Version) : null;
        if (form?.Problem is { } why)
            problem = $"{name}: {why}";
        long? free = null;
        try
        {
            free = FreeBytes(driver, device);
        }
        catch (CudaException exception)
        {
            problem ??= exception.Message;
        }

        return new CudaCardInfo(ordinal, name, CudaTarget.NameOf(architecture), form?.ArchitectureName,
            driver.AttributeOf(device, CudaNumbers.AttributeMultiprocessors), (long)total, free, problem);
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
