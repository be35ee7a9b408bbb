namespace Skylight.Tests.Simt;

/// <summary>Matrix products of a warpgroup for every layout that a descriptor can name, against scalar arithmetic.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class WarpgroupTests
{
    private const int Rows = 64;

    private const string Source = """
        #include "ptx/mbarrier.cuh"
        #include "ptx/memory.cuh"
        #include "ptx/warp.cuh"
        #include "ptx/wgmma.cuh"
        #define JOIN2(a, b, c) a##b##c
        #define JOIN(a, b, c) JOIN2(a, b, c)
        #define PRODUCT JOIN(wgmma_m64n, COLUMNS, k16)
        extern "C" __global__ void __launch_bounds__(128) product(const uint4* a, int a_bytes, const uint4* b, int b_bytes, const unsigned int* rows, float* out) {
            SHARED(memory);
            unsigned int base = shared_address(memory), b_base = base + 32768;
            for (int i = threadIdx.x; i < a_bytes / 16; i += 128) reinterpret_cast<uint4*>(memory)[i] = a[i];
            for (int i = threadIdx.x; i < b_bytes / 16; i += 128) reinterpret_cast<uint4*>(memory + 32768)[i] = b[i];
            fence_proxy_async();
            synchronize_block();
            float d[COLUMNS / 2];
            for (int i = 0; i < COLUMNS / 2; i++) d[i] = 1;
            int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
            unsigned int fragments[DEPTH / 16][4];
            wgmma_fence();
            for (int slice = 0; slice < DEPTH / 16; slice++) {
                unsigned long long b_matrix = wgmma_descriptor(b_base + B_SLICE, B_LEADING, B_STRIDE, B_SWIZZLE);
        #ifdef A_IN_REGISTERS
                unsigned int(&fragment)[4] = fragments[slice];
                for (int i = 0; i < 4; i++)
                    fragment[i] = rows[(16 * warp + lane / 4 + i % 2 * 8) * DEPTH / 2 + slice * 8 + lane % 4 + i / 2 * 4];
                PRODUCT<TRANSPOSE_B>(d, fragment, b_matrix, ACCUMULATE || slice > 0);
        #else
                unsigned long long a_matrix = wgmma_descriptor(base + A_SLICE, A_LEADING, A_STRIDE, A_SWIZZLE);
                PRODUCT<TRANSPOSE_A, TRANSPOSE_B>(d, a_matrix, b_matrix, ACCUMULATE || slice > 0);
        #endif
            }
            wgmma_commit();
            wgmma_wait<0>(d, fragments);
            for (int i = 0; i < COLUMNS / 2; i++)
                out[(16 * warp + lane / 4 + i / 2 % 2 * 8) * COLUMNS + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
        }
        """;

    /// <summary>
    /// Columns; for a and b whether transposed and the swizzle (0 to 3: none, 32, 64, 128 bytes), -1 for a in
    /// registers; accumulate.
    /// </summary>
    public static TheoryData<int, bool, int, bool, int, bool> Layouts => new()
    {
        { 64, false, 0, false, 0, true },
        { 64, false, 1, false, 1, false },
        { 64, false, 2, false, 2, true },
        { 64, false, 3, false, 3, false },
        { 64, true, 0, true, 0, true },
        { 64, true, 1, true, 1, true },
        { 64, true, 2, true, 2, false },
        { 64, true, 3, true, 3, true },
        { 16, false, 3, false, 3, true },
        { 16, true, 0, false, 1, false },
        { 32, true, 3, true, 2, true },
        { 32, false, 3, false, 3, false },
        { 128, false, 3, true, 3, true },
        { 192, true, 3, false, 3, false },
        { 256, false, 3, false, 3, true },
        { 64, false, -1, false, 3, true },
        { 128, false, -1, true, 3, false },
        { 192, false, -1, true, 1, true },
        { 256, false, -1, false, 0, true },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void ProductsAgreeWithScalarArithmetic(int columns, bool transposeA, int swizzleA, bool transposeB,
        int swizzleB, bool accumulate)
    {
        const int Depth = 64;
        using Emulator emulator = new();
        Random random = new(columns + swizzleA + 10 * swizzleB);
        float[,] a = Matrix(Rows, Depth, random), b = Matrix(columns, Depth, random);
        Layout layoutA = new(Math.Max(swizzleA, 0), transposeA, Rows, Depth),
            layoutB = new(swizzleB, transposeB, columns, Depth);
        List<string> options =
        [
            $"-DCOLUMNS={columns}", $"-DDEPTH={Depth}", $"-DACCUMULATE={(accumulate ? 1 : 0)}", .. layoutA.Options("A"),
            .. layoutB.Options("B"),
        ];
        if (swizzleA < 0)
            options.Add("-DA_IN_REGISTERS");
        ushort[] rows = new ushort[Rows * Depth];
        for (int i = 0; i < rows.Length; i++)
            rows[i] = Half(a[i / Depth, i % Depth]);
        ushort[] imageA = layoutA.Image(a), imageB = layoutB.Image(b);
        ulong result = emulator.Allocate(Rows * columns * sizeof(float));
        nint kernel = emulator.Kernel(Source, "product", [.. options]);
        Emulator.Check(Emulator.cuFuncSetAttribute(kernel, 8, 1 << 16));
        foreach (string mode in new[] { "late", "immediate" })
        {
            Emulator.Configure("async", mode);
            emulator.Run(kernel, 1, 128, 32768 + imageB.Length * 2, emulator.Upload(imageA), imageA.Length * 2,
                emulator.Upload(imageB), imageB.Length * 2, emulator.Upload(rows), result);
            float[] d = emulator.Download<float>(result, Rows * columns);
            for (int row = 0; row < Rows; row++)
            {
                for (int column = 0; column < columns; column++)
                {
                    float sum = accumulate ? 1 : 0;
                    for (int k = 0; k < Depth; k++)
                        sum += a[row, k] * b[column, k];
                    Assert.Equal(sum, d[row * columns + column]);
                }
            }
        }
    }

    [Fact]
    public void GroupsCompleteInOrder()
    {
        // Two accumulators in two groups: the first may be used while the second is in flight and still holds NaN.
        using Emulator emulator = new();
        Layout layout = new(3, false, 64, 64);
        float[,] a = Matrix(64, 64, new Random(1));
        ulong image = emulator.Upload(layout.Image(a)), result = emulator.Allocate(2 * sizeof(float));
        nint kernel = emulator.Kernel("""
            #include "ptx/mbarrier.cuh"
            #include "ptx/memory.cuh"
            #include "ptx/warp.cuh"
            #include "ptx/wgmma.cuh"
            extern "C" __global__ void groups(const uint4* a, float* out) {
                SHARED(memory);
                for (int i = threadIdx.x; i < 512; i += 128) reinterpret_cast<uint4*>(memory)[i] = a[i];
                fence_proxy_async();
                synchronize_block();
                unsigned long long matrix = wgmma_descriptor(shared_address(memory), 16, 1024, 1);
                float first[32], second[32];
                wgmma_fence();
                wgmma_m64n64k16(first, matrix, matrix, 0);
                wgmma_commit();
                wgmma_m64n64k16(second, matrix, matrix, 0);
                wgmma_commit();
                wgmma_wait<1>(first);
                float early = first[0], poisoned = second[0];
                wgmma_wait<0>(second);
                if (threadIdx.x == 0) {
                    out[0] = early == second[0] ? early : -1;
                    out[1] = poisoned;
                }
            }
            """, "groups");
        Emulator.Configure("counters", "on");
        Emulator.Check(Emulator.simtCountersReset());
        emulator.Run(kernel, 1, 128, 8192, image, result);
        Emulator.Check(Emulator.simtCountersRead("groups", out EmulatorCounters counters));
        Assert.Equal(2ul, counters.WarpgroupInstructions);
        float[] values = emulator.Download<float>(result, 2);
        float expected = 0;
        for (int k = 0; k < 16; k++)
            expected += a[0, k] * a[0, k];
        Assert.Equal(expected, values[0]);
        Assert.True(float.IsNaN(values[1]));
    }

    private static float[,] Matrix(int extent, int depth, Random random)
    {
        float[,] values = new float[extent, depth];
        for (int i = 0; i < extent; i++)
        {
            for (int k = 0; k < depth; k++)
                values[i, k] = BitConverter.UInt32BitsToSingle(
                    BitConverter.SingleToUInt32Bits((float)(2 * random.NextDouble() - 1)) & 0xFFFF0000u);
        }

        return values;
    }

    private static ushort Half(float value) => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);

    /// <summary>
    /// Where the elements of a matrix lie in shared memory, written down element by element and not as the emulator
    /// computes it.
    /// </summary>
    private sealed record Layout(int Swizzle, bool Transposed, int Extent, int Depth)
    {
        private int Span => 16 << Swizzle; // bytes of a row of the pattern

        private int Stride => (Swizzle, Transposed) switch
        {
            (0, _) => 128 * Depth / 8, // from one 8 along the extent to the next
            (_, false) => 8 * Span,
            _ => 8 * Span, // from 8 of the depth to the next 8
        };

        private int Leading => (Swizzle, Transposed) switch
        {
            (0, _) => 128, // from 8 of the depth to the next 8
            (_, false) => 16, // not used
            _ => 8 * Span * (Depth / 8), // from one row of the pattern to the next along the extent
        };

        /// <summary>Where step `slice` of 16 along the depth begins, as an expression of the kernel.</summary>
        private string Slice => (Swizzle, Transposed) switch
        {
            (0, _) => $"slice * {2 * Leading}",
            (_, false) => $"slice % {Span / 32} * 32 + slice / {Span / 32} * {Extent * Span}",
            _ => $"slice * {2 * Stride}",
        };

        public IEnumerable<string> Options(string name) =>
        [
            $"-D{name}_SLICE=({Slice})",
            $"-D{name}_LEADING={Leading}", $"-D{name}_STRIDE={Stride}",
            $"-D{name}_SWIZZLE={(Swizzle == 0 ? 0 : 4 - Swizzle)}",
            $"-DTRANSPOSE_{name}={(Transposed ? 1 : 0)}",
        ];

        public ushort[] Image(float[,] values)
        {
            ushort[] image = new ushort[Extent * Depth];
            for (int i = 0; i < Extent; i++)
            {
                for (int k = 0; k < Depth; k++)
                    image[Position(i, k) / 2] = Half(values[i, k]);
            }

            return image;
        }

        private int Position(int i, int k)
        {
            int rowElements = Span / 2;
            if (Swizzle == 0)
                return i / 8 * Stride + k / 8 * Leading + (Transposed ? k % 8 * 16 + i % 8 * 2 : i % 8 * 16 + k % 8 * 2);
            if (!Transposed) // panels of one row of the pattern each, one after the other along the depth
                return k / rowElements * Extent * Span + i * Span
                    + (k % rowElements / 8 ^ HopperTests.Pattern(i, Swizzle)) * 16 + k % 8 * 2;
            return i / rowElements * Leading + k / 8 * Stride + k % 8 * Span
                + (i % rowElements / 8 ^ HopperTests.Pattern(k % 8, Swizzle)) * 16 + i % 8 * 2;
        }
    }
}
