using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Runs what a binding describes on the emulator, launch by launch, without a device around it: so that a test can
/// choose the geometry and the card, and sees the bits of the results.
/// </summary>
internal sealed unsafe class EmulatedKernels : IDisposable
{
    // Compiling takes longer than running.
    private static readonly ConcurrentDictionary<KernelVariant, byte[]> Compiled = new();

    private readonly Emulator _emulator = new();
    private readonly CudaCompiler _compiler = new(Path.Combine(AppContext.BaseDirectory, "libskylight_simt.so"));
    private readonly Dictionary<KernelVariant, nint> _modules = [];

    /// <summary>Runs a binding's launches on arrays of the inputs' types, and gives the first output.</summary>
    public TResult[] Run<TResult>(CudaKernelDescription description, TensorType output, params Array[] inputs)
        where TResult : unmanaged =>
        MemoryMarshal.Cast<byte, TResult>(Run(description, [output], inputs)[0]).ToArray();

    /// <summary>The same, and gives the bytes of all outputs.</summary>
    public byte[][] Run(CudaKernelDescription description, IReadOnlyList<TensorType> outputs, params Array[] inputs)
    {
        ulong[] arrays = [.. inputs.Select(Upload)],
            results = [.. outputs.Select(output => _emulator.Allocate((int)Math.Max(output.Bytes, 16)))];
        ulong scratch = _emulator.Allocate((int)Math.Max(description.ScratchBytes, 16)), status = _emulator.Upload(new int[4]),
            counters = _emulator.Upload(new int[KernelCounters.Bytes / sizeof(int)]);
        foreach (CudaStep step in description.Steps)
        {
            if (step is CudaClearStep clear)
                Emulator.Check(Emulator.cuMemsetD32Async(Address(clear.Operand), 0, (nuint)clear.Bytes / 4, _emulator.Stream));
            else
                Launch(Assert.IsType<CudaLaunchStep>(step).Launch, status, counters, Address);
        }

        byte[][] bytes = [.. outputs.Select((output, index) => _emulator.Download<byte>(results[index], (int)output.Bytes))];
        Assert.Equal(0, _emulator.Download<int>(status, 1)[0]);
        int[] left = _emulator.Download<int>(counters, KernelCounters.Bytes / sizeof(int));
        Assert.True(Array.TrueForAll(left, value => value == 0), $"counters are left: {string.Join(", ", left)}");
        foreach (ulong array in (ulong[])[.. arrays, .. results, scratch, status, counters])
            _emulator.Free(array);
        return bytes;

        ulong Address(CudaOperand operand) => (operand.Kind switch
        {
            CudaOperandKind.Input => arrays[operand.Index],
            CudaOperandKind.Output => results[operand.Index],
            _ => scratch,
        }) + (ulong)operand.ByteOffset;
    }

    /// <summary>Describes an op with the standard bindings, runs it, and gives its first output.</summary>
    public TResult[] Run<TResult>(Op op, IReadOnlyList<TensorType> types, params Array[] inputs)
        where TResult : unmanaged => Run<TResult>(op, types, CudaTarget.Ampere, inputs);

    /// <summary>The same for a certain card.</summary>
    public TResult[] Run<TResult>(Op op, IReadOnlyList<TensorType> types, CudaTarget target, params Array[] inputs)
        where TResult : unmanaged =>
        MemoryMarshal.Cast<byte, TResult>(
            Run(CudaBindings.Standard.Describe(op, types, target), op.Infer(types), inputs)[0]).ToArray();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (nint module in _modules.Values)
            _ = Emulator.cuModuleUnload(module);
        _emulator.Dispose();
    }

    private ulong Upload(Array elements) => elements.Length == 0 ? _emulator.Allocate(16) : elements switch
    {
        float[] floats => _emulator.Upload(floats),
        BFloat16[] halves => _emulator.Upload(halves),
        _ => _emulator.Upload((int[])elements),
    };

    private void Launch(KernelLaunch launch, ulong status, ulong counters, Func<CudaOperand, ulong> address)
    {
        if (!_modules.TryGetValue(launch.Variant, out nint module))
        {
            // The card is the one that the kernel was described for: another one would not load it.
            Emulator.Configure("capability", string.Concat(launch.Variant.ArchitectureName.Where(char.IsAsciiDigit)));
            Emulator.Check(Emulator.cuModuleLoadData(out module,
                Compiled.GetOrAdd(launch.Variant, variant => _compiler.Compile(variant).Image.ToArray())));
            _modules.Add(launch.Variant, module);
        }

        Emulator.Check(Emulator.cuModuleGetFunction(out nint function, module, launch.EntryPoint));
        const int MaximumDynamicSharedBytes = 8;
        Emulator.Check(Emulator.cuFuncSetAttribute(function, MaximumDynamicSharedBytes, launch.SharedBytes));
        // A slot for the largest argument each, a tensor map. Of a status there are two: where, and the tag.
        const int Slot = KernelTensorMap.EncodedBytes;
        int count = launch.Arguments.Sum(argument => argument.Kind == KernelArgumentKind.Status ? 2 : 1), slot = 0;
        byte* values = stackalloc byte[Slot * count];
        void** parameters = stackalloc void*[count];
        for (int index = 0; index < count; index++)
            parameters[index] = values + Slot * index;
        foreach (KernelArgument argument in launch.Arguments)
        {
            void* parameter = parameters[slot++];
            if (argument.TensorMap is { } map)
                Emulator.TensorMap(address(argument.Operand), [(ulong)map.Columns, (ulong)map.Rows, (ulong)map.Matrices],
                    [(ulong)map.Columns * 2, (ulong)map.Rows * (ulong)map.Columns * 2],
                    [KernelTensorMap.BoxColumns, (uint)map.BoxRows, 1], swizzle: 3)
                    .CopyTo(new Span<byte>(parameter, Slot));
            else
                *(ulong*)parameter = argument.Kind switch
                {
                    KernelArgumentKind.Pointer => address(argument.Operand),
                    KernelArgumentKind.Null => 0UL,
                    KernelArgumentKind.Status => status,
                    KernelArgumentKind.Counters => counters,
                    _ => (ulong)argument.Bits,
                };
            if (argument.Kind == KernelArgumentKind.Status)
                *(ulong*)parameters[slot++] = 1 + (ulong)argument.Bits;
        }

        const int ClusterDimension = 4, ProgrammaticLaunch = 6;
        Emulator.LaunchAttribute* attributes = stackalloc Emulator.LaunchAttribute[2];
        uint attributeCount = 0;
        if (launch.ClusterSize is { Count: > 1 } cluster)
            attributes[attributeCount++] = new()
            {
                Id = ClusterDimension,
                X = (uint)cluster.X,
                Y = (uint)cluster.Y,
                Z = (uint)cluster.Z,
            };
        if (launch.IsProgrammatic)
            attributes[attributeCount++] = new() { Id = ProgrammaticLaunch, X = 1 };
        Emulator.LaunchConfiguration configuration = new()
        {
            GridX = (uint)launch.Grid.X,
            GridY = (uint)launch.Grid.Y,
            GridZ = (uint)launch.Grid.Z,
            BlockX = (uint)launch.Threads.X,
            BlockY = (uint)launch.Threads.Y,
            BlockZ = (uint)launch.Threads.Z,
            SharedBytes = (uint)launch.SharedBytes,
            Stream = _emulator.Stream,
            Attributes = attributes,
            AttributeCount = attributeCount,
        };
        Emulator.Check(Emulator.cuLaunchKernelEx(&configuration, function, parameters, null));
        Emulator.Check(Emulator.cuStreamSynchronize(_emulator.Stream));
    }
}
