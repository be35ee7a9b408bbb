namespace Skylight.Tests.Simt;

/// <summary>The counters of the emulator, on kernels whose transactions can be counted by hand.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CounterTests
{
    /// <summary>Settings that must not change any number.</summary>
    public static TheoryData<string, string> Settings => new() { { "forward", "1" }, { "reverse", "2" }, { "seed:7", "4" } };

    [Theory]
    [MemberData(nameof(Settings))]
    public void NeighboursShareSectors(string schedule, string workers)
    {
        // 3 blocks of 2 warps; each warp reads and writes 128 bytes in a row.
        EmulatorCounters counters = Count(schedule, workers, """
            extern "C" __global__ void counted(const float* x, float* y) {
                int i = blockIdx.x * blockDim.x + threadIdx.x;
                y[i] = x[i];
            }
            """, grid: 3, block: 64);
        Assert.Equal(new EmulatorCounters
        {
            Launches = 1,
            Blocks = 3,
            GlobalLoadRequests = 6,
            GlobalLoadSectors = 6 * 4,
            GlobalLoadBytes = 6 * 128,
            GlobalStoreRequests = 6,
            GlobalStoreSectors = 6 * 4,
            GlobalStoreBytes = 6 * 128,
        }, counters);
    }

    [Theory]
    [InlineData(1, 4)]
    [InlineData(2, 8)]
    [InlineData(4, 16)]
    [InlineData(8, 32)]
    [InlineData(9, 32)]
    public void AStrideTouchesMoreSectors(int stride, ulong sectors)
    {
        EmulatorCounters counters = Count("forward", "2", """
            extern "C" __global__ void counted(const float* x, float* y) {
                y[threadIdx.x] = x[threadIdx.x * STRIDE];
            }
            """, grid: 1, block: 32, options: $"-DSTRIDE={stride}");
        Assert.Equal((1ul, sectors, 128ul),
            (counters.GlobalLoadRequests, counters.GlobalLoadSectors, counters.GlobalLoadBytes));
    }

    [Fact]
    public void WideAccessesMoveMoreBytesPerRequest()
    {
        EmulatorCounters counters = Count("forward", "2", """
            extern "C" __global__ void counted(const float4* x, float4* y) {
                y[threadIdx.x] = x[threadIdx.x];
            }
            """, grid: 1, block: 32);
        Assert.Equal((1ul, 16ul, 512ul),
            (counters.GlobalLoadRequests, counters.GlobalLoadSectors, counters.GlobalLoadBytes));
        Assert.Equal((1ul, 16ul, 512ul),
            (counters.GlobalStoreRequests, counters.GlobalStoreSectors, counters.GlobalStoreBytes));
    }

    [Theory]
    [MemberData(nameof(Settings))]
    public void LanesThatDivergeAreCountedByInstruction(string schedule, string workers)
    {
        // Lane i reads i % 4 + 1 times from the same word: 4 requests of one sector, whatever order the lanes run in.
        EmulatorCounters counters = Count(schedule, workers, """
            extern "C" __global__ void counted(const volatile float* x, float* y) {
                float sum = 0;
                for (int i = 0; i <= (int)threadIdx.x % 4; i++) sum += x[i * 8];
                if (threadIdx.x == 5) y[0] = sum;
            }
            """, grid: 1, block: 32);
        Assert.Equal((4ul, 4ul, 4ul * (32 + 24 + 16 + 8)),
            (counters.GlobalLoadRequests, counters.GlobalLoadSectors, counters.GlobalLoadBytes));
        Assert.Equal((1ul, 1ul, 4ul),
            (counters.GlobalStoreRequests, counters.GlobalStoreSectors, counters.GlobalStoreBytes));
    }

    /// <summary>Words apart, transactions of one request of 32 lanes.</summary>
    [Theory]
    [InlineData(0, 1)] // one word for all: a broadcast
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(4, 4)]
    [InlineData(32, 32)]
    [InlineData(33, 1)] // the usual padding
    public void BanksConflict(int stride, ulong transactions)
    {
        EmulatorCounters counters = Count("forward", "2", """
            extern "C" __global__ void counted(const float* x, float* y) {
                SHARED(memory);
                const volatile float* s = reinterpret_cast<const volatile float*>(memory);
                float value = s[threadIdx.x * STRIDE];
                if (value == 1) y[threadIdx.x] = 1;
            }
            """, grid: 1, block: 32, shared: 4352, options: $"-DSTRIDE={stride}");
        Assert.Equal((1ul, transactions, transactions - 1),
            (counters.SharedLoadRequests, counters.SharedLoadTransactions, counters.SharedBankConflicts));
    }

    /// <summary>
    /// Rows of 128 bytes read by ldmatrix: eight rows hit the same banks unless their 16-byte pieces are swizzled.
    /// </summary>
    [Theory]
    [InlineData("row * 128", 32, 28)]
    [InlineData("row * 144", 4, 0)]
    [InlineData("row * 128 + (row % 8) * 16", 4, 0)]
    public void ASwizzleAvoidsTheConflictsOfLdmatrix(string address, ulong transactions, ulong conflicts)
    {
        EmulatorCounters counters = Count("forward", "2", """
            #include "ptx/ldmatrix.cuh"
            #include "ptx/memory.cuh"
            extern "C" __global__ void counted(const float* x, float* y) {
                SHARED(memory);
                int row = threadIdx.x;
                unsigned int registers[4];
                ldmatrix_x4(registers, shared_address(memory) + ADDRESS);
                if (registers[0] == 1) y[threadIdx.x] = 1;
            }
            """, grid: 1, block: 32, shared: 8192, options: $"-DADDRESS=({address})");
        Assert.Equal((1ul, transactions, conflicts),
            (counters.SharedLoadRequests, counters.SharedLoadTransactions, counters.SharedBankConflicts));
    }

    [Theory]
    [MemberData(nameof(Settings))]
    public void CopiesProductsBarriersAndAtomicsAreCounted(string schedule, string workers)
    {
        EmulatorCounters counters = Count(schedule, workers, """
            #include "ptx/cp_async.cuh"
            #include "ptx/memory.cuh"
            #include "ptx/mma.cuh"
            #include "ptx/warp.cuh"
            extern "C" __global__ void counted(const float* x, float* y) {
                SHARED(memory);
                cp_async_16(shared_address(memory) + threadIdx.x * 16, x + threadIdx.x * 4);
                cp_async_commit();
                cp_async_wait<0>();
                synchronize_block();
                float d[4] = {};
                unsigned int a[4] = {};
                for (int step = 0; step < 3; step++) mma_m16n8k16(d, a, 0, 0);
                synchronize_block();
                atomicAdd(y, d[0]);
            }
            """, grid: 2, block: 64, shared: 1024);
        Assert.Equal(new EmulatorCounters
        {
            Launches = 1,
            Blocks = 2,
            GlobalLoadRequests = 4,
            GlobalLoadSectors = 4 * 16,
            GlobalLoadBytes = 4 * 512,
            GlobalAtomicRequests = 4,
            SharedStoreRequests = 4,
            SharedStoreTransactions = 4 * 4,
            MatrixInstructions = 4 * 3,
            Barriers = 4,
        }, counters);
    }

    [Fact]
    public void CountsAddUpPerKernelUntilTheReset()
    {
        using Emulator emulator = new();
        Emulator.Configure("counters", "on");
        Emulator.Check(Emulator.simtCountersReset());
        nint kernel = emulator.Kernel("""extern "C" __global__ void one(float* y) { y[threadIdx.x] = 0; }""", "one");
        nint other = emulator.Kernel("""extern "C" __global__ void two(float* y) { y[threadIdx.x] = 0; }""", "two");
        ulong y = emulator.Allocate(128);
        emulator.Run(kernel, 1, 32, 0, y);
        emulator.Run(kernel, 1, 32, 0, y);
        emulator.Run(other, 1, 32, 0, y);
        Emulator.Check(Emulator.simtCountersRead("one", out EmulatorCounters one));
        Emulator.Check(Emulator.simtCountersRead(null, out EmulatorCounters all));
        Assert.Equal((2ul, 2ul), (one.Launches, one.GlobalStoreRequests));
        Assert.Equal((3ul, 3ul), (all.Launches, all.GlobalStoreRequests));
        Assert.Equal(500, Emulator.simtCountersRead("three", out _));
        Assert.Contains("'three'", Emulator.Report, StringComparison.Ordinal);
        Emulator.Check(Emulator.simtCountersReset());
        Assert.Equal(500, Emulator.simtCountersRead("one", out _));
        Emulator.Configure("counters", "off");
        Assert.Equal(600, Emulator.simtCountersRead("one", out _));
    }

    private static EmulatorCounters Count(string schedule, string workers, string source, int grid, int block,
        int shared = 0, params string[] options)
    {
        using Emulator emulator = new();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("workers", workers);
        Emulator.Configure("counters", "on");
        Emulator.Check(Emulator.simtCountersReset());
        ulong x = emulator.Upload(new float[512]), y = emulator.Upload(new float[512]);
        emulator.Run(emulator.Kernel(source, "counted", options), grid, block, shared, x, y);
        Emulator.Check(Emulator.simtCountersRead("counted", out EmulatorCounters counters));
        return counters;
    }
}
