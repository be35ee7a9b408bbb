using System.Runtime.InteropServices;
using System.Text;
using Skylight.Tests.Cuda;

namespace Skylight.Tests.Simt;

/// <summary>
/// Tests that use the emulator run one after the other: its settings, its last report and its broken state after a
/// failed kernel belong to the process.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class EmulatorCollection : ICollectionFixture<KernelFolder>
{
    /// <summary>The name of the collection.</summary>
    public const string Name = "emulator";
}

/// <summary>
/// The emulator library through its C ABI, without Skylight.Cuda between: compiles a source, launches its kernels,
/// moves arrays.
/// </summary>
internal sealed unsafe partial class Emulator : IDisposable
{
    private const string Library = "skylight_simt";
    private const string Prelude = "#define SHARED(name) unsigned char* name = simt::shared_memory()\n";

    /// <summary>The instruction wrappers a kernel may include; the emulator puts its own bodies in their place.</summary>
    private static readonly string[] Headers = ["cluster", "convert", "cp_async", "ldmatrix", "math", "mbarrier",
        "memory", "mma", "tma", "warp", "wgmma"];

    private readonly List<ulong> allocations = [];
    private readonly List<nint> modules = [];

    /// <summary>
    /// Starts with a working context, the forward schedule and everything checked; skips the test where nothing can be
    /// compiled.
    /// </summary>
    public Emulator()
    {
        Require();
        _ = simtReset();
        ConfigureDefaults();
        Check(cuInit(0));
        Check(cuDevicePrimaryCtxRetain(out nint context, 0));
        Check(cuCtxSetCurrent(context));
        Check(cuStreamCreate(out nint stream, 1));
        Stream = stream;
    }

    /// <summary>The stream that launches and copies go to.</summary>
    public nint Stream { get; }

    /// <summary>Blocks per cluster of the launches.</summary>
    public int ClusterSize { get; set; } = 1;

    /// <summary>What the emulator found last.</summary>
    public static string Report => Marshal.PtrToStringUTF8(simtLastReport()) ?? "";

    /// <summary>The settings that tests begin with.</summary>
    public static void ConfigureDefaults()
    {
        (string, string)[] defaults = [("schedule", "forward"), ("async", "late"), ("checks", "on"),
            ("counters", "off"), ("memory", "4294967296"), ("workers", "2"), ("capability", "90"), ("pools", "on"), ("rounding", "same"),
            ("visibility", "off")];
        foreach ((string name, string value) in defaults)
            Configure(name, value);
    }

    /// <summary>
    /// Skips the calling test, or fails it where <c>CI</c> is <c>true</c>, when the library was not built.
    /// </summary>
    public static void Require()
    {
        if (File.Exists(Path.Combine(AppContext.BaseDirectory, $"lib{Library}.so")))
            return;
        const string Reason =
            "libskylight_simt.so was not built: no C++ compiler was found (c++, g++, clang++ or $CXX), or this is not Linux";
        if (string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.OrdinalIgnoreCase))
            Assert.Fail(Reason);
        Assert.Skip(Reason);
    }

    /// <summary>Sets one of the emulator's settings.</summary>
    public static void Configure(string name, string value) => Assert.True(simtConfigure(name, value) == 0, Report);

    /// <summary>
    /// Compiles a source named <c>kernel.cu</c>; the log and result code of NVRTC are returned with the module, which
    /// is 0 on failure.
    /// </summary>
    public (int Result, string Log, nint Module) TryCompile(string source, params string[] options)
    {
        nint[] names = [.. Headers.Select(name => Marshal.StringToCoTaskMemUTF8($"ptx/{name}.cuh"))];
        nint[] texts = [
            .. Headers.Select(_ => Marshal.StringToCoTaskMemUTF8("#error the emulator did not replace this header"))];
        nint[] arguments = [.. options.Prepend("--gpu-architecture=sm_90a").Select(Marshal.StringToCoTaskMemUTF8)];
        Assert.Equal(0, nvrtcCreateProgram(out nint program, Prelude + "#line 1\n" + source, "kernel.cu", names.Length,
            texts, names));
        int result = nvrtcCompileProgram(program, arguments.Length, arguments);
        foreach (nint text in names.Concat(texts).Concat(arguments))
            Marshal.FreeCoTaskMem(text);
        Assert.Equal(0, nvrtcGetProgramLogSize(program, out nuint length));
        byte[] log = new byte[(int)length];
        Assert.Equal(0, nvrtcGetProgramLog(program, log));
        nint module = 0;
        if (result == 0)
        {
            Assert.Equal(0, nvrtcGetCUBINSize(program, out nuint size));
            byte[] image = new byte[(int)size];
            Assert.Equal(0, nvrtcGetCUBIN(program, image));
            Check(cuModuleLoadData(out module, image));
            modules.Add(module);
        }

        Assert.Equal(0, nvrtcDestroyProgram(ref program));
        return (result, Encoding.UTF8.GetString(log).TrimEnd('\0'), module);
    }

    /// <summary>Compiles a source that must compile, and gives one of its kernels.</summary>
    public nint Kernel(string source, string name, params string[] options)
    {
        (int result, string log, nint module) = TryCompile(source, options);
        Assert.True(result == 0, log);
        Check(cuModuleGetFunction(out nint function, module, name));
        return function;
    }

    /// <summary>A device array with these elements.</summary>
    public ulong Upload<T>(params T[] values) where T : unmanaged
    {
        ulong address = Allocate(values.Length * sizeof(T));
        fixed (T* source = values)
            Check(cuMemcpyHtoDAsync_v2(address, source, (nuint)(values.Length * sizeof(T)), Stream));
        return address;
    }

    /// <summary>Device memory that nothing has written.</summary>
    public ulong Allocate(int bytes)
    {
        Check(cuMemAlloc_v2(out ulong address, (nuint)bytes));
        allocations.Add(address);
        return address;
    }

    /// <summary>Frees one array now.</summary>
    public void Free(ulong address)
    {
        Check(cuMemFree_v2(address));
        allocations.Remove(address);
    }

    /// <summary>The elements of a device array, after all work put on the stream.</summary>
    public T[] Download<T>(ulong address, int count) where T : unmanaged
    {
        T[] values = new T[count];
        fixed (T* target = values)
            Check(cuMemcpyDtoHAsync_v2(target, address, (nuint)(count * sizeof(T)), Stream));
        Check(cuStreamSynchronize(Stream));
        return values;
    }

    /// <summary>Puts a launch on the stream; arguments are unmanaged values. Returns the driver's code.</summary>
    public int TryLaunch(nint function, int grid, int block, int sharedBytes, params object[] arguments)
    {
        const int LargestArgument = 128;
        byte* storage = stackalloc byte[LargestArgument * arguments.Length];
        void** pointers = stackalloc void*[arguments.Length + 1];
        for (int index = 0; index < arguments.Length; index++)
        {
            byte* place = storage + LargestArgument * index;
            pointers[index] = place;
            switch (arguments[index])
            {
                case ulong address: *(ulong*)place = address; break;
                case int number: *(int*)place = number; break;
                case float number: *(float*)place = number; break;
                case byte[] map: map.CopyTo(new Span<byte>(place, LargestArgument)); break;
                default:
                    throw new ArgumentException(
                    $"Argument {index}: {arguments[index].GetType()} is not supported here.");
            }
        }

        if (ClusterSize > 1)
        {
            LaunchAttribute cluster = new() { Id = 4, X = (uint)ClusterSize, Y = 1, Z = 1 };
            LaunchConfiguration configuration = new()
            {
                GridX = (uint)grid,
                GridY = 1,
                GridZ = 1,
                BlockX = (uint)block,
                BlockY = 1,
                BlockZ = 1,
                SharedBytes = (uint)sharedBytes,
                Stream = Stream,
                Attributes = &cluster,
                AttributeCount = 1,
            };
            return cuLaunchKernelEx(&configuration, function, pointers, null);
        }

        return cuLaunchKernel(function, (uint)grid, 1, 1, (uint)block, 1, 1, (uint)sharedBytes, Stream, pointers, null);
    }

    /// <summary>Launches and waits; returns the driver's code of the first call that failed.</summary>
    public int TryRun(nint function, int grid, int block, int sharedBytes, params object[] arguments)
    {
        int result = TryLaunch(function, grid, block, sharedBytes, arguments);
        return result != 0 ? result : cuStreamSynchronize(Stream);
    }

    /// <summary>Launches and waits; the kernel must succeed.</summary>
    public void Run(nint function, int grid, int block, int sharedBytes, params object[] arguments) =>
        Check(TryRun(function, grid, block, sharedBytes, arguments));

    /// <summary>
    /// A tensor map of 16-bit elements, as a kernel argument; extents, strides (bytes, all but the first dimension) and
    /// box innermost first.
    /// </summary>
    public static byte[] TensorMap(ulong address, ulong[] extents, ulong[] strides, uint[] box, int swizzle)
    {
        (int result, byte[] map) = TryTensorMap(address, extents, strides, box, swizzle);
        Check(result);
        return map;
    }

    /// <summary>The same, with the driver's code.</summary>
    public static (int Result, byte[] Map) TryTensorMap(ulong address, ulong[] extents, ulong[] strides, uint[] box,
        int swizzle)
    {
        const int BFloat16 = 9;
        void* map = NativeMemory.AlignedAlloc(128, 64);
        try
        {
            uint[] ones = [.. box.Select(_ => 1u)];
            fixed (ulong* e = extents, s = strides)
            fixed (uint* b = box, o = ones)
            {
                int result = cuTensorMapEncodeTiled(map, BFloat16, (uint)extents.Length, address, e, s, b, o, 0,
                    swizzle, 0, 0);
                return (result, new Span<byte>(map, 128).ToArray());
            }
        }
        finally
        {
            NativeMemory.AlignedFree(map);
        }
    }

    /// <summary>Fails the test with the emulator's report when a call failed.</summary>
    public static void Check(int result) => Assert.True(result == 0, $"CUresult {result}: {Report}");

    /// <inheritdoc/>
    public void Dispose()
    {
        // The settings are the process's: the next test's device may be made by other means.
        ConfigureDefaults();
        _ = simtReset();
        foreach (ulong address in allocations)
            _ = cuMemFree_v2(address);
        foreach (nint module in modules)
            _ = cuModuleUnload(module);
        _ = cuStreamDestroy_v2(Stream);
    }
}
