// Matrix products by warpgroup instructions (sm_90a), with a batch-invariant order of summation.
//   warpgroup_product  result [rows, columns] = left [rows, inner] · right [inner, columns] (+ bias [columns]), for
//                      each matrix of a batch
// left is stored [inner, rows] where TRANSPOSE_LEFT is 1; right is stored [columns, inner], as weights are, where
// TRANSPOSE_RIGHT is 1, as in gemm.cu, whose products these are. Both come as tensor maps; their contiguous extents are
// multiples of 8 elements. Else any extents, but inner > 0.
// Factors are bfloat16, sums float32; bias is BIAS and the result RESULT (float or bfloat16), rounded once, after the
// bias; ACTIVATION says what is made of it before it is stored (common/product_epilogue.cuh). With SwiGLU `columns` are
// the result's, half of right's.
// The sums are those of common/warpgroup_tile.cuh, whatever CONSUMERS, TILE_COLUMNS, CLUSTER, PANELS and LEFT_ROWS are.
// Weights begin to come into the second-level cache before the kernel that makes left has ended.
// Launch: up to BLOCKS blocks for a multiprocessor, each taking tiles of 64·CONSUMERS × TILE_COLUMNS in turn, in
// clusters of CLUSTER, which read right once for all their blocks; threads and shared memory as the tile has them.
// FLOPs: 2·rows·columns·inner. Bytes: both factors and the result once; for a stage of a tile of 128×256, from the
// second-level cache, 48 KB, and 32 KB in clusters of two.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a, x · weightᵀ in tiles of 128×256: 168 registers at
// the launch, of which setmaxnreg leaves 40 to the producer and gives 232 to a consumer; no spills. A pass of the main
// loop has 47 instructions for four m64n256k16 (66 before descriptors were in uniform registers), in clusters of two
// 49.
// One consumer: 72 registers with 64 columns, 39 with 16; a pass of the latter has 72 instructions for eight
// m64n16k16, which read 4 KiB of the weight, where a single panel had 78 for 2 KiB. For up to eight rows a
// multiprocessor has 128 KiB of the weight in flight, four blocks of eight stages; for more rows 40 KiB (32 before).
#include "common/product_epilogue.cuh"
#include "common/shared.cuh"
#include "common/warpgroup_tile.cuh"

using Product = WarpgroupTile<CONSUMERS, TILE_COLUMNS, STAGES, TRANSPOSE_LEFT != 0, TRANSPOSE_RIGHT != 0, CLUSTER,
                              PANELS, LEFT_ROWS>;

static_assert(!is_gated || TRANSPOSE_RIGHT != 0, "gate and up are rows of a weight");
// Columns of the result that a tile makes: its first half are of gate, then come those of up.
constexpr int result_columns = is_gated ? TILE_COLUMNS / 2 : TILE_COLUMNS;

// Of gated products it copies the columns of gate and of up, which lie `columns` further on.
struct Loader : Product::Loader {
    using Half = WarpgroupFactor<TILE_COLUMNS / 2, true>;
    int columns;

    __device__ __forceinline__ void load(unsigned int stage, unsigned int barrier, int row, int column, int inner,
                                         int matrix) const {
        if constexpr (is_gated) {
            mbarrier_arrive_expect(barrier, loaded_bytes);
#pragma unroll
            for (int part = 0; part < PANELS; part++, inner += stage_inner) {
                const unsigned int place = stage + part * Product::part_bytes, gate = place + Product::Left::bytes;
                Product::Left::load(place, left, barrier, row, inner, matrix);
                Half::template load<CLUSTER>(gate, right, barrier, column, inner, matrix);
                Half::template load<CLUSTER>(gate + Half::bytes, right, barrier, columns + column, inner, matrix);
            }
        } else {
            Product::Loader::load(stage, barrier, row, column, inner, matrix);
        }
    }

    __device__ __forceinline__ void prefetch_right(int column, int inner, int matrix) const {
        if constexpr (is_gated) {
            Half::template prefetch<CLUSTER>(right, column, inner, matrix);
            Half::template prefetch<CLUSTER>(right, columns + column, inner, matrix);
        } else {
            Product::Loader::prefetch_right(column, inner, matrix);
        }
    }
};

__device__ __forceinline__ void add_bias(Product::Sums& sums, const BIAS* bias, int first_column, int columns) {
#pragma unroll
    for (int eight = 0; eight < TILE_COLUMNS / 8; eight++) {
        const int column = first_column + eight % (result_columns / 8) * 8 + lane_index() % 4 * 2;
        const BIAS* own = eight < result_columns / 8 ? bias : bias + columns;
        const float first = column < columns ? to_float(own[column]) : 0;
        const float second = column + 1 < columns ? to_float(own[column + 1]) : 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            sums[eight * 4 + half * 2] += first;
            sums[eight * 4 + half * 2 + 1] += second;
        }
    }
}

__device__ __forceinline__ void activate(Product::Sums& sums) {
    if constexpr (is_gated) {
#pragma unroll
        for (int i = 0; i < TILE_COLUMNS / 4; i++)
            sums[i] = gated<RESULT>(sums[i], sums[TILE_COLUMNS / 4 + i]);
    } else {
#pragma unroll
        for (float& sum : sums)
            sum = activated<RESULT>(sum);
    }
}

extern "C" __global__ void __launch_bounds__(Product::threads, BLOCKS)
    warpgroup_product(const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right, int loaded_bytes,
                      const BIAS* bias, RESULT* result, int rows, int columns, int inner, int batch) {
    SKYLIGHT_SHARED(shared);
    const ResultTiles<Product::tile_rows, result_columns, CLUSTER> tiles{rows, columns, batch};
    const Loader loader{{&left, &right, loaded_bytes}, columns};
    Product::prefetch(loader, inner, tiles);
    const auto finish = [&](Product::Sums& sums, int row, int column, int matrix) {
        if (bias != nullptr)
            add_bias(sums, bias, column, columns);
        activate(sums);
        RESULT* const line = result + ((long long)matrix * rows + row) * columns;
        RESULT* const lines[2] = {row < rows ? line : nullptr, row + 8 < rows ? line + 8LL * columns : nullptr};
        store_sums<result_columns>(sums, lines, column, columns, columns % 8 == 0);
    };
    Product::multiply(shared, loader, inner, tiles, finish);
}
