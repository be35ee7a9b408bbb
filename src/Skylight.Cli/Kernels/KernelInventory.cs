using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Cli.Kernels;

/// <summary>One entry point of a compiled variant, and what the workloads ask of it.</summary>
/// <param name="Variant">The source with its constants and its architecture.</param>
/// <param name="EntryPoint">The kernel.</param>
/// <param name="Threads">The most threads of a block.</param>
/// <param name="SharedBytes">The most dynamic shared memory of a block.</param>
internal sealed record KernelUse(KernelVariant Variant, string EntryPoint, int Threads, int SharedBytes);

/// <summary>Which kernels the catalog's workloads, and their gradients, need on a card. Needs no card.</summary>
internal static class KernelInventory
{
    /// <summary>The kernels for these workloads, each once, in order of their names.</summary>
    /// <param name="workloads">What is to be computed.</param>
    /// <param name="target">On which card.</param>
    /// <param name="unsupported">Receives what has no kernel, as the binding's own message.</param>
    public static IReadOnlyList<KernelUse> Collect(IEnumerable<Workload> workloads, CudaTarget target,
        ICollection<string> unsupported)
    {
        var uses = new SortedDictionary<string, KernelUse>(StringComparer.Ordinal);
        foreach (Node node in workloads.SelectMany(Nodes))
        {
            CudaKernelDescription description;
            try
            {
                description = CudaBindings.Standard.Describe(node.Op, node.InputTypes,
                    [.. node.Outputs.Select(output => output.Type)], target);
            }
            catch (NotSupportedException exception)
            {
                if (!unsupported.Contains(exception.Message))
                    unsupported.Add(exception.Message);
                continue;
            }

            foreach (KernelLaunch launch in description.Steps.OfType<CudaLaunchStep>().Select(step => step.Launch))
            {
                string key = $"{launch.Variant} {launch.EntryPoint}";
                KernelUse use = new(launch.Variant, launch.EntryPoint, (int)launch.Threads.Count, launch.SharedBytes);
                uses[key] = uses.TryGetValue(key, out KernelUse? before)
                    ? use with
                    {
                        Threads = Math.Max(use.Threads, before.Threads),
                        SharedBytes = Math.Max(use.SharedBytes, before.SharedBytes),
                    }
                    : use;
            }
        }

        return [.. uses.Values];
    }

    private static IEnumerable<Node> Nodes(Workload workload)
    {
        Workload half = workload.ForActivations(DataType.BFloat16);
        return WorkloadGraph.Forward(half).Graph.Nodes.Concat(WorkloadGraph.Gradients(half)?.Graph.Nodes ?? []);
    }
}
