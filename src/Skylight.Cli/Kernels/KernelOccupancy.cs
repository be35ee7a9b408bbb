using Skylight.Cuda;

namespace Skylight.Cli.Kernels;

/// <summary>
/// How many blocks of a kernel one multiprocessor can hold, from what the compiler reports: limits and granularities
/// are those of the CUDA programming guide's tables of compute capabilities. What runs may be less.
/// </summary>
internal static class KernelOccupancy
{
    private const int RegistersPerMultiprocessor = 65536, RegistersAllocatedAtOnce = 256, WarpsAllocatedAtOnce = 4;
    private const int SharedBytesAllocatedAtOnce = 128, SharedBytesOfTheSystem = 1024;

    /// <summary>The blocks that one multiprocessor can hold.</summary>
    /// <param name="architecture">For example <c>sm_90a</c>.</param>
    /// <param name="registers">Registers of a thread.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Shared memory of a block.</param>
    public static int Blocks(string architecture, int registers, int threads, int sharedBytes)
    {
        (int mostWarps, int mostBlocks, int mostSharedBytes) = Limits(architecture);
        int warps = (threads + 31) / 32;
        int registersOfWarp = RoundUp(Math.Max(1, registers) * 32, RegistersAllocatedAtOnce);
        int warpsByRegisters = RegistersPerMultiprocessor / registersOfWarp / WarpsAllocatedAtOnce * WarpsAllocatedAtOnce;
        int blocksByShared = mostSharedBytes / (RoundUp(sharedBytes, SharedBytesAllocatedAtOnce) + SharedBytesOfTheSystem);
        return Math.Min(Math.Min(mostBlocks, mostWarps / warps), Math.Min(warpsByRegisters / warps, blocksByShared));
    }

    /// <summary>The share of a multiprocessor's warps that those blocks have, 0 to 1.</summary>
    public static double Occupancy(string architecture, int registers, int threads, int sharedBytes) =>
        (double)Blocks(architecture, registers, threads, sharedBytes) * ((threads + 31) / 32) / Limits(architecture).Warps;

    private static (int Warps, int Blocks, int SharedBytes) Limits(string architecture) =>
        CudaTarget.For(architecture).Architecture switch
        {
            80 => (64, 32, 164 * 1024),
            86 => (48, 16, 100 * 1024),
            87 => (48, 16, 164 * 1024),
            89 => (48, 24, 100 * 1024),
            90 or 100 or 103 => (64, 32, 228 * 1024),
            _ => (48, 24, 100 * 1024),
        };

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;
}
