// The vocabulary head: log-probabilities and entropy from hidden states, and their gradient, without a rows ×
// vocabulary array.
//   head_statistics         a block makes 128 rows × 1024 columns of logits, 128 columns at a time, in registers, and
//                           reduces each row's to the partial of a segment (common/softmax_statistics.cuh); finish_rows
//                           in logits.cu merges them
//   head_logit_gradients    dLogits of a chunk of the vocabulary, bfloat16, the logits made again
//   head_hidden_gradient    dHidden += dLogits of the chunk · its rows of the weight; sums stay float32 from chunk to
//                           chunk
//   head_weight_gradient    the chunk's rows of dWeight = dLogitsᵀ · hidden
// hidden is bfloat16, the weight [vocabulary, width] too or, forward and where CODE_BITS is defined, quantised
// (common/quantized.cuh); products are summed in float32, statistics and dWeight are float32.
// Every logit, and every element of a gradient, is one chain of m16n8k16 steps with the inner index ascending, so
// nothing depends on the tiles or on the size of the chunks, and logits that a matrix product stored give the same
// statistics bit for bit.
// Rows without target are left out (target_rows.cu): of all products, and of the reduction over rows in dWeight. How
// many rows are left is known on the device only, so grids cover all rows, and blocks beyond the last end at once.
// Launch: 256 threads, two blocks to a multiprocessor.
// ALIGNED 1: width is a multiple of 8.
// FLOPs: 2·rows·vocabulary·width forward, three times as many backward. Bytes: hidden and weight once, 12 for every
// 1024 logits; backward the chunk's gradients (2·rows·columns written and read twice) and dWeight beside.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_80 and sm_90a: head_statistics 128 registers,
// head_logit_gradients 125, head_hidden_gradient 126, head_weight_gradient 124 (ALIGNED 1), head_statistics with a
// quantised weight 190–212, one block; no spills. The emulator counts no bank conflict in the products.
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/weight_product.cuh"
#include "ptx/grid.cuh"

// The hidden states, gathered, lie with rows of 16 bytes' multiple; the weight lies as it is.
constexpr bool weight_is_aligned = ALIGNED != 0;

using LogitTile = MatrixTile<128, 128, 32, 4, 2, 4, false, true>;
using Logits = WeightProduct<LogitTile, weight_is_aligned>;
// With 128 registers a thread, as two blocks would need, a quantised weight's statistics spill.
#ifdef CODE_BITS
constexpr int statistics_blocks = 1;
#else
constexpr int statistics_blocks = 2;
#endif
using HiddenTile = MatrixTile<128, 128, 32, 4, 2, 4, false, false>;
using WeightTile = MatrixTile<128, 128, 32, 4, 2, 4, true, false>;
static_assert(LogitTile::warp_columns == slice_columns && segment_columns % LogitTile::tile_columns == 0,
              "a warp holds slices of its rows");

// The logits of 128 rows × 128 columns.
__device__ __forceinline__ void make_logits(LogitTile::Sums& logits, unsigned char* memory, const bfloat16* hidden,
                                            const WeightElement* weight, int first_row, int first_column, int rows,
                                            int columns, int width, int stride) {
    TileLoader<LogitTile::Left, LogitTile::threads, true, false, true> left(hidden, stride, rows, width);
    Logits::multiply(logits, memory, left, weight, columns, first_row, first_column, width);
}

// partials [tokens, segments]; target_logits [tokens]. Consecutive blocks go down 64 tiles of rows before they go to
// the next segment of the weight, so that the hidden states which run at the same time stay in the second-level cache.
extern "C" __global__ void __launch_bounds__(LogitTile::threads, statistics_blocks)
    head_statistics(const bfloat16* hidden, const WeightElement* weight, const int* row_targets, const int* count,
                    SoftmaxPartial* partials, float* target_logits, int row_tiles, int segments, int vocabulary,
                    int width, int stride, float temperature) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    constexpr int group = 64;
    constexpr int slices_across = LogitTile::tile_columns / slice_columns;
    SoftmaxPartial* slices =
        reinterpret_cast<SoftmaxPartial*>(memory + Logits::shared_bytes);  // [across, rows of the tile]
    const int group_first = blockIdx.x / (group * segments) * group;
    const int group_tiles = min(group, row_tiles - group_first);
    const int within = blockIdx.x % (group * segments);
    const int first_row = (group_first + within % group_tiles) * LogitTile::tile_rows, segment = within / group_tiles;
    const int rows = *count;
    if (first_row >= rows)
        return;

    const int lane = lane_index();
    const int own_row = LogitTile::first_warp_row() + lane / 4,
              own_column = LogitTile::first_warp_column() + lane % 4 * 2;
    SoftmaxPartial partial = {negative_infinity(), 0, 0};
    const int end = min(vocabulary, (segment + 1) * segment_columns);
#pragma unroll 1
    for (int first_column = segment * segment_columns; first_column < end; first_column += LogitTile::tile_columns) {
        LogitTile::Sums logits;
        make_logits(logits, memory, hidden, weight, first_row, first_column, rows, vocabulary, width, stride);
        const int column = first_column + own_column;
#pragma unroll
        for (int i = 0; i < LogitTile::row_fragments; i++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int tile_row = own_row + i * 16 + half * 8, row = first_row + tile_row;
                float x[slice_values];
#pragma unroll
                for (int j = 0; j < slice_values; j++)
                    x[j] = logits[i][j / 2][half * 2 + j % 2];
                // The target's column, counted from this lane's first: one of 0, 1, 8, 9, 16 … 57 where the lane holds
                // it.
                const int target = row < rows ? row_targets[row] - column : -1;
                if ((unsigned int)target < (unsigned int)slice_columns && target % 8 < 2) {
#pragma unroll
                    for (int j = 0; j < slice_values; j++) {
                        if (target == j / 2 * 8 + j % 2)
                            target_logits[row] = x[j];
                    }
                }

#pragma unroll
                for (int j = 0; j < slice_values; j++)
                    x[j] =
                        column + j / 2 * 8 + j % 2 < vocabulary ? scaled_logit(x[j], temperature) : negative_infinity();
                const SoftmaxPartial slice = reduce_slice(x);
                if (lane % 4 == 0)
                    slices[LogitTile::first_warp_column() / slice_columns * LogitTile::tile_rows + tile_row] = slice;
            }
        }

        // The slices are complete, and all threads have left the tiles of the product; the next ones are written after
        // more barriers.
        synchronize_block();
        if (threadIdx.x < LogitTile::tile_rows) {
#pragma unroll
            for (int across = 0; across < slices_across; across++) {
                const SoftmaxPartial slice = slices[across * LogitTile::tile_rows + threadIdx.x];
                partial =
                    across == 0 && first_column == segment * segment_columns ? slice : merge_partials(partial, slice);
            }
        }
    }

    const int row = first_row + threadIdx.x;
    if (threadIdx.x < LogitTile::tile_rows && row < rows)
        partials[(long long)row * segments + segment] = partial;
}

// logit_gradients [tokens, chunk_stride] of the columns chunk_first … chunk_first + chunk_columns − 1 of the
// vocabulary.
extern "C" __global__ void __launch_bounds__(LogitTile::threads, 2)
    head_logit_gradients(const bfloat16* hidden, const WeightElement* weight, const LogitGradient* row_gradients,
                         const int* count, bfloat16* logit_gradients, int row_tiles, int chunk_first, int chunk_columns,
                         int chunk_stride, int width, int stride, float temperature) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    const TilePosition position(blockIdx.x, row_tiles, divide_up(chunk_columns, LogitTile::tile_columns));
    const int first_row = position.row * LogitTile::tile_rows, first_column = position.column * LogitTile::tile_columns;
    const int rows = *count;
    if (first_row >= rows)
        return;
    LogitTile::Sums logits;
    make_logits(logits, memory, hidden, weight + (long long)chunk_first * width, first_row, first_column, rows,
                chunk_columns, width, stride);
    const int lane = lane_index();
#pragma unroll
    for (int i = 0; i < LogitTile::row_fragments; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = first_row + LogitTile::first_warp_row() + lane / 4 + i * 16 + half * 8;
            if (row >= rows)
                continue;
            LogitGradient gradient = row_gradients[row];
            gradient.target -= chunk_first;
            bfloat16* line = logit_gradients + (long long)row * chunk_stride;
#pragma unroll
            for (int j = 0; j < LogitTile::column_fragments; j++) {
                const int column = first_column + LogitTile::first_warp_column() + lane % 4 * 2 + j * 8;
                if (column < chunk_columns) {
                    store_pair(line + column, logit_gradient(gradient, logits[i][j][half * 2], column, temperature),
                               logit_gradient(gradient, logits[i][j][half * 2 + 1], column + 1, temperature),
                               column + 1 < chunk_columns);
                }
            }
        }
    }
}

// sums [tokens, width] float32, of the selected rows: read unless this is the first chunk, written unless it is the
// last, which writes hidden_gradient [tokens, width] in the place of each row.
extern "C" __global__ void __launch_bounds__(HiddenTile::threads, 2)
    head_hidden_gradient(const bfloat16* logit_gradients, const bfloat16* weight, const int* rows, const int* count,
                         float* sums, bfloat16* hidden_gradient, int row_tiles, int chunk_first, int chunk_columns,
                         int chunk_stride, int width, int is_first, int is_last) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    const TilePosition position(blockIdx.x, row_tiles, divide_up(width, HiddenTile::tile_columns));
    const int first_row = position.row * HiddenTile::tile_rows,
              first_column = position.column * HiddenTile::tile_columns;
    const int row_count = *count;
    if (first_row >= row_count)
        return;

    const int lane = lane_index();
    const int own_row = first_row + HiddenTile::first_warp_row() + lane / 4,
              own_column = first_column + HiddenTile::first_warp_column() + lane % 4 * 2;
    HiddenTile::Sums tile;
    HiddenTile::clear(tile);
    if (!is_first) {
#pragma unroll
        for (int i = 0; i < HiddenTile::row_fragments; i++)
#pragma unroll
            for (int j = 0; j < HiddenTile::column_fragments; j++)
#pragma unroll
                for (int element = 0; element < 4; element++) {
                    const int row = own_row + i * 16 + element / 2 * 8, column = own_column + j * 8 + element % 2;
                    if (row < row_count && column < width)
                        tile[i][j][element] = sums[(long long)row * width + column];
                }
    }

    TileLoader<HiddenTile::Left, HiddenTile::threads, true, false, true> left(logit_gradients, chunk_stride, row_count,
                                                                              chunk_columns);
    TileLoader<HiddenTile::Right, HiddenTile::threads, weight_is_aligned> right(weight + (long long)chunk_first * width,
                                                                                width, chunk_columns, width);
    HiddenTile::multiply_onto(tile, memory, left, right, first_row, first_column, chunk_columns);

    HiddenTile::for_each_pair(tile, [&](int row, int column, float first, float second) {
        row += first_row;
        column += first_column;
        if (row >= row_count || column >= width)
            return;
        if (is_last)
            store_pair(hidden_gradient + (long long)rows[row] * width + column, first, second, column + 1 < width);
        else
            store_pair(sums + (long long)row * width + column, first, second, column + 1 < width);
    });
}

// weight_gradient [vocabulary, width] float32: the rows of the chunk; zeros where no row was selected.
extern "C" __global__ void __launch_bounds__(WeightTile::threads, 2)
    head_weight_gradient(const bfloat16* logit_gradients, const bfloat16* hidden, const int* count,
                         float* weight_gradient, int chunk_first, int chunk_columns, int chunk_stride, int width,
                         int stride) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    const TilePosition position(blockIdx.x, divide_up(chunk_columns, WeightTile::tile_rows),
                                divide_up(width, WeightTile::tile_columns));
    const int first_row = position.row * WeightTile::tile_rows,
              first_column = position.column * WeightTile::tile_columns;
    const int row_count = *count;
    TileLoader<WeightTile::Left, WeightTile::threads, true, false, true> left(logit_gradients, chunk_stride, row_count,
                                                                              chunk_columns);
    TileLoader<WeightTile::Right, WeightTile::threads, true, false, true> right(hidden, stride, row_count, width);
    WeightTile::Sums tile;
    WeightTile::multiply(tile, memory, left, right, first_row, first_column, row_count);
    WeightTile::for_each_pair(tile, [&](int row, int column, float first, float second) {
        row += first_row;
        column += first_column;
        if (row < chunk_columns && column < width)
            store_pair(weight_gradient + (long long)(chunk_first + row) * width + column, first, second,
                       column + 1 < width);
    });
}
