namespace Skylight.Tests.Simt;

/// <summary>Kernels with one deliberate mistake each: the emulator must find it and name the kernel and the line.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class PlantedBugTests
{
    private const int IllegalAddress = 700, LaunchTimeout = 702, MisalignedAddress = 716, LaunchFailed = 719;

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void AMissingBarrierIsARace(string schedule) =>
        Finds(LaunchFailed, "race on shared memory", """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                float* s = reinterpret_cast<float*>(memory);
                s[threadIdx.x] = x[threadIdx.x]; // BUG
                x[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x]; // BUG
            }
            """, threads: 64, shared: 256, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void AMissingWarpBarrierIsARace(string schedule) =>
        Finds(LaunchFailed, "race on shared memory", """
            #include "ptx/warp.cuh"
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                float* s = reinterpret_cast<float*>(memory);
                if (threadIdx.x == 0) s[0] = x[0]; // BUG
                x[threadIdx.x] = s[0]; // BUG
            }
            """, threads: 32, shared: 256, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ABufferWrittenAgainTooEarlyIsARace(string schedule) =>
        Finds(LaunchFailed, "race on shared memory", """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                float* s = reinterpret_cast<float*>(memory);
                for (int step = 0; step < 2; step++) {
                    if (threadIdx.x < 32) s[threadIdx.x] = x[threadIdx.x]; // BUG
                    __syncthreads();
                    x[threadIdx.x] = s[threadIdx.x % 32]; // BUG
                }
            }
            """, threads: 64, shared: 256, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ACopyWithoutItsWaitIsFound(string schedule) =>
        Finds(LaunchFailed, "no wait covers that copy", """
            #include "ptx/cp_async.cuh"
            #include "ptx/memory.cuh"
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                float* s = reinterpret_cast<float*>(memory);
                cp_async_4(shared_address(s + threadIdx.x), x + threadIdx.x);
                cp_async_commit();
                __syncthreads();
                x[threadIdx.x] = s[threadIdx.x]; // BUG
            }
            """, threads: 64, shared: 256, schedule: schedule);

    [Fact]
    public void ACopyWithoutItsWaitLeavesNotANumberEvenUnchecked()
    {
        using Emulator emulator = new();
        Emulator.Configure("checks", "off");
        ulong x = emulator.Upload(1f);
        nint kernel = emulator.Kernel("""
            #include "ptx/cp_async.cuh"
            #include "ptx/memory.cuh"
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                cp_async_4(shared_address(memory), x);
                cp_async_commit();
                x[0] = *reinterpret_cast<float*>(memory);
            }
            """, "bug");
        emulator.Run(kernel, 1, 1, 256, x);
        Assert.True(float.IsNaN(emulator.Download<float>(x, 1)[0]));
    }

    [Fact]
    public void AWaitForTooFewGroupsIsFound() =>
        Finds(LaunchFailed, "no wait covers that copy", """
            #include "ptx/cp_async.cuh"
            #include "ptx/memory.cuh"
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                float* s = reinterpret_cast<float*>(memory);
                cp_async_4(shared_address(s), x);
                cp_async_commit();
                cp_async_4(shared_address(s + 1), x + 1);
                cp_async_commit();
                cp_async_wait<1>();
                float fine = s[0];
                x[0] = fine + s[1]; // BUG
            }
            """, threads: 1, shared: 256);

    [Fact]
    public void AReadPastAnArrayIsFound() =>
        Finds(IllegalAddress, "out-of-bounds read of 4 bytes", """
            extern "C" __global__ void bug(float* x) {
                float y = x[threadIdx.x + 1]; // BUG
                if (y == 3) x[0] = y;
            }
            """, threads: 64);

    [Fact]
    public void AWriteBeforeAnArrayIsFound() =>
        Finds(IllegalAddress, "out-of-bounds write of 4 bytes", """
            extern "C" __global__ void bug(float* x) {
                x[(int)threadIdx.x - 1] = 0; // BUG
            }
            """, threads: 64);

    [Fact]
    public void AWidePackThatCrossesTheEndIsFound() =>
        Finds(IllegalAddress, "out-of-bounds read of 16 bytes", """
            extern "C" __global__ void bug(float* x) {
                float4 pack = reinterpret_cast<float4*>(x)[16 * threadIdx.x]; // BUG
                if (pack.x == 3) x[0] = pack.y;
            }
            """, threads: 2);

    [Fact]
    public void AMisalignedPackIsFound() =>
        Finds(MisalignedAddress, "misaligned read of 16 bytes", """
            extern "C" __global__ void bug(float* x) {
                float4 pack = *reinterpret_cast<float4*>(x + 1); // BUG
                x[0] = pack.x;
            }
            """, threads: 1);

    [Fact]
    public void ANullPointerIsFound() =>
        Finds(IllegalAddress, "a null pointer", """
            extern "C" __global__ void bug(float* x) {
                float* nothing = x[0] == 12345 ? x : nullptr;
                x[1] = nothing[2]; // BUG
            }
            """, threads: 1);

    [Fact]
    public void AReadPastSharedMemoryIsFound() =>
        Finds(IllegalAddress, "out-of-bounds read of 4 bytes of shared memory", """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                x[threadIdx.x] = reinterpret_cast<float*>(memory)[threadIdx.x]; // BUG
            }
            """, threads: 64, shared: 128);

    [Fact]
    public void AWritePastSharedMemoryIsFound() =>
        Finds(IllegalAddress, "out-of-bounds write of 4 bytes of shared memory", """
            extern "C" __global__ void bug(float* x) {
                SHARED(memory);
                reinterpret_cast<float*>(memory)[threadIdx.x] = x[0]; // BUG
            }
            """, threads: 64, shared: 128);

    [Fact]
    public void AMatrixLoadPastSharedMemoryIsFound() =>
        Finds(IllegalAddress, "out-of-bounds ldmatrix", """
            #include "ptx/ldmatrix.cuh"
            #include "ptx/memory.cuh"
            extern "C" __global__ void bug(unsigned int* x) {
                SHARED(memory);
                unsigned int r[4];
                ldmatrix_x4(r, shared_address(memory) + 16 * threadIdx.x + 16); // BUG
                x[threadIdx.x] = r[0] + r[1] + r[2] + r[3];
            }
            """, threads: 32, shared: 512);

    [Fact]
    public void AccessAfterFreeIsFound()
    {
        using Emulator emulator = new();
        ulong x = emulator.Upload(1f, 2f, 3f);
        nint kernel = emulator.Kernel("""
            extern "C" __global__ void bug(float* x) {
                x[1] = 0; // line 2
            }
            """, "bug");
        emulator.Free(x);
        Assert.Equal(IllegalAddress, emulator.TryRun(kernel, 1, 1, 0, x));
        Assert.Contains("use after free", Emulator.Report, StringComparison.Ordinal);
        Assert.Contains("kernel.cu:2", Emulator.Report, StringComparison.Ordinal);
    }

    [Fact]
    public void MemoryThatNobodyWroteIsNotANumber()
    {
        using Emulator emulator = new();
        ulong x = emulator.Allocate(8), y = emulator.Allocate(8);
        nint kernel = emulator.Kernel("""
            extern "C" __global__ void bug(float* x, float* y) {
                SHARED(memory);
                y[0] = x[0];
                y[1] = *reinterpret_cast<float*>(memory);
            }
            """, "bug");
        emulator.Run(kernel, 1, 1, 16, x, y);
        Assert.All(emulator.Download<float>(y, 2), value => Assert.True(float.IsNaN(value)));
    }

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ABarrierInTwoBranchesIsDivergent(string schedule) =>
        Finds(LaunchFailed, "divergent barrier", """
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x < 16) {
                    __syncthreads(); // BUG
                    x[0] = 1;
                } else {
                    __syncthreads(); // BUG
                }
            }
            """, threads: 64, schedule: schedule);

    [Theory]
    [MemberData(nameof(EmulatorTests.Schedules), MemberType = typeof(EmulatorTests))]
    public void ABarrierThatSomeThreadsLeaveOutIsDivergent(string schedule) =>
        Finds(LaunchFailed, "divergent barrier", """
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x == 5) return;
                __syncthreads(); // BUG
                x[0] = 1;
            }
            """, threads: 64, schedule: schedule);

    [Fact]
    public void ANamedBarrierWithTooHighACountIsADeadlock() =>
        Finds(LaunchTimeout, "deadlock", """
            #include "ptx/warp.cuh"
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x < 32) synchronize_named(1, 64); // BUG
            }
            """, threads: 64);

    [Fact]
    public void AShuffleThatOnlyHalfTheWarpReachesIsFound() =>
        Finds(LaunchFailed, "has returned from the kernel", """
            #include "ptx/warp.cuh"
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x < 16) return;
                x[threadIdx.x] = shuffle_xor(x[threadIdx.x], 1); // BUG
            }
            """, threads: 32);

    [Fact]
    public void DifferentOperationsInOneWarpAreFound() =>
        Finds(LaunchFailed, "the lanes of a warp do not agree", """
            #include "ptx/warp.cuh"
            extern "C" __global__ void bug(float* x) {
                if (threadIdx.x < 16) x[threadIdx.x] = shuffle_xor(x[threadIdx.x], 1); // BUG
                else x[threadIdx.x] = ballot(true); // BUG
            }
            """, threads: 32);

    [Fact]
    public void AWrongFragmentLayoutGivesAWrongProduct()
    {
        // The identity as b turns the product into a, so a layout taken for another shows directly.
        const string Source = """
            #include "ptx/mma.cuh"
            #include "ptx/warp.cuh"
            extern "C" __global__ void bug(const unsigned int* a, float* d) {
                int lane = lane_index(), g = lane / 4, t = lane % 4;
            #ifdef WRONG
                unsigned int fragment[4] = {a[g * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t], a[(g + 8) * 8 + t + 4]};
            #else
                unsigned int fragment[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
            #endif
                unsigned int one = 0x3F80u;
                unsigned int b0 = g == 2 * t ? one : g == 2 * t + 1 ? one << 16 : 0;
                float sums[4] = {0, 0, 0, 0};
                mma_m16n8k16(sums, fragment, b0, 0);
                for (int r = 0; r < 4; r++) d[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2] = sums[r];
            }
            """;
        using Emulator emulator = new();
        ushort[] a = [.. Enumerable.Range(0, 256).Select(i => (ushort)(BitConverter.SingleToUInt32Bits(i % 128) >> 16))];
        float[] expected = [.. Enumerable.Range(0, 128).Select(i => (float)((i / 8 * 16 + i % 8) % 128))];
        ulong deviceA = emulator.Upload(a), d = emulator.Allocate(128 * sizeof(float));
        emulator.Run(emulator.Kernel(Source, "bug"), 1, 32, 0, deviceA, d);
        Assert.Equal(expected, emulator.Download<float>(d, 128));
        emulator.Run(emulator.Kernel(Source, "bug", "-DWRONG"), 1, 32, 0, deviceA, d);
        Assert.NotEqual(expected, emulator.Download<float>(d, 128));
    }

    [Fact]
    public void AfterAFailedKernelEveryCallFailsUntilTheReset()
    {
        using Emulator emulator = new();
        ulong x = emulator.Upload(1f);
        nint kernel = emulator.Kernel("""extern "C" __global__ void bug(float* x) { x[7] = 0; }""", "bug");
        Assert.Equal(IllegalAddress, emulator.TryRun(kernel, 1, 1, 0, x));
        Assert.Equal(IllegalAddress, Emulator.cuCtxSynchronize());
        Assert.Equal(IllegalAddress, Emulator.cuMemAlloc_v2(out _, 16));
        Assert.Equal(0, Emulator.simtReset());
        Assert.Equal([1f], emulator.Download<float>(x, 1));
    }

    /// <summary>
    /// Runs the kernel <c>bug</c> on an array of 64 words: it must fail with that code, name the kernel and one of the
    /// lines marked BUG.
    /// </summary>
    internal static void Finds(int code, string finding, string source, int threads, int shared = 0,
        string schedule = "forward", int cluster = 1)
    {
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        ulong x = emulator.Upload(new float[64]);
        emulator.ClusterSize = cluster;
        int result = emulator.TryRun(emulator.Kernel(source, "bug"), cluster, threads, shared, x);
        string report = Emulator.Report;
        Assert.True(result == code, $"result {result}: {report}");
        Assert.Contains("kernel 'bug'", report, StringComparison.Ordinal);
        Assert.Contains(finding, report, StringComparison.Ordinal);
        string[] lines = source.Split('\n');
        IEnumerable<string> marked = lines.Select((text, index) => (text, place: $"kernel.cu:{index + 1}"))
            .Where(line => line.text.Contains("BUG", StringComparison.Ordinal)).Select(line => line.place);
        Assert.True(
            marked.Any(place => report.Contains(place + " ", StringComparison.Ordinal)
                || report.Contains(place + ":", StringComparison.Ordinal)
                || report.Contains(place + ",", StringComparison.Ordinal)), report);
    }
}
