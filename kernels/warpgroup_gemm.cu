// Matrix products by warpgroup instructions (sm_90a), with a batch-invariant order of summation.
//   warpgroup_product  result [rows, columns] = left [rows, inner] · right [inner, columns] (+ bias [columns]), for each matrix of a batch
// left is stored [inner, rows] where TRANSPOSE_LEFT is 1; right is stored [columns, inner], as weights are, where TRANSPOSE_RIGHT is 1, as in
// gemm.cu, whose products these are. left and right are tensor maps of [batch, …, …] with a swizzle of 128 bytes: boxes of 64 inner indices
// and the rows or columns of a tile where the inner index is contiguous, else of 64 rows or columns and 64 inner indices; loaded_bytes is what
// all boxes of a stage have. Rows and columns beyond a box are never read back. The contiguous extents are multiples of 8 elements; else any extents, but inner > 0.
// Factors are bfloat16, sums float32; bias is BIAS and the result RESULT (float or bfloat16), rounded once, after the bias.
// Every element is one chain of wgmma steps of 16 inner indices, ascending, in stages of 64 that are filled up with zeros, whatever CONSUMERS
// and TILE_COLUMNS are. wgmma may round otherwise than mma.sync, so who multiplies a weight by one must never use the other for it
// (docs/cuda.md, "Deterministic mode").
// Launch: up to BLOCKS blocks for a multiprocessor, each taking tiles of 64·CONSUMERS × TILE_COLUMNS in turn. CONSUMERS warpgroups multiply;
// behind them one thread of the producer (a warpgroup, or a warp where CONSUMERS is 1) copies. Shared memory: STAGES·((64·CONSUMERS +
// TILE_COLUMNS)·128 + 16) bytes.
// FLOPs: 2·rows·columns·inner. Bytes: both factors and the result once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a, x · weightᵀ in tiles of 128×256: 168 registers at the launch, of which setmaxnreg
// leaves 40 to the producer and gives 232 to a consumer; no spills. A pass of the main loop has 67 instructions for four m64n256k16.
// One consumer: 78 registers with 64 columns, 37 with 16.
// Sums begin as zeros and every step adds: with a first step that does not add, the assembler serializes the products (C7515).
#include "common/matrix_tile.cuh"
#include "common/shared.cuh"
#include "ptx/cluster.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"

constexpr int group_threads = 128;
constexpr int group_rows = 64;
constexpr int stage_inner = 64;  // 128 bytes: a row of the swizzle
constexpr int step_inner = 16;
constexpr int panel = 64;  // columns of a box whose inner index is not contiguous
constexpr int swizzle_128 = 1;

// Two consumers need more registers than a third of all, so the producer is a warpgroup that gives its own to them.
constexpr bool moves_registers = CONSUMERS > 1;
constexpr int producer_threads = moves_registers ? group_threads : 32;
constexpr int threads = CONSUMERS * group_threads + producer_threads;

// A factor's part of a stage: Extent rows of left, or columns of right, and 64 inner indices. Contiguous: along the inner index.
template <int Extent, bool Contiguous>
struct Factor {
    static constexpr int bytes = Extent * stage_inner * 2;
    static constexpr int panel_bytes = panel * stage_inner * 2;
    static_assert(Contiguous || Extent % panel == 0, "boxes have 64 columns");

    static __device__ __forceinline__ void load(unsigned int tile, const TensorMap* map, unsigned int barrier, int first, int inner, int matrix) {
        if constexpr (Contiguous) {
            tma_load_3d(tile, map, barrier, inner, first, matrix);
        } else {
#pragma unroll
            for (int index = 0; index < Extent / panel; index++)
                tma_load_3d(tile + index * panel_bytes, map, barrier, first + index * panel, inner, matrix);
        }
    }

    // The descriptor of what follows row or column `first`, a multiple of 64; it grows by `step` from one step to the next.
    static __device__ __forceinline__ unsigned long long descriptor(unsigned int tile, int first) {
        return Contiguous ? wgmma_descriptor(tile + first * stage_inner * 2, 16, 8 * stage_inner * 2, swizzle_128)
                          : wgmma_descriptor(tile + first / panel * panel_bytes, panel_bytes, 8 * panel * 2, swizzle_128);
    }

    static constexpr int step = (Contiguous ? step_inner * 2 : step_inner * panel * 2) / 16;
};

using Left = Factor<CONSUMERS * group_rows, TRANSPOSE_LEFT == 0>;
using Right = Factor<TILE_COLUMNS, TRANSPOSE_RIGHT != 0>;
constexpr int transpose_a = TRANSPOSE_LEFT, transpose_b = 1 - TRANSPOSE_RIGHT;
constexpr int stage_bytes = Left::bytes + Right::bytes;

__device__ __forceinline__ void multiply(float (&sums)[8], unsigned long long a, unsigned long long b, int accumulate) {
    wgmma_m64n16k16<transpose_a, transpose_b>(sums, a, b, accumulate);
}

__device__ __forceinline__ void multiply(float (&sums)[32], unsigned long long a, unsigned long long b, int accumulate) {
    wgmma_m64n64k16<transpose_a, transpose_b>(sums, a, b, accumulate);
}

__device__ __forceinline__ void multiply(float (&sums)[64], unsigned long long a, unsigned long long b, int accumulate) {
    wgmma_m64n128k16<transpose_a, transpose_b>(sums, a, b, accumulate);
}

__device__ __forceinline__ void multiply(float (&sums)[128], unsigned long long a, unsigned long long b, int accumulate) {
    wgmma_m64n256k16<transpose_a, transpose_b>(sums, a, b, accumulate);
}

// Where the producer fills and consumers read: stages in a ring, and the parity of the round.
struct Ring {
    int stage = 0;
    unsigned int parity = 0;

    __device__ __forceinline__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// Lane q of every four gets the words q of the four lanes, in their order.
__device__ __forceinline__ void exchange(unsigned int (&words)[4]) {
    const int lane = lane_index();
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
        const bool upper = (lane & bit) != 0;
#pragma unroll
        for (int index = 0; index < 4; index++) {
            if ((index & bit) != 0)
                continue;
            unsigned int &low = words[index], &high = words[index + bit];
            const unsigned int received = (unsigned int)shuffle_xor((int)(upper ? low : high), bit);
            low = upper ? received : low;
            high = upper ? high : received;
        }
    }
}

// Adds the bias to a warp's sums and stores them: rows `row` and `row` + 8 are this lane's, columns begin at first_column.
__device__ __forceinline__ void store_sums(float (&sums)[TILE_COLUMNS / 2], const BIAS* bias, RESULT* target, int row, int first_column, int rows, int columns) {
    const int lane = lane_index();
    if (bias != nullptr) {
#pragma unroll
        for (int eight = 0; eight < TILE_COLUMNS / 8; eight++) {
            const int column = first_column + eight * 8 + lane % 4 * 2;
            const float first = column < columns ? to_float(bias[column]) : 0, second = column + 1 < columns ? to_float(bias[column + 1]) : 0;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                sums[eight * 4 + half * 2] += first;
                sums[eight * 4 + half * 2 + 1] += second;
            }
        }
    }

    if constexpr (sizeof(RESULT) == 2 && TILE_COLUMNS % 32 == 0) {
        // Rows begin at multiples of 16 bytes: four lanes store 64 bytes of a row, 16 each.
        if (columns % 8 == 0) {
#pragma unroll
            for (int group = 0; group < TILE_COLUMNS / 32; group++) {
                const int column = first_column + group * 32 + lane % 4 * 8;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    unsigned int words[4];
#pragma unroll
                    for (int index = 0; index < 4; index++)
                        words[index] = floats_to_bfloat16(sums[(group * 4 + index) * 4 + half * 2], sums[(group * 4 + index) * 4 + half * 2 + 1]);
                    exchange(words);
                    if (row + half * 8 < rows && column < columns)
                        *reinterpret_cast<uint4*>(target + (long long)(row + half * 8) * columns + column) = uint4{words[0], words[1], words[2], words[3]};
                }
            }

            return;
        }
    }

#pragma unroll
    for (int eight = 0; eight < TILE_COLUMNS / 8; eight++) {
        const int column = first_column + eight * 8 + lane % 4 * 2;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (row + half * 8 < rows && column < columns)
                store_pair(target + (long long)(row + half * 8) * columns + column, sums[eight * 4 + half * 2], sums[eight * 4 + half * 2 + 1], column + 1 < columns);
        }
    }
}

extern "C" __global__ void __launch_bounds__(threads, BLOCKS)
    warpgroup_product(const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right, int loaded_bytes, const BIAS* bias, RESULT* result, int rows, int columns,
                      int inner, int batch) {
    SKYLIGHT_SHARED(shared);
    const unsigned int stages = shared_address(shared);
    // A stage is full when its bytes have arrived, and empty when every warp of the consumers has left it.
    const unsigned int full = stages + STAGES * stage_bytes, empty = full + STAGES * 8;
    const int tile_rows = divide_up(rows, CONSUMERS * group_rows), tile_columns = divide_up(columns, TILE_COLUMNS);
    const int tiles = tile_rows * tile_columns * batch, count = divide_up(inner, stage_inner);
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_initialize(full + stage * 8, 1);
            mbarrier_initialize(empty + stage * 8, CONSUMERS * group_threads / 32);
        }

        fence_mbarrier_initialize();
    }

    synchronize_block();
    const int group = (int)threadIdx.x / group_threads;
    Ring ring;
    if (group == CONSUMERS) {
        if constexpr (moves_registers)
            decrease_registers<40>();
        if (threadIdx.x % group_threads != 0)
            return;
        tma_prefetch(&left);
        tma_prefetch(&right);
        for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
            const int matrix = tile / (tile_rows * tile_columns);
            const TilePosition position(tile % (tile_rows * tile_columns), tile_rows, tile_columns);
            for (int index = 0; index < count; index++) {
                const unsigned int target = stages + ring.stage * stage_bytes, barrier = full + ring.stage * 8;
                mbarrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
                mbarrier_arrive_expect(barrier, loaded_bytes);
                Left::load(target, &left, barrier, position.row * CONSUMERS * group_rows, index * stage_inner, matrix);
                Right::load(target + Left::bytes, &right, barrier, position.column * TILE_COLUMNS, index * stage_inner, matrix);
                ring.advance();
            }
        }
    } else {
        if constexpr (moves_registers)
            increase_registers<232>();
        const int lane = lane_index(), warp = (int)threadIdx.x % group_threads / 32;
        for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
            const int matrix = tile / (tile_rows * tile_columns);
            const TilePosition position(tile % (tile_rows * tile_columns), tile_rows, tile_columns);
            float sums[TILE_COLUMNS / 2];
#pragma unroll
            for (float& sum : sums)
                sum = 0;
            int before = 0;
            for (int index = 0; index < count; index++) {
                mbarrier_wait(full + ring.stage * 8, ring.parity);
                const unsigned int source = stages + ring.stage * stage_bytes;
                const unsigned long long a = Left::descriptor(source, group * group_rows), b = Right::descriptor(source + Left::bytes, 0);
                wgmma_fence();
#pragma unroll
                for (int step = 0; step < stage_inner / step_inner; step++)
                    multiply(sums, a + step * Left::step, b + step * Right::step, 1);
                wgmma_commit();
                // The products of the stage before are done, while those of this one run.
                wgmma_wait<1>();
                if (index > 0 && lane == 0)
                    mbarrier_arrive(empty + before * 8);
                before = ring.stage;
                ring.advance();
            }

            wgmma_wait<0>(sums);
            if (lane == 0)
                mbarrier_arrive(empty + before * 8);

            const int row = (position.row * CONSUMERS + group) * group_rows + warp * 16 + lane / 4;
            store_sums(sums, bias, result + (long long)matrix * rows * columns, row, position.column * TILE_COLUMNS, rows, columns);
        }
    }
}
