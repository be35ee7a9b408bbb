using System.Globalization;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>What a kernel argument is.</summary>
public enum KernelArgumentKind
{
    /// <summary>A pointer: to an input, an output or temporary memory.</summary>
    Pointer,

    /// <summary>A null pointer, for an operand that is not there.</summary>
    Null,

    /// <summary><c>int</c>.</summary>
    Int32,

    /// <summary><c>long long</c>.</summary>
    Int64,

    /// <summary><c>float</c>.</summary>
    Float32,

    /// <summary>Two parameters: <c>Status*</c> and the <c>int</c> tag of a message; see <c>common/status.cuh</c>.</summary>
    Status,

    /// <summary><c>const __grid_constant__ TensorMap</c>: an operand as the bulk copy engine reads it.</summary>
    TensorMap,

    /// <summary>A pointer to integers that are zeros before and after every launch; of Skylight's own kernels.</summary>
    Counters,
}

/// <summary>One argument of a launch.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Operand">Where a pointer, or a tensor map, points to.</param>
/// <param name="Bits">The bits of a number; the index of a status message.</param>
public readonly record struct KernelArgument(KernelArgumentKind Kind, CudaOperand Operand = default, long Bits = 0)
{
    /// <summary>How the operand of a <see cref="KernelArgumentKind.TensorMap"/> is read.</summary>
    internal KernelTensorMap? TensorMap { get; init; }
}

/// <summary>
/// One kernel launch: source, entry point, geometry, constants and arguments. Arguments are given in the order of the
/// kernel's parameters; every method returns the launch itself.
/// </summary>
public sealed class KernelLaunch
{
    private readonly CudaKernelBuilder _builder;
    private readonly List<KernelArgument> _arguments = [];
    private readonly SortedDictionary<string, string> _defines = new(StringComparer.Ordinal);
    private KernelVariant? _variant;

    internal KernelLaunch(CudaKernelBuilder builder, KernelSource source, string entryPoint, Dim3 grid, Dim3 threads,
        int sharedBytes)
    {
        _builder = builder;
        Source = source;
        EntryPoint = entryPoint;
        Grid = grid;
        Threads = threads;
        SharedBytes = sharedBytes;
    }

    /// <summary>The source.</summary>
    public KernelSource Source { get; }

    /// <summary>The name of the <c>extern "C" __global__</c> function.</summary>
    public string EntryPoint { get; }

    /// <summary>The number of blocks.</summary>
    public Dim3 Grid { get; }

    /// <summary>The threads of a block.</summary>
    public Dim3 Threads { get; }

    /// <summary>The dynamic shared memory of a block in bytes.</summary>
    public int SharedBytes { get; }

    /// <summary>The blocks of a cluster (Hopper and newer); one means none.</summary>
    public Dim3 ClusterSize { get; private set; } = 1;

    /// <summary>
    /// Whether it may be started while the kernel before it still runs, for which it waits itself (Hopper and newer).
    /// </summary>
    public bool IsProgrammatic { get; private set; }

    /// <summary>The arguments given so far.</summary>
    public IReadOnlyList<KernelArgument> Arguments => _arguments;

    /// <summary>The constants given so far, by name.</summary>
    public IReadOnlyDictionary<string, string> Defines => _defines;

    /// <summary>What has to be compiled for this launch.</summary>
    public KernelVariant Variant => _variant ??= new KernelVariant(Source, _builder.Target.ArchitectureName, _defines);

    /// <summary>
    /// Defines a constant: <c>-Dname=value</c>. Every different value is a compilation of its own, so sizes that vary
    /// belong into arguments.
    /// </summary>
    public KernelLaunch Define(string name, int value) => Define(name, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>Defines a switch as 1 or 0.</summary>
    public KernelLaunch Define(string name, bool value) => Define(name, value ? "1" : "0");

    /// <summary>Defines a constant as text.</summary>
    /// <exception cref="ArgumentException">The name is not upper-case and three characters long or longer, or was
    /// defined with another value.</exception>
    public KernelLaunch Define(string name, string value)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(value);
        // A macro T or N would rewrite the template parameters of every header, NVRTC's own among them.
        if (name.Length < 3 || !char.IsAsciiLetterUpper(name[0])
            || !name.All(character => char.IsAsciiLetterUpper(character) || char.IsAsciiDigit(character)
                || character == '_'))
            throw new ArgumentException(
                $"{_builder.Op.Name}: '{name}' cannot be defined for {EntryPoint}: constants have upper-case names " +
                $"of three characters or more, so that they meet no name of a header.", nameof(name));
        if (_defines.TryGetValue(name, out string? before) && before != value)
            throw new ArgumentException(
                $"{_builder.Op.Name}: {name} is defined twice for {EntryPoint}, as {before} and as {value}.", nameof(name));
        _defines[name] = value;
        _variant = null;
        return this;
    }

    /// <summary>
    /// Defines an element type: <c>-DELEMENT=float</c>, <c>bfloat16</c> or <c>int</c>. The source gives it the name it
    /// likes: <c>using T = ELEMENT;</c>.
    /// </summary>
    public KernelLaunch Type(string name, DataType dataType) => Define(name, NameOf(dataType));

    /// <summary>A pointer to an input.</summary>
    /// <param name="index">Which input of the op.</param>
    /// <param name="byteOffset">From its first element.</param>
    public KernelLaunch Input(int index, long byteOffset = 0) => Pointer(_builder.Input(index).At(byteOffset));

    /// <summary>A pointer to an input, or a null pointer when the op was given fewer.</summary>
    /// <param name="index">Which input of the op.</param>
    public KernelLaunch OptionalInput(int index) => index < _builder.Inputs.Count ? Input(index) : Null();

    /// <summary>A pointer to an output.</summary>
    /// <param name="index">Which output of the op.</param>
    /// <param name="byteOffset">From its first element.</param>
    public KernelLaunch Output(int index, long byteOffset = 0) => Pointer(_builder.Output(index).At(byteOffset));

    /// <summary>A pointer to temporary memory.</summary>
    /// <param name="scratch">A region from <see cref="CudaKernelBuilder.Scratch"/>.</param>
    /// <param name="byteOffset">From its first byte.</param>
    public KernelLaunch Scratch(CudaScratch scratch, long byteOffset = 0) => Pointer(scratch.ToOperand().At(byteOffset));

    /// <summary>A pointer to any operand.</summary>
    public KernelLaunch Pointer(CudaOperand operand)
    {
        _builder.Check(operand);
        return Argument(new KernelArgument(KernelArgumentKind.Pointer, operand));
    }

    /// <summary>A null pointer.</summary>
    public KernelLaunch Null() => Argument(new KernelArgument(KernelArgumentKind.Null));

    /// <summary>An <c>int</c>.</summary>
    public KernelLaunch Int32(int value) => Argument(new KernelArgument(KernelArgumentKind.Int32, Bits: value));

    /// <summary>A <c>long long</c>.</summary>
    public KernelLaunch Int64(long value) => Argument(new KernelArgument(KernelArgumentKind.Int64, Bits: value));

    /// <summary>A <c>float</c>.</summary>
    public KernelLaunch Float32(float value) =>
        Argument(new KernelArgument(KernelArgumentKind.Float32, Bits: BitConverter.SingleToInt32Bits(value)));

    /// <summary>
    /// Two parameters, <c>Status* status, int tag</c>, with which the kernel reports what it found wrong in the data:
    /// <c>report_status(status, tag, index, value)</c>. The first report is kept; it is thrown, with the op's name
    /// before the message, when results are next read. The kernel must go on without touching memory through the bad index.
    /// </summary>
    /// <param name="message">What is wrong; <c>{index}</c> and <c>{value}</c> stand for the reported numbers.</param>
    public KernelLaunch Status(string message)
    {
        ArgumentException.ThrowIfNullOrEmpty(message);
        return Argument(new KernelArgument(KernelArgumentKind.Status, Bits: _builder.AddStatus(message)));
    }

    /// <summary>
    /// A pointer to 16 <c>int</c>s of the device by which blocks of the launch tell each other how far they are: zeros when
    /// the kernel begins, and the kernel must leave zeros.
    /// </summary>
    internal KernelLaunch Counters() => Argument(new KernelArgument(KernelArgumentKind.Counters));

    /// <summary>An operand as the bulk copy engine reads it (Hopper and newer).</summary>
    /// <param name="operand">The first matrix.</param>
    /// <param name="map">How it is read.</param>
    internal KernelLaunch TensorMap(CudaOperand operand, KernelTensorMap map)
    {
        _builder.Check(operand);
        if (_builder.Target.Architecture < 90)
            throw _builder.Unsupported(
                $"{EntryPoint} uses the bulk copy engine, which {_builder.Target.ArchitectureName} does not have");
        return Argument(new KernelArgument(KernelArgumentKind.TensorMap, operand) { TensorMap = map });
    }

    /// <summary>Launches the blocks in clusters that share memory (Hopper and newer).</summary>
    /// <param name="size">The blocks of a cluster; at most 8, and each extent divides that of the grid.</param>
    public KernelLaunch Cluster(Dim3 size)
    {
        if (_builder.Target.Architecture < 90)
            throw _builder.Unsupported(
                $"{EntryPoint} is launched in clusters, which {_builder.Target.ArchitectureName} does not have");
        if (size.X < 1 || size.Y < 1 || size.Z < 1 || size.Count > 8 || Grid.X % size.X != 0 || Grid.Y % size.Y != 0
            || Grid.Z % size.Z != 0)
            throw new ArgumentException(
                $"{_builder.Op.Name}: {EntryPoint} cannot be launched in clusters of {size} blocks: a cluster has at " +
                $"most 8 and divides the grid {Grid}.", nameof(size));
        ClusterSize = size;
        return this;
    }

    /// <summary>
    /// The kernel calls <c>grid_wait</c> (<c>ptx/grid.cuh</c>) before it touches global memory, in every thread that does and
    /// in every block: where the device has programmatic launches it may be started before the kernel before it has ended.
    /// </summary>
    public KernelLaunch Programmatic()
    {
        IsProgrammatic = _builder.Target.StartsEarly;
        return this;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{EntryPoint} in {Variant}: grid {Grid}, threads {Threads}, shared {SharedBytes}";

    /// <summary>The name of an element type in kernels.</summary>
    internal static string NameOf(DataType dataType) => dataType switch
    {
        DataType.Float32 => "float",
        DataType.BFloat16 => "bfloat16",
        DataType.Int32 => "int",
        _ => throw new ArgumentOutOfRangeException(nameof(dataType), dataType, "Kernels have no name for this data type."),
    };

    private KernelLaunch Argument(KernelArgument argument)
    {
        _arguments.Add(argument);
        return this;
    }
}
