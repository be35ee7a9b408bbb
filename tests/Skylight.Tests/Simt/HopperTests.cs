namespace Skylight.Tests.Simt;

/// <summary>Memory barriers, the bulk copy engine and clusters, against plain loops.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class HopperTests
{
    private const string Includes = """
        #include "ptx/cluster.cuh"
        #include "ptx/mbarrier.cuh"
        #include "ptx/memory.cuh"
        #include "ptx/tma.cuh"
        #include "ptx/warp.cuh"

        """;

    /// <summary>Schedules, each with late and with immediate completion.</summary>
    public static TheoryData<string, string> Modes =>
        new() { { "forward", "late" }, { "reverse", "late" }, { "seed:3", "late" }, { "forward", "immediate" },
            { "seed:4", "immediate" } };

    [Theory]
    [MemberData(nameof(Modes))]
    public void ARingOfBuffersPassesDataFromAProducerToConsumers(string schedule, string mode)
    {
        // Warp 0 fills two stages by bulk loads, warps 1 and 2 add them up; full and empty barriers per stage. POLL:
        // the loop that a kernel may write itself around try_wait.
        const string Source = Includes + """
            extern "C" __global__ void ring(const float* x, float* y, int steps) {
                SHARED(memory);
                unsigned int base = shared_address(memory), full = base, empty = base + 16;
                float* stages = reinterpret_cast<float*>(memory + 128);
                if (threadIdx.x == 0) {
                    for (int s = 0; s < 2; s++) { mbarrier_initialize(full + 8 * s, 1); mbarrier_initialize(empty + 8 * s, 64); }
                    fence_mbarrier_initialize();
                }
                synchronize_block();
                if (threadIdx.x < 32) {
                    if (threadIdx.x == 0)
                        for (int i = 0; i < steps; i++) {
                            int s = i % 2;
                            mbarrier_wait(empty + 8 * s, (i / 2 & 1) ^ 1);
                            mbarrier_arrive_expect(full + 8 * s, 256);
                            bulk_load(base + 128 + 256 * s, x + 64 * i, 128, full + 8 * s);
                            bulk_load(base + 128 + 256 * s + 128, x + 64 * i + 32, 128, full + 8 * s);
                        }
                } else {
                    float sum = 0;
                    for (int i = 0; i < steps; i++) {
                        int s = i % 2;
            #ifdef POLL
                        while (!mbarrier_try_wait(full + 8 * s, i / 2 & 1)) { }
            #else
                        mbarrier_wait(full + 8 * s, i / 2 & 1);
            #endif
                        sum += stages[64 * s + threadIdx.x - 32];
                        mbarrier_arrive(empty + 8 * s);
                    }
                    y[threadIdx.x - 32] = sum;
                }
            }
            """;
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        const int Steps = 7;
        float[] x = [.. Enumerable.Range(0, 64 * Steps).Select(i => (float)(i * 7 % 31))];
        float[] expected = [
            .. Enumerable.Range(0, 64).Select(i => Enumerable.Range(0, Steps).Sum(step => x[64 * step + i]))];
        ulong deviceX = emulator.Upload(x);
        foreach (string option in new[] { "-DSLEEP", "-DPOLL" })
        {
            ulong y = emulator.Allocate(64 * sizeof(float));
            nint kernel = emulator.Kernel(Source, "ring", option);
            Emulator.Configure("counters", "on");
            Emulator.Check(Emulator.simtCountersReset());
            emulator.Run(kernel, 1, 96, 1024, deviceX, y, Steps);
            Emulator.Check(Emulator.simtCountersRead("ring", out EmulatorCounters counters));
            Assert.Equal((2ul * Steps, 256ul * Steps, 2ul * Steps),
                (counters.BulkCopies, counters.BulkLoadBytes, counters.SharedLoadRequests));
            Assert.Equal(expected, emulator.Download<float>(y, 64));
        }
    }

    [Theory]
    [InlineData(0, 24, 0, 0)]
    [InlineData(1, 16, 4, 3)]
    [InlineData(2, 32, -5, -2)]
    [InlineData(3, 64, 8, 30)]
    [InlineData(3, 64, -64, 0)] // all outside
    [InlineData(3, 64, 2147483000, 2147483000)]
    public void ATensorLoadLaysOutItsBoxSwizzled(int swizzle, int width, int x, int y)
    {
        const int Rows = 35, Columns = 50, Pitch = 56, Height = 16;
        using Emulator emulator = new();
        ushort[] tensor = Numbers(Rows * Pitch);
        byte[] map = Emulator.TensorMap(emulator.Upload(tensor), [Columns, Rows], [Pitch * 2], [(uint)width, Height],
            swizzle);
        nint kernel = emulator.Kernel(Includes + """
            extern "C" __global__ void load(const __grid_constant__ TensorMap map, unsigned short* out, int x, int y, int bytes) {
                SHARED(memory);
                unsigned int base = shared_address(memory);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(base, 1);
                    fence_mbarrier_initialize();
                    tma_prefetch(&map);
                    mbarrier_arrive_expect(base, bytes);
                    tma_load_2d(base + 1024, &map, base, x, y);
                }
                synchronize_block();
                mbarrier_wait(base, 0);
                for (int i = threadIdx.x; i < bytes / 2; i += blockDim.x) out[i] = reinterpret_cast<unsigned short*>(memory + 1024)[i];
            }
            """, "load");
        int count = width * Height;
        ulong result = emulator.Allocate(count * 2);
        emulator.Run(kernel, 1, 32, 1024 + 2 * count, map, result, x, y, 2 * count);
        ushort[] expected = new ushort[count];
        for (int row = 0; row < Height; row++)
        {
            for (int column = 0; column < width; column++)
            {
                long r = (long)y + row, c = (long)x + column;
                bool inside = r >= 0 && r < Rows && c >= 0 && c < Columns;
                expected[row * width + (column / 8 ^ Pattern(row, swizzle)) * 8 + column % 8] = inside
                    ? tensor[r * Pitch + c] : (ushort)0;
            }
        }

        Assert.Equal(expected, emulator.Download<ushort>(result, count));
    }

    [Theory]
    [InlineData("late")]
    [InlineData("immediate")]
    public void ATensorStoreWritesWhatLiesInside(string mode)
    {
        // Slices of a rank-3 tensor go through shared memory to a matrix; parts of both boxes lie outside.
        const int Depth = 3, Rows = 20, Columns = 64;
        using Emulator emulator = new();
        Emulator.Configure("async", mode);
        ushort[] tensor = Numbers(Depth * Rows * Columns);
        byte[] source = Emulator.TensorMap(emulator.Upload(tensor), [Columns, Rows, Depth],
            [Columns * 2, Rows * Columns * 2], [64, 8, 2], 3);
        ulong matrix = emulator.Upload(new ushort[10 * 72]);
        byte[] target = Emulator.TensorMap(matrix, [70, 10], [144], [64, 16], 3);
        nint kernel = emulator.Kernel(Includes + """
            extern "C" __global__ void move(const __grid_constant__ TensorMap source, const __grid_constant__ TensorMap target) {
                SHARED(memory);
                unsigned int base = shared_address(memory);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(base, 1);
                    fence_mbarrier_initialize();
                    mbarrier_arrive_expect(base, 2048);
                    tma_load_3d(base + 1024, &source, base, 0, 16, 1);
                }
                synchronize_block();
                mbarrier_wait(base, 0);
                if (threadIdx.x == 1) {
                    tma_store_2d(&target, base + 1024, 10, -3);
                    tma_store_commit();
                    tma_store_wait_read<0>();
                    memory[1024] = 0;
                    tma_store_wait<0>();
                }
            }
            """, "move");
        emulator.Run(kernel, 1, 64, 4096, source, target);
        ushort[] expected = new ushort[10 * 72];
        for (int line = 3; line < 13; line++)
        {
            for (int column = 0; column < 60; column++)
            {
                int row = 16 + line % 8, depth = 1 + line / 8;
                expected[(line - 3) * 72 + 10 + column] = row < Rows && depth < Depth
                    ? tensor[(depth * Rows + row) * Columns + column] : (ushort)0;
            }
        }

        Assert.Equal(expected, emulator.Download<ushort>(matrix, expected.Length));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void BulkStoresAndAdditionsArriveInTheOrderThatTheirBlocksWaitFor(string schedule, string mode)
    {
        // The first block to begin writes, and each of the others waits for the one before it.
        const int Blocks = 5, Count = 64;
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        nint kernel = emulator.Kernel(Includes + """
            extern "C" __global__ void add(float* sums, int* begun, int* done) {
                SHARED(memory);
                float* own = reinterpret_cast<float*>(memory);
                int& ticket = *reinterpret_cast<int*>(memory + 256);
                if (threadIdx.x == 0) ticket = atomicAdd(begun, 1);
                synchronize_block();
                for (int i = threadIdx.x; i < 64; i += 32) own[i] = ticket == 0 ? 1.0f : ticket * 16777216.0f * (i % 2 ? 1 : -1);
                fence_proxy_async();
                synchronize_block();
                if (threadIdx.x != 0) return;
                while (atomicAdd(done, 0) < ticket) __nanosleep(20);
                if (ticket == 0) bulk_store(sums, shared_address(own), 256);
                else bulk_add(sums, shared_address(own), 256);
                tma_store_commit();
                tma_store_wait<0>();
                fence_proxy_async_global();
                fence_device();
                atomicExch(done, ticket + 1);
            }
            """, "add");
        ulong sums = emulator.Allocate(Count * sizeof(float)), begun = emulator.Upload(new int[1]),
            done = emulator.Upload(new int[1]);
        emulator.Run(kernel, Blocks, 32, 512, sums, begun, done);
        float[] expected = [.. Enumerable.Range(0, Count).Select(place =>
        {
            float sum = 1;
            for (int block = 1; block < Blocks; block++)
                sum += block * 16777216f * (place % 2 == 1 ? 1 : -1);
            return sum;
        })];
        Assert.Equal(expected, emulator.Download<float>(sums, Count));
    }

    [Theory]
    [InlineData("bulk_store", "tma_store_wait<0>(); fence_device(); atomicExch(done, 1);", "")]
    [InlineData("bulk_add", "tma_store_wait<0>(); fence_device(); atomicExch(done, 1);", "")]
    [InlineData("bulk_store", "fence_device(); atomicExch(done, 1); tma_store_wait<0>();", "no fence and atomic of one thread")]
    [InlineData("bulk_add", "fence_device(); tma_store_wait<0>(); atomicExch(done, 1);", "no fence and atomic of one thread")]
    [InlineData("bulk_store", "tma_store_wait<0>(); fence_proxy_async_global(); atomicExch(done, 1);",
        "no fence and atomic of one thread")]
    public void WhatABulkStoreWritesIsVisibleByAFenceBehindItsWait(string store, string end, string finding)
    {
        using Emulator emulator = new();
        Emulator.Configure("visibility", "on");
        try
        {
            nint kernel = emulator.Kernel(Includes + $$"""
                extern "C" __global__ void tell(float* sums, int* begun, int* done) {
                    SHARED(memory);
                    if (threadIdx.x != 0) return;
                    reinterpret_cast<float4*>(memory)[0] = float4{1, 2, 3, 4};
                    fence_proxy_async();
                    if (atomicAdd(begun, 1) == 0) {
                        {{store}}(sums, shared_address(memory), 16);
                        tma_store_commit();
                        {{end}}
                    } else {
                        while (atomicAdd(done, 0) < 1) __nanosleep(20);
                        fence_device();
                        bulk_add(sums, shared_address(memory), 16);
                        tma_store_commit();
                        tma_store_wait<0>();
                    }
                }
                """, "tell");
            ulong sums = emulator.Upload(new float[4]), begun = emulator.Upload(new int[1]), done = emulator.Upload(new int[1]);
            Exception? exception = Record.Exception(() => emulator.Run(kernel, 2, 32, 64, sums, begun, done));
            if (finding.Length == 0)
                Assert.Equal([2f, 4, 6, 8], emulator.Download<float>(sums, 4));
            else
                Assert.Contains(finding, exception?.Message ?? "", StringComparison.Ordinal);
        }
        finally
        {
            Emulator.Configure("visibility", "off");
        }
    }

    [Theory]
    [InlineData("bulk_store(out, base, 24)", "not a positive multiple of 16")]
    [InlineData("bulk_add(out + 1, base, 16)", "misaligned")]
    [InlineData("bulk_add(out, base, 512)", "out-of-bounds")]
    public void AWrongBulkStoreIsReported(string call, string finding)
    {
        using Emulator emulator = new();
        nint kernel = emulator.Kernel(Includes + $$"""
            extern "C" __global__ void wrong(float* out) {
                SHARED(memory);
                unsigned int base = shared_address(memory);
                {{call}};
                tma_store_commit();
                tma_store_wait<0>();
            }
            """, "wrong");
        ulong result = emulator.Allocate(256);
        string report = Assert.ThrowsAny<Exception>(() => emulator.Run(kernel, 1, 1, 1024, result)).Message;
        Assert.Contains(finding, report, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void AMulticastReachesEveryBlockOfTheCluster(string schedule, string mode)
    {
        using Emulator emulator = new() { ClusterSize = 2 };
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        ushort[] tensor = Numbers(4 * 64);
        byte[] map = Emulator.TensorMap(emulator.Upload(tensor), [64, 4], [128], [64, 1], 0);
        nint kernel = emulator.Kernel(Includes + """
            extern "C" __global__ void multicast(const __grid_constant__ TensorMap map, unsigned short* out) {
                SHARED(memory);
                unsigned int base = shared_address(memory);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(base, 1);
                    fence_mbarrier_initialize();
                }
                cluster_arrive();
                cluster_wait();
                if (threadIdx.x == 0) {
                    mbarrier_arrive_expect(base, 256);
                    tma_load_2d_multicast(base + 1024 + 128 * cluster_rank(), &map, base, 0, blockIdx.x, 3);
                }
                mbarrier_wait(base, 0);
                for (int i = threadIdx.x; i < 128; i += 32) out[128 * blockIdx.x + i] = reinterpret_cast<unsigned short*>(memory + 1024)[i];
                cluster_arrive();
                cluster_wait();
            }
            """, "multicast");
        ulong result = emulator.Allocate(4 * 128 * 2);
        emulator.Run(kernel, 4, 32, 2048, map, result);
        ushort[] expected = [.. tensor[..128], .. tensor[..128], .. tensor[128..], .. tensor[128..]];
        Assert.Equal(expected, emulator.Download<ushort>(result, expected.Length));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void BlocksOfAClusterUseEachOthersSharedMemory(string schedule, string mode)
    {
        using Emulator emulator = new() { ClusterSize = 4 };
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        nint kernel = emulator.Kernel(Includes + """
            extern "C" __global__ void exchange(float* y) {
                SHARED(memory);
                unsigned int base = shared_address(memory), rank = cluster_rank(), size = cluster_size();
                float* s = reinterpret_cast<float*>(memory + 64);
                if (threadIdx.x == 0) {
                    mbarrier_initialize(base, size - 1);
                    s[0] = 10.0f * blockIdx.x;
                }
                cluster_arrive();
                cluster_wait();
                if (threadIdx.x == 0) {
                    float sum = 0;
                    for (unsigned int other = 0; other < size; other++) sum += load_cluster(map_shared(base + 64, other));
                    y[blockIdx.x] = sum;
                    if (rank != 0) {
                        store_cluster(map_shared(base + 64 + 4 * rank, 0), (float)rank);
                        mbarrier_arrive_cluster(map_shared(base, 0));
                    } else {
                        mbarrier_wait(base, 0);
                        y[blockIdx.x] += 1000 * (s[1] + s[2] + s[3]);
                    }
                }
                cluster_arrive();
                cluster_wait();
            }
            """, "exchange");
        ulong y = emulator.Allocate(8 * sizeof(float));
        emulator.Run(kernel, 8, 32, 256, y);
        Assert.Equal([6060f, 60f, 60f, 60f, 6220f, 220f, 220f, 220f], emulator.Download<float>(y, 8));
    }

    [Fact]
    public void TensorMapsThatADriverRefusesAreRefused()
    {
        using Emulator emulator = new();
        ulong x = emulator.Allocate(1 << 16);
        Assert.Equal(0, Emulator.TryTensorMap(x, [64, 8], [128], [64, 8], 3).Result);
        Assert.Equal(1, Emulator.TryTensorMap(x + 2, [64, 8], [128], [64, 8], 3).Result);
        Assert.Equal(1, Emulator.TryTensorMap(x, [64, 8], [130], [64, 8], 3).Result);
        Assert.Contains("stride of 130", Emulator.Report, StringComparison.Ordinal);
        Assert.Equal(1, Emulator.TryTensorMap(x, [64, 8], [128], [64, 257], 3).Result);
        Assert.Equal(1, Emulator.TryTensorMap(x, [64, 8], [128], [12, 8], 0).Result);
        Assert.Equal(1, Emulator.TryTensorMap(x, [128, 8], [256], [128, 8], 3).Result);
        Assert.Contains("more than the swizzle's 128", Emulator.Report, StringComparison.Ordinal);
    }

    /// <summary>
    /// What the 16-byte pieces of a row are exchanged by, for rows as long as the swizzle (1 to 3: 32, 64, 128 bytes).
    /// </summary>
    internal static int Pattern(int row, int swizzle) => swizzle switch
    {
        3 => row % 8,
        2 => row / 2 % 4,
        1 => row / 4 % 2,
        _ => 0,
    };

    private static ushort[] Numbers(int count) => [.. Enumerable.Range(1, count).Select(i => (ushort)i)];
}
