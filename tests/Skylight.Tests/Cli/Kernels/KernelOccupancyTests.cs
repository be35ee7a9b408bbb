using Skylight.Cli.Kernels;

namespace Skylight.Tests.Cli.Kernels;

public sealed class KernelOccupancyTests
{
    /// <summary>Worked by hand from the tables of the CUDA programming guide.</summary>
    [Theory]
    [InlineData("sm_80", 32, 256, 0, 8, 100)] // 64 warps
    [InlineData("sm_80", 33, 256, 0, 6, 75)] // 1280 registers a warp: 51 warps, allocated by 4: 48
    [InlineData("sm_80", 255, 128, 0, 2, 12.5)] // 8192 registers a warp: 8 warps
    [InlineData("sm_80", 128, 128, 80 * 1024, 2, 12.5)] // 2 × 81 KiB of 164
    [InlineData("sm_80", 128, 128, 82 * 1024, 1, 6.25)]
    [InlineData("sm_90a", 128, 128, 82 * 1024, 2, 12.5)] // of 228
    [InlineData("sm_90a", 16, 32, 0, 32, 50)] // no more than 32 blocks
    [InlineData("sm_86", 32, 256, 0, 6, 100)] // 48 warps
    [InlineData("sm_86", 16, 64, 0, 16, 66.67)]
    [InlineData("sm_89", 16, 64, 0, 24, 100)]
    [InlineData("sm_120a", 40, 384, 99 * 1024, 1, 25)]
    public void Blocks_and_warps_are_those_of_the_tables(string architecture, int registers, int threads,
        int sharedBytes, int blocks, double percent)
    {
        Assert.Equal(blocks, KernelOccupancy.Blocks(architecture, registers, threads, sharedBytes));
        Assert.Equal(percent / 100, KernelOccupancy.Occupancy(architecture, registers, threads, sharedBytes), 3);
    }
}
