using Skylight.Cuda;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>
/// What would run for the shapes of real models, without a card: nothing of it should be discovered on one.
/// </summary>
public class ModelWorkloadTests
{
    private static readonly Workload[] s_all = [.. KernelRecord.All.Select(record => record.Workload), .. ModelWorkloads.All];

    public static TheoryData<string, string, bool> All
    {
        get
        {
            var data = new TheoryData<string, string, bool>();
            foreach (string architecture in new[] { "sm_80", "sm_90a" })
            {
                foreach (string name in s_all.Select(workload => workload.Name))
                {
                    data.Add(name, architecture, true);
                    data.Add(name, architecture, false);
                }
            }

            return data;
        }
    }

    [Fact]
    public void Names_are_unique() =>
        Assert.Equal(s_all.Length, s_all.Select(workload => workload.Name).Distinct().Count());

    [Theory]
    [MemberData(nameof(All))]
    public void Every_op_has_kernels_that_a_card_can_launch(string name, string architecture, bool deterministic)
    {
        Workload workload = s_all.Single(workload => workload.Name == name).ForActivations(DataType.BFloat16);
        CudaTarget target = CudaTarget.For(architecture) with { Deterministic = deterministic };
        // Refuses geometry, too much shared memory, and ops without a binding.
        CudaKernelDescription description = CudaBindings.Standard.Describe(workload.Op,
            [.. workload.Inputs.Select(input => input.Type)], target);
        Assert.NotEmpty(description.Steps);
        Assert.All(description.Launches, launch =>
        {
            Assert.InRange(launch.SharedBytes, 0, target.SharedBytesPerBlock);
            Assert.InRange(launch.Threads.Count, 1, 1024);
            Assert.InRange(launch.Grid.Count, 1, int.MaxValue);
        });
        // Activations and weights are bfloat16 for the matrix units; logits alone stay float32.
        Assert.Equal(workload.Op is SampleTokens ? DataType.Float32 : DataType.BFloat16, workload.Inputs[0].Type.DataType);
    }
}
