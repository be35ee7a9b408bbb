namespace Skylight.Tests.Cpu;

/// <summary>Tests that set the process-wide thread count run one after the other.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class CpuThreadsCollection
{
    public const string Name = "CPU threads";
}
