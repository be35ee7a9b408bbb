using System.Globalization;
using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>
/// What would run for workloads, without a card: launches, shared memory, operands' bytes; and with NVRTC, registers
/// and spills.
/// </summary>
internal static class KernelDescriptions
{
    private const int RegistersOfMultiprocessor = 65536;

    /// <summary>Prints every workload for Ampere and Hopper, deterministic and not.</summary>
    /// <returns>0; 1 when a workload cannot run.</returns>
    public static int Print(IReadOnlyList<Workload> workloads, bool compile)
    {
        int failures = 0;
        var launches = new Dictionary<KernelVariant, List<KernelLaunch>>();
        foreach (CudaTarget target in new[] { CudaTarget.Ampere, CudaTarget.Hopper })
        {
            foreach (Workload workload in workloads)
            {
                try
                {
                    TensorType[] inputs = [.. workload.Inputs.Select(input => input.Type)];
                    IReadOnlyList<TensorType> outputs = workload.Op.Infer(inputs);
                    CudaKernelDescription own = CudaBindings.Standard.Describe(workload.Op, inputs, outputs, target);
                    CudaKernelDescription library = CudaBindings.Standard.Describe(workload.Op, inputs, outputs,
                        target with { Deterministic = false });
                    double bytes = inputs.Concat(outputs).Sum(type => (double)type.Bytes) + own.ScratchBytes;
                    Console.WriteLine(
                        string.Create(CultureInfo.InvariantCulture,
                            $"{target.ArchitectureName} {workload.Name}: {bytes / (1 << 20):F0} MiB, of them scratch {own.ScratchBytes / 1048576.0:F0}"));
                    PrintSteps("own", own);
                    if (AsText(own) != AsText(library))
                        PrintSteps("library", library);
                    foreach (KernelLaunch launch in own.Launches.Concat(library.Launches))
                    {
                        if (!launches.TryGetValue(launch.Variant, out List<KernelLaunch>? list))
                            launches.Add(launch.Variant, list = []);
                        list.Add(launch);
                    }
                }
                catch (Exception exception)
                    when (exception is NotSupportedException or GraphException or ArgumentException or OverflowException)
                {
                    failures++;
                    Console.WriteLine($"{target.ArchitectureName} {workload.Name}: FAILS: {exception.Message}");
                }
            }
        }

        if (compile)
            failures += Compile(launches);
        Console.WriteLine($"{workloads.Count} workloads, {launches.Count} variants to compile, {failures} failures");
        return failures == 0 ? 0 : 1;
    }

    /// <summary>Everything that decides what runs, as text; equal where two devices would run the same.</summary>
    public static string AsText(CudaKernelDescription description) =>
        string.Join('\n', description.Steps.Select(step => step is CudaLaunchStep { Launch: var launch }
        ? $"{launch} cluster {launch.ClusterSize} ({string.Join(", ", launch.Arguments)})"
        : step.ToString()));

    private static void PrintSteps(string arm, CudaKernelDescription description)
    {
        foreach (CudaStep step in description.Steps)
        {
            Console.WriteLine($"    {arm}: " + step switch
            {
                CudaLaunchStep { Launch: var launch } =>
                    $"{launch}{(launch.ClusterSize.Count > 1 ? $", clusters of {launch.ClusterSize}" : "")}",
                CudaProductStep product =>
                    $"cuBLAS {product.Batch} × [{product.Rows}, {product.Inner}] · [{product.Inner}, {product.Columns}]",
                CudaClearStep clear => $"clears {clear.Bytes} bytes",
                CudaCopyStep copy => $"copies {copy.Bytes} bytes",
                _ => step.ToString(),
            });
        }
    }

    private static int Compile(Dictionary<KernelVariant, List<KernelLaunch>> launches)
    {
        var compiler = new CudaCompiler();
        Console.WriteLine($"NVRTC {compiler.Version}");
        int failures = 0;
        foreach ((KernelVariant variant, List<KernelLaunch> uses) in launches)
        {
            try
            {
                IReadOnlyList<KernelResources> resources = compiler.Compile(variant).Resources;
                foreach (string entry in uses.Select(use => use.EntryPoint).Distinct())
                {
                    KernelResources? found = resources.FirstOrDefault(resource => resource.EntryPoint == entry);
                    long threads = uses.Where(use => use.EntryPoint == entry).Max(use => use.Threads.Count);
                    // Registers are given to a warp in eights for each thread.
                    bool fits = found is not null && (found.Registers + 7) / 8 * 8 * threads <= RegistersOfMultiprocessor;
                    failures += fits ? 0 : 1;
                    Console.WriteLine(found is null
                        ? $"{variant}: FAILS: there is no entry point {entry}"
                        : $"{variant} {entry}: {found.Registers} registers × {threads} threads, spills {found.SpillStoreBytes} + {found.SpillLoadBytes} bytes, stack {found.StackBytes}, static shared {found.StaticSharedBytes}{(fits ? "" : " FAILS: more registers than a multiprocessor has")}");
                }
            }
            catch (KernelCompilationException exception)
            {
                failures++;
                Console.WriteLine($"{variant}: FAILS: {exception.Message}");
            }
        }

        return failures;
    }
}
