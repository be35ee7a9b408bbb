namespace Skylight.Tests.Simt;

/// <summary>
/// One deliberate mistake each with memory barriers, bulk copies, clusters and warpgroup products: found, with kernel
/// and line.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class HopperBugTests
{
    private const int LaunchTimeout = 702, LaunchFailed = 719;

    private const string OtherNumber = "load_cluster(map_shared(barrier + 68, cluster_rank() ^ 1))";

    private const string Includes = """
        #include "ptx/cluster.cuh"
        #include "ptx/mbarrier.cuh"
        #include "ptx/memory.cuh"
        #include "ptx/tma.cuh"
        #include "ptx/warp.cuh"
        #include "ptx/wgmma.cuh"

        """;

    /// <summary>A warpgroup multiplies the zeros it has put into shared memory.</summary>
    private const string Warpgroup = Includes + """
        extern "C" __global__ void bug(float* x) {
            SHARED(memory);
            for (int i = threadIdx.x; i < 8192 / 4; i += 128) reinterpret_cast<float*>(memory)[i] = 0; // FILL
            FENCE_PROXY;
            synchronize_block();
            unsigned long long matrix = wgmma_descriptor(shared_address(memory), 16, 1024, 1);
            float d[32] = {};
            FENCE;
            wgmma_m64n64k16(d, matrix, matrix, 1); // PRODUCT
            wgmma_commit();
            AFTER;
            x[threadIdx.x % 64] = d[0];
        }
        """;

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ABarrierThatExpectsTooManyArrivalsIsADeadlock(string schedule) =>
        PlantedBugTests.Finds(LaunchTimeout, "has had 64 of 65 arrivals in phase 0", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                if (threadIdx.x == 0) mbarrier_initialize(barrier, 65); // BUG
                synchronize_block();
                mbarrier_arrive(barrier);
                mbarrier_wait(barrier, 0); // BUG
            }
            """, threads: 64, shared: 256, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ABarrierThatExpectsTooFewArrivalsIsFound(string schedule) =>
        PlantedBugTests.Finds(LaunchFailed, "not ordered by any barrier", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                float* s = reinterpret_cast<float*>(memory + 128);
                if (threadIdx.x == 0) mbarrier_initialize(barrier, 1);
                synchronize_block();
                s[threadIdx.x] = 1; // BUG
                if (threadIdx.x % 32 == 0) mbarrier_arrive(barrier);
                mbarrier_wait(barrier, 0);
                x[threadIdx.x] = s[63 - threadIdx.x]; // BUG
            }
            """, threads: 64, shared: 1024, schedule: schedule);

    [Fact]
    public void TooFewBytesAreADeadlock() =>
        PlantedBugTests.Finds(LaunchTimeout, "misses 16 bytes", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                mbarrier_initialize(barrier, 1);
                mbarrier_arrive_expect(barrier, 128);
                bulk_load(barrier + 128, x, 112, barrier);
                mbarrier_wait(barrier, 0); // BUG
            }
            """, threads: 1, shared: 1024);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void DataOfABulkLoadReadBeforeItsBarrierIsFound(string schedule) =>
        PlantedBugTests.Finds(LaunchFailed, "no wait covers that copy", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(barrier, 1);
                    mbarrier_arrive_expect(barrier, 256);
                    bulk_load(barrier + 128, x, 256, barrier); // BUG
                }
                synchronize_block();
                x[threadIdx.x] = reinterpret_cast<float*>(memory + 128)[threadIdx.x]; // BUG
                mbarrier_wait(barrier, 0);
            }
            """, threads: 64, shared: 1024, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void AStageFilledAgainBeforeItsReadersAreDoneIsFound(string schedule) =>
        PlantedBugTests.Finds(LaunchFailed, "shared memory at offset", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                if (threadIdx.x == 0) mbarrier_initialize(barrier, 1);
                synchronize_block();
                float sum = 0;
                for (int step = 0; step < 2; step++) {
                    if (threadIdx.x == 0) {
                        mbarrier_arrive_expect(barrier, 256);
                        bulk_load(barrier + 128, x, 256, barrier); // BUG
                    }
                    mbarrier_wait(barrier, step);
                    sum += reinterpret_cast<float*>(memory + 128)[threadIdx.x]; // BUG
                    if (threadIdx.x < 32) synchronize_warp();
                }
                x[threadIdx.x] = sum;
            }
            """, threads: 64, shared: 1024, schedule: schedule);

    [Fact]
    public void AnUninitialisedBarrierIsFound() =>
        PlantedBugTests.Finds(LaunchFailed, "no initialised mbarrier", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                mbarrier_arrive(shared_address(memory)); // BUG
            }
            """, threads: 1, shared: 256);

    [Fact]
    public void AnOverwrittenBarrierIsFound() =>
        PlantedBugTests.Finds(LaunchFailed, "have been overwritten", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                mbarrier_initialize(shared_address(memory), 1);
                reinterpret_cast<volatile float*>(memory)[1] = 0;
                mbarrier_arrive(shared_address(memory)); // BUG
            }
            """, threads: 1, shared: 256);

    [Fact]
    public void ALoadThatNobodyWaitsForIsFound() =>
        PlantedBugTests.Finds(LaunchFailed, "nobody waited for its mbarrier", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                mbarrier_initialize(barrier, 1);
                mbarrier_arrive_expect(barrier, 128);
                bulk_load(barrier + 128, x, 128, barrier); // BUG
            }
            """, threads: 1, shared: 1024);

    [Fact]
    public void SharedMemoryOfABlockThatHasReturnedIsFound() =>
        PlantedBugTests.Finds(LaunchFailed, "which has returned", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                reinterpret_cast<float*>(memory)[threadIdx.x] = 0;
                cluster_arrive();
                cluster_wait();
                if (cluster_rank() == 1) x[threadIdx.x] = load_cluster(map_shared(shared_address(memory), 0)); // BUG
            }
            """, threads: 32, shared: 256, cluster: 2);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void AMissingClusterBarrierIsARace(string schedule) =>
        PlantedBugTests.Finds(LaunchFailed, "race on shared memory", Includes + """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                if (threadIdx.x == 0) reinterpret_cast<float*>(memory)[0] = 1; // BUG
                synchronize_block();
                x[threadIdx.x] = load_cluster(map_shared(shared_address(memory), cluster_rank() ^ 1)); // BUG
                cluster_arrive();
                cluster_wait();
            }
            """, threads: 32, shared: 256, schedule: schedule, cluster: 2);

    [Theory]
    [InlineData("fence_mbarrier_initialize();", "mbarrier_arrive_cluster_reader", "1", "")]
    [InlineData("", "mbarrier_arrive_cluster_reader", "1", "atomic update")]
    [InlineData("fence_mbarrier_initialize(); s[1] = 1;", "mbarrier_arrive_cluster", OtherNumber, "")]
    [InlineData("fence_mbarrier_initialize(); s[1] = 1;", "mbarrier_arrive_cluster_reader", OtherNumber, "read and the write")]
    public void ArrivalsWithoutAFenceShowNothingToOtherBlocks(string fence, string arrive, string value, string finding)
    {
        string source = Includes + $$"""
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                unsigned int barrier = shared_address(memory);
                float* s = reinterpret_cast<float*>(memory + 64);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(barrier, 1); // BUG
                    {{fence}} // BUG
                }
                cluster_arrive_relaxed();
                cluster_wait();
                if (threadIdx.x == 0) {
                    {{arrive}}(map_shared(barrier, cluster_rank() ^ 1)); // BUG
                    mbarrier_wait(barrier, 0);
                    x[cluster_rank()] = {{value}}; // BUG
                }
                cluster_arrive();
                cluster_wait();
            }
            """;
        if (finding.Length > 0)
        {
            PlantedBugTests.Finds(LaunchFailed, finding, source, threads: 32, shared: 256, cluster: 2);
            return;
        }

        using Emulator emulator = new() { ClusterSize = 2 };
        ulong x = emulator.Upload(new float[2]);
        emulator.Run(emulator.Kernel(source, "bug"), 2, 32, 256, x);
        Assert.Equal([1f, 1f], emulator.Download<float>(x, 2));
    }

    [Fact]
    public void RegistersThatDoNotExistAreFound() =>
        PlantedBugTests.Finds(LaunchFailed, "there are 65536", Includes + """
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x < 128) decrease_registers<40>();
                else increase_registers<240>(); // BUG
            }
            """, threads: 384);

    [Fact]
    public void AWarpgroupProductIsCorrectWithEverythingInPlace()
    {
        using Emulator emulator = new();
        ulong x = emulator.Upload(new float[64]);
        nint kernel = emulator.Kernel(Warpgroup, "bug", "-DFENCE_PROXY=fence_proxy_async()", "-DFENCE=wgmma_fence()",
            "-DAFTER=wgmma_wait<0>(d)");
        emulator.Run(kernel, 1, 128, 8192, x);
        Assert.Equal(0f, emulator.Download<float>(x, 1)[0]);
    }

    [Theory]
    [InlineData("", "wgmma_fence()", "wgmma_wait<0>(d)", "without a fence_proxy_async", "PRODUCT")]
    [InlineData("fence_proxy_async()", "", "wgmma_wait<0>(d)", "without a wgmma_fence", "PRODUCT")]
    [InlineData("fence_proxy_async()", "wgmma_fence()", "", "no wgmma_wait covers it", "PRODUCT")]
    [InlineData("fence_proxy_async()", "wgmma_fence()", "wgmma_wait<0>()", "does not name its registers", "PRODUCT")]
    [InlineData("fence_proxy_async()", "wgmma_fence()", "d[0] = 0; wgmma_wait<0>(d)",
        "were written before the wait that covers it", "PRODUCT")]
    [InlineData("fence_proxy_async()", "wgmma_fence()", "memory[threadIdx.x] = 0; wgmma_wait<0>(d)",
        "may still be reading it", "PRODUCT")]
    [InlineData("if (threadIdx.x < 96) fence_proxy_async()", "wgmma_fence()", "wgmma_wait<0>(d)",
        "without a fence_proxy_async", "FILL")]
    public void AMissingStepOfAWarpgroupProductIsFound(string fenceProxy, string fence, string after, string finding,
        string line)
    {
        string source = Warpgroup.Replace("FENCE_PROXY", fenceProxy, StringComparison.Ordinal)
            .Replace("FENCE;", fence + ";", StringComparison.Ordinal)
            .Replace("AFTER", after, StringComparison.Ordinal).Replace("// " + line, "// BUG", StringComparison.Ordinal);
        PlantedBugTests.Finds(LaunchFailed, finding, source, threads: 128, shared: 8192);
    }

    [Theory]
    [InlineData("wgmma_wait<0>(d)", "does not name its registers")]
    [InlineData("a[1][2] = 3; wgmma_wait<0>(d, a)", "were written before the wait that covers it")]
    public void TheLeftFactorInRegistersIsNamedByTheWaitAndNotWrittenBefore(string after, string finding) =>
        PlantedBugTests.Finds(LaunchFailed, finding,
            Warpgroup.Replace("FENCE_PROXY", "fence_proxy_async()", StringComparison.Ordinal)
            .Replace("FENCE;", "unsigned int a[2][4] = {}; wgmma_fence();", StringComparison.Ordinal)
            .Replace("wgmma_m64n64k16(d, matrix, matrix, 1)", "wgmma_m64n64k16(d, a[1], matrix, 1)",
                StringComparison.Ordinal)
            .Replace("AFTER", after, StringComparison.Ordinal).Replace("// PRODUCT", "// BUG", StringComparison.Ordinal),
            threads: 128, shared: 8192);

    [Fact]
    public void WarpsOfAWarpgroupThatDisagreeAreFound() =>
        PlantedBugTests.Finds(LaunchFailed, "the warps of a warpgroup do not agree",
            Warpgroup.Replace("FENCE_PROXY", "fence_proxy_async()", StringComparison.Ordinal)
            .Replace("FENCE;", "wgmma_fence(); if (threadIdx.x >= 96) matrix += 2;", StringComparison.Ordinal)
            .Replace("AFTER", "wgmma_wait<0>(d)", StringComparison.Ordinal)
            .Replace("// PRODUCT", "// BUG", StringComparison.Ordinal), threads: 128, shared: 8192);
}
