using Skylight.Cli.Kernels;
using Skylight.Cuda;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>Every op's CUDA kernels, and those of its gradient, on the emulator against the CPU.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ParityTests
{
    public static TheoryData<string> Small =>
        [.. Catalog.All.Where(workload => workload.Tiny || IsQuick(workload)).Select(workload => workload.Name)];

    [Theory]
    [MemberData(nameof(Small))]
    public void Kernels_agree_with_the_cpu(string name)
    {
        Emulator.Require();
        using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
        CheckedQuantity[] rows = [.. CheckCommand.Check(Catalog.All.First(workload => workload.Name == name), device)];
        Assert.All(rows, row => Assert.True(row.Passed, $"{row.Quantity}: {row.Error} of {row.Tolerance} {row.Message}"));
        Assert.NotEmpty(rows);
    }

    /// <summary>More than a tiny shape, and still a matter of a moment.</summary>
    private static bool IsQuick(Workload workload)
    {
        var inputs = workload.Inputs.Select(input => input.Type).ToArray();
        return workload.Op.Cost(inputs, workload.Op.Infer(inputs)) is { Flops: < 1e7, Bytes: < 2e6 };
    }
}
