namespace Skylight.Tests.Simt;

/// <summary>The emulator runs correct kernels correctly, under every schedule.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class EmulatorTests
{
    private const string Saxpy = """
        extern "C" __global__ void __launch_bounds__(256) saxpy(float a, const float* x, float* y, int n) {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) y[i] += a * x[i];
        }
        """;

    private const string BlockSum = """
        #include "ptx/warp.cuh"
        extern "C" __global__ void block_sum(const float* x, float* y) {
            SHARED(memory);
            float* partial = reinterpret_cast<float*>(memory);
            float value = x[blockIdx.x * blockDim.x + threadIdx.x];
            for (int distance = 16; distance > 0; distance /= 2) value += shuffle_xor(value, distance);
            if (lane_index() == 0) partial[threadIdx.x / 32] = value;
            synchronize_block();
            if (threadIdx.x == 0) {
                float sum = 0;
                for (int warp = 0; warp < (int)blockDim.x / 32; warp++) sum += partial[warp];
                y[blockIdx.x] = sum;
            }
        }
        """;

    private const string Product = """
        #include "ptx/cp_async.cuh"
        #include "ptx/ldmatrix.cuh"
        #include "ptx/memory.cuh"
        #include "ptx/mma.cuh"
        #include "ptx/warp.cuh"
        // d [16, 8] = a [16, 16] · bᵀ, b [8, 16]
        extern "C" __global__ void product(const unsigned short* a, const unsigned short* b, float* d) {
            SHARED(memory);
            unsigned short* a_tile = reinterpret_cast<unsigned short*>(memory);
            unsigned short* b_tile = a_tile + 256;
            int lane = lane_index();
            cp_async_16(shared_address(a_tile + lane * 8), a + lane * 8);
            if (lane < 16) cp_async_16(shared_address(b_tile + lane * 8), b + lane * 8);
            cp_async_commit();
            cp_async_wait<0>();
            synchronize_block();
            unsigned int af[4], bf[2];
            ldmatrix_x4(af, shared_address(a_tile + lane % 16 * 16 + lane / 16 * 8));
            ldmatrix_x2(bf, shared_address(b_tile + lane % 8 * 16 + lane / 8 % 2 * 8));
            float sums[4] = {0, 0, 0, 0};
            mma_m16n8k16(sums, af, bf[0], bf[1]);
            for (int r = 0; r < 4; r++) d[(lane / 4 + 8 * (r / 2)) * 8 + 2 * (lane % 4) + r % 2] = sums[r];
        }
        """;

    /// <summary>The schedules that every test of execution runs under.</summary>
    public static TheoryData<string> Schedules => ["forward", "reverse", "seed:1", "seed:2"];

    [Theory]
    [MemberData(nameof(Schedules))]
    public void SaxpyThroughTheWholeDriver(string schedule)
    {
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        float[] x = Values(1000, 1), y = Values(1000, 2);
        ulong deviceX = emulator.Upload(x), deviceY = emulator.Upload(y);
        emulator.Run(emulator.Kernel(Saxpy, "saxpy"), 4, 256, 0, 2f, deviceX, deviceY, x.Length);
        float[] result = emulator.Download<float>(deviceY, y.Length);
        for (int i = 0; i < x.Length; i++)
            Assert.Equal(y[i] + 2 * x[i], result[i]);
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void ShufflesAndBarriersGiveABlockItsSum(string schedule)
    {
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        float[] x = [.. Enumerable.Range(0, 3 * 1024).Select(i => (float)(i % 17))];
        ulong sums = emulator.Allocate(3 * sizeof(float));
        emulator.Run(emulator.Kernel(BlockSum, "block_sum"), 3, 1024, 128, emulator.Upload(x), sums);
        Assert.Equal(x.Chunk(1024).Select(block => block.Sum()), emulator.Download<float>(sums, 3));
    }

    [Theory]
    [MemberData(nameof(Schedules))]
    public void MatrixInstructionsAgreeWithScalarArithmetic(string schedule)
    {
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        ushort[] a = Halves(256, 3), b = Halves(128, 4);
        ulong d = emulator.Allocate(128 * sizeof(float));
        emulator.Run(emulator.Kernel(Product, "product"), 1, 32, 1024, emulator.Upload(a), emulator.Upload(b), d);
        float[] result = emulator.Download<float>(d, 128);
        for (int row = 0; row < 16; row++)
        {
            for (int column = 0; column < 8; column++)
            {
                float sum = 0; // the same chain of float32 additions: the same bits
                for (int k = 0; k < 16; k++)
                    sum += ToFloat(a[row * 16 + k]) * ToFloat(b[column * 16 + k]);
                Assert.Equal(sum, result[row * 8 + column]);
            }
        }
    }

    [Fact]
    public void AsynchronousCopiesMayAlsoEndAtOnce()
    {
        using Emulator emulator = new();
        Emulator.Configure("async", "immediate");
        ushort[] a = Halves(256, 3), b = Halves(128, 4);
        ulong d = emulator.Allocate(128 * sizeof(float));
        emulator.Run(emulator.Kernel(Product, "product"), 1, 32, 1024, emulator.Upload(a), emulator.Upload(b), d);
        Assert.All(emulator.Download<float>(d, 128), value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void CapturedWorkRunsOnEveryReplayWithTheParametersOfItsCapture()
    {
        using Emulator emulator = new();
        nint kernel = emulator.Kernel(Saxpy, "saxpy");
        ulong x = emulator.Upload(1f, 2f, 3f), y = emulator.Upload(0f, 0f, 0f);
        Emulator.Check(Emulator.cuStreamSynchronize(emulator.Stream));
        Emulator.Check(Emulator.cuStreamBeginCapture_v2(emulator.Stream, 0));
        Emulator.Check(Emulator.cuMemsetD32Async(y, 0, 3, emulator.Stream));
        Emulator.Check(emulator.TryLaunch(kernel, 1, 32, 0, 2f, x, y, 3));
        Emulator.Check(emulator.TryLaunch(kernel, 1, 32, 0, 5f, x, y, 3));
        Emulator.Check(Emulator.cuStreamEndCapture(emulator.Stream, out nint graph));
        Emulator.Check(Emulator.cuGraphInstantiateWithFlags(out nint executable, graph, 0));
        Emulator.Check(Emulator.cuGraphDestroy(graph));
        Assert.Equal([0f, 0f, 0f], emulator.Download<float>(y, 3)); // capturing runs nothing
        for (int replay = 0; replay < 2; replay++)
        {
            Emulator.Check(Emulator.cuGraphLaunch(executable, emulator.Stream));
            Assert.Equal([7f, 14f, 21f], emulator.Download<float>(y, 3));
        }

        Emulator.Check(Emulator.cuGraphExecDestroy(executable));
    }

    [Fact]
    public unsafe void WorkOnAStreamWaitsForASynchronisation()
    {
        using Emulator emulator = new();
        Emulator.Check(Emulator.cuMemHostAlloc(out nint pinned, 4, 0));
        *(float*)pinned = 3;
        ulong x = emulator.Allocate(4);
        Emulator.Check(Emulator.cuMemcpyHtoDAsync_v2(x, (void*)pinned, 4, emulator.Stream));
        *(float*)pinned = 5; // before the copy has read it: a host that forgets to wait gets the new value
        Assert.Equal([5f], emulator.Download<float>(x, 1));
        Emulator.Check(Emulator.cuMemFreeHost(pinned));
    }

    [Fact]
    public void EventsOrderStreams()
    {
        using Emulator emulator = new();
        nint kernel = emulator.Kernel(Saxpy, "saxpy");
        ulong x = emulator.Upload(1f), y = emulator.Upload(1f);
        Emulator.Check(Emulator.cuStreamCreate(out nint second, 1));
        Emulator.Check(Emulator.cuEventCreate(out nint done, 0));
        Emulator.Check(emulator.TryLaunch(kernel, 1, 32, 0, 2f, x, y, 1));
        Emulator.Check(Emulator.cuEventRecord(done, emulator.Stream));
        Assert.Equal(600, Emulator.cuEventQuery(done)); // not ready
        Emulator.Check(Emulator.cuStreamWaitEvent(second, done, 0));
        Emulator.Check(Emulator.cuMemsetD32Async(x, 0, 1, second));
        Emulator.Check(Emulator.cuStreamSynchronize(second));
        Emulator.Check(Emulator.cuEventQuery(done));
        Assert.Equal([3f], emulator.Download<float>(y, 1)); // the kernel saw x before it was cleared
        Emulator.Check(Emulator.cuEventDestroy_v2(done));
        Emulator.Check(Emulator.cuStreamDestroy_v2(second));
    }

    [Fact]
    public void LaunchesThatAGpuRefusesAreRefused()
    {
        using Emulator emulator = new();
        nint kernel = emulator.Kernel(Saxpy, "saxpy");
        ulong x = emulator.Upload(1f);
        Assert.Equal(1, emulator.TryLaunch(kernel, 1, 2048, 0, 1f, x, x, 1));
        Assert.Equal(1, emulator.TryLaunch(kernel, 0, 32, 0, 1f, x, x, 1));
        Assert.Equal(701, emulator.TryLaunch(kernel, 1, 512, 0, 1f, x, x, 1));
        Assert.Contains("__launch_bounds__", Emulator.Report, StringComparison.Ordinal);
        Assert.Equal(400, emulator.TryLaunch(0, 1, 32, 0));
        Assert.Equal(1, emulator.TryLaunch(kernel, 1, 32, 100_000, 1f, x, x, 1));
        Assert.Contains("cuFuncSetAttribute", Emulator.Report, StringComparison.Ordinal);
        Emulator.Check(Emulator.cuFuncSetAttribute(kernel, 8, 100_000));
        emulator.Run(kernel, 1, 32, 100_000, 1f, x, x, 1);
        Assert.Equal(1, Emulator.cuFuncSetAttribute(kernel, 8, 300_000));
    }

    [Fact]
    public void MemoryHasALimit()
    {
        using Emulator emulator = new();
        Emulator.Check(Emulator.cuMemGetInfo_v2(out nuint free, out nuint total));
        Assert.True(free <= total);
        Emulator.Configure("memory", (total - free + 1_000_000).ToString(System.Globalization.CultureInfo.InvariantCulture));
        Assert.Equal(2, Emulator.cuMemAlloc_v2(out _, 2_000_000));
        Emulator.Check(Emulator.cuMemAllocAsync(out ulong first, 900_000, emulator.Stream));
        Emulator.Check(Emulator.cuMemFreeAsync(first, emulator.Stream));
        // after the waiting free has run
        Emulator.Check(Emulator.cuMemAllocAsync(out ulong second, 900_000, emulator.Stream));
        Emulator.Check(Emulator.cuMemFreeAsync(second, emulator.Stream));
    }

    [Fact]
    public void ACompilationErrorNamesFileAndLine()
    {
        using Emulator emulator = new();
        (int result, string log, _) = emulator.TryCompile(
            "\nextern \"C\" __global__ void broken(float* x) {\n    x[0] = missing;\n}\n");
        Assert.Equal(6, result);
        Assert.Contains("kernel.cu:3", log, StringComparison.Ordinal);
        Assert.Contains("missing", log, StringComparison.Ordinal);
        Assert.Equal(5, emulator.TryCompile(Saxpy, "--gpu-architecture=sm_11").Result);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void BlasMultipliesColumnMajorMatrices(bool transposeA, bool transposeB)
    {
        using Emulator emulator = new();
        const int M = 5, N = 3, K = 7, BFloat16 = 14, Float32 = 0, ComputeFloat32 = 68;
        ushort[] a = Halves(M * K, 5), b = Halves(K * N, 6);
        ulong c = emulator.Allocate(M * N * sizeof(float));
        Emulator.Check(Emulator.cublasCreate_v2(out nint handle));
        Emulator.Check(Emulator.cublasSetStream_v2(handle, emulator.Stream));
        Emulator.Check(Emulator.cublasGemmEx(
            handle, transposeA ? 1 : 0, transposeB ? 1 : 0, M, N, K, 1f, emulator.Upload(a), BFloat16,
            transposeA ? K : M, emulator.Upload(b), BFloat16,
            transposeB ? N : K, 0f, c, Float32, M, ComputeFloat32, 0));
        float[] result = emulator.Download<float>(c, M * N);
        for (int row = 0; row < M; row++)
        {
            for (int column = 0; column < N; column++)
            {
                float sum = 0;
                for (int k = 0; k < K; k++)
                    sum += ToFloat(a[transposeA ? row * K + k : k * M + row])
                        * ToFloat(b[transposeB ? k * N + column : column * K + k]);
                Assert.Equal(sum, result[column * M + row]);
            }
        }

        Emulator.Check(Emulator.cublasDestroy_v2(handle));
    }

    private static float[] Values(int count, int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(2 * random.NextDouble() - 1))];
    }

    private static ushort[] Halves(int count, int seed) =>
        [.. Values(count, seed).Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16))];

    private static float ToFloat(ushort half) => BitConverter.UInt32BitsToSingle((uint)half << 16);
}
