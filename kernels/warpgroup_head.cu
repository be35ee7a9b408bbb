// The vocabulary head of vocabulary_head.cu, forward and backward, by warpgroup instructions (sm_90a).
//   head_statistics       a block makes tiles of logits over 1024 columns, in registers, and reduces each row's to the
//                         partial of a segment (common/softmax_statistics.cuh); finish_rows in logits.cu merges them
//   head_logit_gradients  dLogits of a chunk of the vocabulary, bfloat16, the logits made again
//   head_hidden_gradient  dHidden += dLogits of the chunk · its rows of the weight; sums stay float32 from chunk to
//                         chunk; …_first: of the first
//   head_weight_gradient  the chunk's rows of dWeight = dLogitsᵀ · hidden
// hidden and the weight [vocabulary, width] are bfloat16, width a multiple of 8; products are summed in float32,
// statistics and dWeight are float32. The sums are those of common/warpgroup_tile.cuh: logits that warpgroup_product
// stored give the same statistics bit for bit, and nothing depends on the tiles or on the size of the chunks.
// hidden [tokens, width] has the rows with targets side by side, then zeros up to a multiple of 64 (target_rows.cu);
// how many they are is known on the device only. Maps end where tokens, vocabulary, chunk and width do.
// Launch: up to BLOCKS blocks for a multiprocessor, each taking tiles of 64·CONSUMERS × TILE_COLUMNS in turn, in
// clusters of CLUSTER, which read the right factor once; threads and shared memory as the tile has them. A warp holds
// 16 rows of a tile with all their columns, so statistics need no shared memory.
// FLOPs: 2·rows·vocabulary·width forward, three times as many backward. Bytes: hidden and weight once, 12 for every
// 1024 logits; backward the chunk's gradients (2·rows·columns written and read twice) and dWeight beside.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a, no spills: two consumers, 256 columns: 168
// registers at the launch, as in warpgroup_gemm.cu, also in clusters of two; one consumer, 64 columns: head_statistics
// 69, head_logit_gradients 102, the others 58.
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/warpgroup_tile.cuh"
#include "ptx/grid.cuh"

using LogitTile = WarpgroupTile<CONSUMERS, TILE_COLUMNS, STAGES, false, true, CLUSTER>;
using HiddenTile = WarpgroupTile<CONSUMERS, TILE_COLUMNS, STAGES, false, false, CLUSTER>;
using WeightTile = WarpgroupTile<CONSUMERS, TILE_COLUMNS, STAGES, true, false, CLUSTER>;
static_assert(PANELS == 1 && LEFT_ROWS == CONSUMERS * group_rows, "its tiles have whole left factors");
static_assert(TILE_COLUMNS % slice_columns == 0 && segment_columns % TILE_COLUMNS == 0,
              "a tile holds slices of its rows, a segment tiles");

constexpr int tile_rows = CONSUMERS * group_rows;

using Tiles = ResultTiles<tile_rows, TILE_COLUMNS, CLUSTER>;

// A block's tiles of logits, a whole segment of a row after the other. Consecutive blocks go down 16 tiles of rows
// before they go to the next segment of the weight, so that what runs at the same time shares hidden states and weight
// in the second-level cache. The blocks of a cluster take neighbouring rows of tiles, as in ResultTiles.
struct SegmentTiles {
    int rows, vocabulary, segments;

    template <class Visitor>
    __device__ __forceinline__ void visit(Visitor visitor) const {
        constexpr int group = 16 / CLUSTER;
        const int down = divide_up(rows, tile_rows * CLUSTER), own = CLUSTER == 1 ? 0 : (int)cluster_rank();
        for (int index = (int)blockIdx.x / CLUSTER; index < down * segments; index += (int)gridDim.x / CLUSTER) {
            const int first = index / (group * segments) * group, height = min(group, down - first);
            const int within = index % (group * segments);
            const int row = ((first + within % height) * CLUSTER + own) * tile_rows;
            const int segment = within / height, end = min(vocabulary, (segment + 1) * segment_columns);
#pragma unroll 1
            for (int column = segment * segment_columns; column < end; column += TILE_COLUMNS)
                visitor(row, column, 0);
        }
    }
};

// partials [tokens, segments]; target_logits [tokens].
extern "C" __global__ void __launch_bounds__(LogitTile::threads, BLOCKS)
    head_statistics(const __grid_constant__ TensorMap hidden, const __grid_constant__ TensorMap weight,
                    int loaded_bytes, const int* row_targets, const int* count, SoftmaxPartial* partials,
                    float* target_logits, int segments, int vocabulary, int width, float temperature) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const int rows = *count;
    SoftmaxPartial partial[2];
    const LogitTile::Loader loader{&hidden, &weight, loaded_bytes};
    const SegmentTiles tiles{rows, vocabulary, segments};
    LogitTile::multiply(shared, loader, width, tiles, [&](LogitTile::Sums& logits, int row, int column, int) {
        const int lane = lane_index(), own_column = column + lane % 4 * 2;
        // Columns outside of the vocabulary.
        if (column + TILE_COLUMNS > vocabulary) {
#pragma unroll
            for (int i = 0; i < TILE_COLUMNS / 2; i++) {
                if (own_column + i / 4 * 8 + i % 2 >= vocabulary)
                    logits[i] = negative_infinity();
            }
        }

#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int own_row = row + half * 8, segment = column / segment_columns;
            // The target's column, counted from this lane's first in a slice: one of 0, 1, 8, 9, 16 … 57 where the lane
            // holds it.
            const int target = own_row < rows ? row_targets[own_row] - own_column : -1;
#pragma unroll
            for (int slice = 0; slice < TILE_COLUMNS / slice_columns; slice++) {
                float x[slice_values];
#pragma unroll
                for (int j = 0; j < slice_values; j++)
                    x[j] = logits[slice * 32 + j / 2 * 4 + half * 2 + j % 2];
                const int place = target - slice * slice_columns;
                if ((unsigned int)place < (unsigned int)slice_columns && place % 8 < 2) {
#pragma unroll
                    for (int j = 0; j < slice_values; j++) {
                        if (place == j / 2 * 8 + j % 2)
                            target_logits[own_row] = x[j];
                    }
                }

#pragma unroll
                for (int j = 0; j < slice_values; j++)
                    x[j] = scaled_logit(x[j], temperature);
                const SoftmaxPartial reduced = reduce_slice(x);
                const bool is_first = slice == 0 && column % segment_columns == 0;
                partial[half] = is_first ? reduced : merge_partials(partial[half], reduced);
            }

            const bool is_last = (column + TILE_COLUMNS) % segment_columns == 0 || column + TILE_COLUMNS >= vocabulary;
            if (is_last && lane % 4 == 0 && own_row < rows)
                partials[(long long)own_row * segments + segment] = partial[half];
        }
    });
}

// logit_gradients [tokens, chunk_stride] of the columns chunk_first … chunk_first + chunk_columns − 1 of the
// vocabulary, whose rows of the weight the map has; then zeros: in the columns up to the stride, and in rows up to the
// end of a tile, which the products over rows read.
extern "C" __global__ void __launch_bounds__(LogitTile::threads, BLOCKS)
    head_logit_gradients(const __grid_constant__ TensorMap hidden, const __grid_constant__ TensorMap weight,
                         int loaded_bytes, const LogitGradient* row_gradients, const int* count,
                         bfloat16* logit_gradients, int tokens, int chunk_first, int chunk_columns, int chunk_stride,
                         int width, float temperature) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const int rows = *count;
    const LogitTile::Loader loader{&hidden, &weight, loaded_bytes};
    const Tiles tiles{rows, chunk_columns, 1};
    LogitTile::multiply(shared, loader, width, tiles, [&](LogitTile::Sums& sums, int row, int column, int) {
        const int own_column = column + lane_index() % 4 * 2;
        bfloat16* lines[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int own_row = row + half * 8;
            lines[half] = own_row < tokens ? logit_gradients + (long long)own_row * chunk_stride : nullptr;
            LogitGradient gradient = {0, 0, 0, 0, 0, -1};
            if (own_row < rows)
                gradient = row_gradients[own_row];
            gradient.target -= chunk_first;
#pragma unroll
            for (int i = 0; i < TILE_COLUMNS / 4; i++) {
                float& sum = sums[i / 2 * 4 + half * 2 + i % 2];
                const int at = own_column + i / 2 * 8 + i % 2;
                sum = own_row < rows && at < chunk_columns ? logit_gradient(gradient, sum, at, temperature) : 0.0f;
            }
        }

        store_sums<TILE_COLUMNS>(sums, lines, column, chunk_stride, true);
    });
}

// sums [tokens, width] float32, of the selected rows: read unless this is the first chunk, written unless it is the
// last, which writes hidden_gradient [tokens, width] in the place of each row. What lies outside is read from the last
// row or column, for rows and columns that nobody stores: with loads under a condition the assembler serializes the
// products (C7515).
template <bool IsFirst>
__device__ __forceinline__ void add_hidden_gradient(unsigned char* shared, const TensorMap& logit_gradients,
                                                    const TensorMap& weight, int loaded_bytes, const int* rows,
                                                    int row_count, float* sums, bfloat16* hidden_gradient,
                                                    int chunk_columns, int width, int is_last) {
    const auto begin = [&](HiddenTile::Sums& tile, int row, int column) {
        if constexpr (IsFirst) {
            HiddenTile::clear(tile);
        } else {
#pragma unroll
            for (int i = 0; i < TILE_COLUMNS / 2; i += 2) {
                const int own_row = min(row + i % 4 / 2 * 8, row_count - 1);
                const int own_column = min(column + lane_index() % 4 * 2 + i / 4 * 8, width - 2);
                const Pack<float, 2> pair = load_pack<2>(sums + (long long)own_row * width + own_column);
                tile[i] = pair.get(0);
                tile[i + 1] = pair.get(1);
            }
        }
    };
    const HiddenTile::Loader loader{&logit_gradients, &weight, loaded_bytes};
    const auto finish = [&](HiddenTile::Sums& tile, int row, int column, int) {
        if (is_last) {
            bfloat16* const lines[2] = {
                row < row_count ? hidden_gradient + (long long)rows[row] * width : nullptr,
                row + 8 < row_count ? hidden_gradient + (long long)rows[row + 8] * width : nullptr};
            store_sums<TILE_COLUMNS>(tile, lines, column, width, true);
        } else {
            float* const line = sums + (long long)row * width;
            float* const lines[2] = {row < row_count ? line : nullptr,
                                     row + 8 < row_count ? line + 8LL * width : nullptr};
            store_sums<TILE_COLUMNS>(tile, lines, column, width, true);
        }
    };
    HiddenTile::multiply_onto(shared, loader, chunk_columns, Tiles{row_count, width, 1}, begin, finish);
}

extern "C" __global__ void __launch_bounds__(HiddenTile::threads, BLOCKS)
    head_hidden_gradient_first(const __grid_constant__ TensorMap logit_gradients,
                               const __grid_constant__ TensorMap weight, int loaded_bytes, const int* rows,
                               const int* count, float* sums, bfloat16* hidden_gradient, int chunk_columns, int width,
                               int is_last) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    add_hidden_gradient<true>(shared, logit_gradients, weight, loaded_bytes, rows, *count, sums, hidden_gradient,
                              chunk_columns, width, is_last);
}

extern "C" __global__ void __launch_bounds__(HiddenTile::threads, BLOCKS)
    head_hidden_gradient(const __grid_constant__ TensorMap logit_gradients, const __grid_constant__ TensorMap weight,
                         int loaded_bytes, const int* rows, const int* count, float* sums, bfloat16* hidden_gradient,
                         int chunk_columns, int width, int is_last) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    add_hidden_gradient<false>(shared, logit_gradients, weight, loaded_bytes, rows, *count, sums, hidden_gradient,
                               chunk_columns, width, is_last);
}

// weight_gradient [chunk_columns, width] float32: the rows of the chunk; zeros where no row was selected.
extern "C" __global__ void __launch_bounds__(WeightTile::threads, BLOCKS)
    head_weight_gradient(const __grid_constant__ TensorMap logit_gradients, const __grid_constant__ TensorMap hidden,
                         int loaded_bytes, const int* count, float* weight_gradient, int chunk_columns, int width) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const WeightTile::Loader loader{&logit_gradients, &hidden, loaded_bytes};
    const Tiles tiles{chunk_columns, width, 1};
    WeightTile::multiply(shared, loader, *count, tiles, [&](WeightTile::Sums& sums, int row, int column, int) {
        float* const line = weight_gradient + (long long)row * width;
        float* const lines[2] = {row < chunk_columns ? line : nullptr,
                                 row + 8 < chunk_columns ? line + 8LL * width : nullptr};
        store_sums<TILE_COLUMNS>(sums, lines, column, width, true);
    });
}
