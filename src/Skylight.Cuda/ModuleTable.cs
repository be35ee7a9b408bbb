using System.Globalization;
using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>The modules that a device has loaded, one for a variant, and their kernels.</summary>
internal sealed unsafe class ModuleTable(CudaContextHandle context, KernelCache cache) : IDisposable
{
    private const int SharedBytesWithoutAsking = 48 * 1024;

    private readonly Dictionary<KernelVariant, CudaModuleHandle> _modules = [];
    private readonly Dictionary<(CudaModuleHandle Module, string EntryPoint), nint> _functions = [];
    private readonly Dictionary<nint, int> _sharedBytes = [];

    /// <summary>Where variants are compiled.</summary>
    public KernelCache Cache { get; } = cache;

    /// <summary>The kernel of a launch, loaded and allowed the shared memory that the launch asks for.</summary>
    public nint Function(KernelLaunch launch)
    {
        KernelVariant variant = launch.Variant;
        if (!_modules.TryGetValue(variant, out CudaModuleHandle? module))
        {
            module = new CudaModuleHandle(context, Cache.Get(variant));
            _modules.Add(variant, module);
        }

        if (!_functions.TryGetValue((module, launch.EntryPoint), out nint function))
        {
            function = module.Function(launch.EntryPoint, variant);
            _functions.Add((module, launch.EntryPoint), function);
        }

        if (launch.SharedBytes > _sharedBytes.GetValueOrDefault(function, SharedBytesWithoutAsking))
        {
            Driver driver = context.Driver;
            int result = driver.FuncSetAttribute(function, CudaNumbers.FunctionDynamicSharedBytes, launch.SharedBytes);
            if (result != 0)
                throw driver.Error(result,
                    string.Create(CultureInfo.InvariantCulture,
                        $"cuFuncSetAttribute for {launch.SharedBytes:N0} bytes of shared memory of " +
                        $"{launch.EntryPoint} in {variant}"));
            _sharedBytes[function] = launch.SharedBytes;
        }

        return function;
    }

    public void Dispose()
    {
        foreach (CudaModuleHandle module in _modules.Values)
            module.Dispose();
    }
}
