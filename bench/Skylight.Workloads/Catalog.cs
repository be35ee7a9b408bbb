namespace Skylight.Workloads;

/// <summary>All workloads. A new op adds its line to the file of its family.</summary>
public static class Catalog
{
    /// <summary>Every workload of every family.</summary>
    public static IReadOnlyList<Workload> All { get; } =
    [
        .. MatMulWorkloads.All,
        .. NormWorkloads.All,
        .. HeadWorkloads.All,
        .. SamplingWorkloads.All,
        .. OptimizerWorkloads.All,
        .. ActivationWorkloads.All,
        .. EmbeddingWorkloads.All,
        .. VisionWorkloads.All,
        .. RotaryWorkloads.All,
        .. AttentionWorkloads.All,
        .. QuantizedWorkloads.All,
    ];
}
