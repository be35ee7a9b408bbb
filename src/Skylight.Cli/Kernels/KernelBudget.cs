using System.Runtime.ExceptionServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Skylight.Cuda;

namespace Skylight.Cli.Kernels;

/// <summary>What one entry point of one variant takes of a multiprocessor, as NVRTC's assembler reports it.</summary>
/// <param name="Kernel">The source file, its constants and the entry point.</param>
/// <param name="Architecture">For example <c>sm_90a</c>.</param>
/// <param name="Registers">Registers of a thread.</param>
/// <param name="SpillBytes">Bytes that a thread spills, stores and loads together.</param>
/// <param name="StackBytes">The stack frame of a thread.</param>
/// <param name="SharedBytes">Static and dynamic shared memory of a block, at most.</param>
/// <param name="Threads">Threads of a block, at most.</param>
internal sealed record KernelFigures(string Kernel, string Architecture, int Registers, int SpillBytes, int StackBytes,
    int SharedBytes, int Threads)
{
    /// <summary>The blocks that one multiprocessor can hold.</summary>
    public int Blocks => KernelOccupancy.Blocks(Architecture, Registers, Threads, SharedBytes);

    /// <summary>The share of a multiprocessor's warps that they have, in percent.</summary>
    public int OccupancyPercent =>
        (int)Math.Round(100 * KernelOccupancy.Occupancy(Architecture, Registers, Threads, SharedBytes));
}

/// <summary>
/// The committed table of <see cref="KernelFigures"/>, <c>kernels/budget.json</c>: a kernel may get better, not worse,
/// without the table being changed.
/// </summary>
internal static class KernelBudget
{
    private const int MostTableBytes = 16 << 20;

    /// <summary>
    /// Compiles every variant and pairs each entry point in use with its figures. PTX is compiled, too, but has none.
    /// </summary>
    /// <param name="compiler">NVRTC.</param>
    /// <param name="uses">What to compile.</param>
    /// <param name="progress">Told each variant before it is compiled.</param>
    /// <param name="cancellationToken">Stops between two variants.</param>
    public static IReadOnlyList<KernelFigures> Measure(CudaCompiler compiler, IReadOnlyList<KernelUse> uses,
        Action<KernelVariant>? progress, CancellationToken cancellationToken) =>
        Compile(compiler, uses, progress, (_, figures) => figures.Select(use => use.Figures), cancellationToken);

    /// <summary>The same, and reads something of each compiled variant and its entry points in use.</summary>
    /// <param name="compiler">NVRTC.</param>
    /// <param name="uses">What to compile.</param>
    /// <param name="progress">Told each variant before it is compiled.</param>
    /// <param name="read">Reads a variant; called on several threads.</param>
    /// <param name="cancellationToken">Stops between two variants.</param>
    public static IReadOnlyList<T> Compile<T>(CudaCompiler compiler, IReadOnlyList<KernelUse> uses,
        Action<KernelVariant>? progress, Func<CompiledKernels, (KernelUse Use, KernelFigures Figures)[], IEnumerable<T>> read,
        CancellationToken cancellationToken)
    {
        var variants = uses.GroupBy(use => use.Variant.ToString(), StringComparer.Ordinal).ToArray();
        var results = new T[variants.Length][];
        // NVRTC compiles side by side since version 11.8.
        try
        {
            Parallel.For(0, variants.Length,
                new ParallelOptions
                {
                    CancellationToken = cancellationToken,
                    MaxDegreeOfParallelism = Environment.ProcessorCount,
                }, index =>
            {
                KernelVariant variant = variants[index].First().Variant;
                progress?.Invoke(variant);
                CompiledKernels compiled = compiler.Compile(variant);
                IReadOnlyList<KernelResources> resources = compiled.Resources;
                results[index] = variant.IsPtx ? []
                    : [.. read(compiled, [.. variants[index].Select(use => (use,
                        Figures(use, resources.FirstOrDefault(resource => resource.EntryPoint == use.EntryPoint))))])];
            });
        }
        catch (AggregateException exception)
        {
            // The first variant that does not compile, as if it had been compiled here.
            ExceptionDispatchInfo.Throw(exception.InnerExceptions[0]);
        }

        return [.. results.SelectMany(group => group)];
    }

    /// <summary>What is worse than the table says, new with a spill, or not in it; empty when the table holds.</summary>
    public static IReadOnlyList<string> Compare(IReadOnlyList<KernelFigures> measured, IReadOnlyList<KernelFigures> budget)
    {
        Dictionary<(string, string), KernelFigures> allowed = budget.ToDictionary(
            figures => (figures.Kernel, figures.Architecture));
        var faults = new List<string>();
        foreach (KernelFigures now in measured)
        {
            if (!allowed.TryGetValue((now.Kernel, now.Architecture), out KernelFigures? limit))
            {
                faults.Add($"{now.Kernel} ({now.Architecture}) is not in the table");
                continue;
            }

            Check("registers", now.Registers, limit.Registers);
            Check("spilled bytes", now.SpillBytes, limit.SpillBytes);
            Check("stack bytes", now.StackBytes, limit.StackBytes);
            Check("shared bytes", now.SharedBytes, limit.SharedBytes);

            void Check(string what, int value, int most)
            {
                if (value > most)
                    faults.Add($"{now.Kernel} ({now.Architecture}): {value} {what}, the table allows {most}");
            }
        }

        return faults;
    }

    /// <summary>Reads a table.</summary>
    /// <exception cref="InvalidDataException">It is not such a table.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static IReadOnlyList<KernelFigures> Read(string path) =>
        Read(path, KernelJson.Default.KernelFiguresArray, row => (row.Kernel, row.Architecture));

    /// <summary>Reads a table of <see cref="KernelAnalysis"/>.</summary>
    /// <inheritdoc cref="Read(string)"/>
    public static IReadOnlyList<KernelAnalysis> ReadAnalyses(string path) =>
        Read(path, KernelJson.Default.KernelAnalysisArray, row => (row.Kernel, row.Architecture));

    /// <summary>A table as text, one kernel per line so that changes read well.</summary>
    public static string Format(IReadOnlyList<KernelFigures> figures) => Format(figures, KernelJson.Default.KernelFigures);

    /// <inheritdoc cref="Format(IReadOnlyList{KernelFigures})"/>
    public static string Format(IReadOnlyList<KernelAnalysis> analyses) =>
        Format(analyses, KernelJson.Default.KernelAnalysis);

    private static string Format<T>(IReadOnlyList<T> rows, JsonTypeInfo<T> type) =>
        "[\n" + string.Join(",\n", rows.Select(row => "  " + JsonSerializer.Serialize(row, type))) + "\n]\n";

    private static T[] Read<T>(string path, JsonTypeInfo<T[]> type, Func<T, (string Kernel, string Architecture)> key)
    {
        T[] table;
        try
        {
            table = JsonText.Deserialize(BoundedFile.Read(path, MostTableBytes), type);
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"'{path}' is no table of kernels: {exception.Message}", exception);
        }

        return table.GroupBy(key).FirstOrDefault(group => group.Count() > 1) is { } twice
            ? throw new InvalidDataException($"'{path}' has {twice.Key.Kernel} ({twice.Key.Architecture}) twice.")
            : table;
    }

    private static string Name(KernelVariant variant) =>
        string.Join(" ", variant.Defines.Select(define => $"{define.Key}={define.Value}").Prepend(variant.Source.Name));

    private static KernelFigures Figures(KernelUse use, KernelResources? resources)
    {
        if (resources is null)
            throw new CudaException($"{use.Variant}: the compiler reports nothing about {use.EntryPoint}.");
        return new KernelFigures(
            $"{Name(use.Variant)} {use.EntryPoint}", use.Variant.ArchitectureName, resources.Registers,
            resources.SpillStoreBytes + resources.SpillLoadBytes,
            resources.StackBytes, resources.StaticSharedBytes + use.SharedBytes, use.Threads);
    }
}

/// <summary>JSON of the kernel commands.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(KernelFigures[]))]
[JsonSerializable(typeof(KernelFigures))]
[JsonSerializable(typeof(KernelAnalysis[]))]
[JsonSerializable(typeof(KernelAnalysis))]
[JsonSerializable(typeof(CheckedQuantity[]))]
[JsonSerializable(typeof(EqualityRow[]))]
internal sealed partial class KernelJson : JsonSerializerContext;
