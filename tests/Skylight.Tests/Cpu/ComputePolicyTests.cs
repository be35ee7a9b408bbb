using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

/// <summary>What products are computed with, for every processor and every wish.</summary>
public sealed class ComputePolicyTests
{
    [Theory]
    [InlineData(null, false, false, DataType.Float32, false)]
    [InlineData(null, false, true, DataType.Float32, true)]
    [InlineData(null, true, false, DataType.BFloat16, false)]
    [InlineData(null, true, true, DataType.BFloat16, true)]
    [InlineData(DataType.Float32, false, false, DataType.Float32, false)]
    [InlineData(DataType.Float32, false, true, DataType.Float32, false)]
    [InlineData(DataType.Float32, true, false, DataType.Float32, false)]
    [InlineData(DataType.Float32, true, true, DataType.Float32, false)]
    [InlineData(DataType.BFloat16, false, false, DataType.BFloat16, true)]
    [InlineData(DataType.BFloat16, false, true, DataType.BFloat16, true)]
    [InlineData(DataType.BFloat16, true, false, DataType.BFloat16, true)]
    [InlineData(DataType.BFloat16, true, true, DataType.BFloat16, true)]
    public void What_is_asked_for_counts_and_else_the_processor(DataType? asked, bool hasBFloat16, bool hasBytes,
        DataType compute, bool roundsToBytes) =>
        Assert.Equal(new ComputePolicy(compute, roundsToBytes), ComputePolicy.Of(asked, hasBFloat16, hasBytes));
}
