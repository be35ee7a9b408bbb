// Rows that an index chooses, and the sums of rows that an index sends to one place.
//   gather_rows                 y[i] = table[index[i]]                                        table [limit, columns], y
//                               [count, columns]
//   scatter_image_features      y[t] = index[t] < 0 ? embeddings[t] : features[index[t]]      y may be embeddings
//   clear_replaced_rows         y[t] = index[t] < 0 ? dy[t] : 0                               y may be dy
//   sort_tokens, sum_rows       table[r] = sum over t with index[t] = r of rows[t]            the other rows: cleared
//   by the host
// SOURCE and TARGET are float or bfloat16 (-D): what is read and what is written. WIDTH is the number of elements of
// one access; it divides the columns. Sums are made in float, in the order of t, and rounded once; there are no atomics
// on numbers.
//
// sort_tokens finds the place of every token in the order (index, token) by counting how many go before it: count²
// comparisons with numbers in shared memory, no dependence between blocks, no pass over the table. In sum_rows the
// threads at the first token of an index add all rows of that index; the others end at once.
//
// Launch: 256 threads, each with one pack of the output (sum_rows: of the rows); sort_tokens: 256 threads with one
// token each, 4096 bytes of shared memory. An index outside of [minimum, limit) is reported and then treated as "no
// row": zeros (or the embedding) are written, nothing is added.
// FLOPs: sum_rows count·columns additions, the others none. Bytes: the chosen rows read and written once each; sum_rows
// besides the table once (clearing).
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// sum_rows 87 / 84, sort_tokens 26 / 29, the others 16–20.
// Decided against, without timing: numbers added by atomics (their order changes from run to run), and a list of tokens
// per row linked in ascending order (one dependent load per token).
#include "common/places.cuh"
#include "common/shared.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"
#include "ptx/warp.cuh"

constexpr int width = WIDTH;

// Whether an index names a row. What is neither a row nor the permitted −1 is reported, by one thread of its row.
__device__ __forceinline__ bool names_row(int index, int minimum, int limit, long long position, bool reports,
                                          Status* status, int tag) {
    if (index >= 0 && index < limit)
        return true;
    if (reports && (index < minimum || index >= limit))
        report_status(status, tag, position, index);
    return false;
}

extern "C" __global__ void __launch_bounds__(256)
    gather_rows(const SOURCE* table, const int* index, TARGET* y, int count, int columns, int limit, Status* status,
                int tag) {
    grid_wait();
    grid_launch_dependents();
    const Place place = this_place<width>(count, columns);
    if (!place.inside)
        return;
    const int row = index[place.row];
    Pack<TARGET, width> pack = zero_pack<TARGET, width>();
    if (names_row(row, 0, limit, place.row, place.column == 0, status, tag))
        pack = convert_pack<TARGET>(load_pack<width>(table + (long long)row * columns + place.column));
    store_pack<width>(y + (long long)place.row * columns + place.column, pack);
}

extern "C" __global__ void __launch_bounds__(256)
    scatter_image_features(const SOURCE* embeddings, const SOURCE* features, const int* index, TARGET* y, int count,
                           int columns, int limit, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    const Place place = this_place<width>(count, columns);
    if (!place.inside)
        return;
    const int row = index[place.row];
    const long long own = (long long)place.row * columns + place.column;
    if (names_row(row, -1, limit, place.row, place.column == 0, status, tag))
        store_pack<width>(y + own,
                          convert_pack<TARGET>(load_pack<width>(features + (long long)row * columns + place.column)));
    else if ((const void*)embeddings != (const void*)y)
        store_pack<width>(y + own, convert_pack<TARGET>(load_pack<width>(embeddings + own)));
}

extern "C" __global__ void __launch_bounds__(256)
    clear_replaced_rows(const int* index, const SOURCE* dy, TARGET* y, int count, int columns) {
    const Place place = this_place<width>(count, columns);
    if (!place.inside)
        return;
    const long long own = (long long)place.row * columns + place.column;
    if (index[place.row] >= 0)
        store_pack<width>(y + own, zero_pack<TARGET, width>());
    else if ((const void*)dy != (const void*)y)
        store_pack<width>(y + own, convert_pack<TARGET>(load_pack<width>(dy + own)));
}

// A token and the row it is added to; −1 for none.
struct alignas(8) SortedToken {
    int row;
    int token;
};

constexpr int tile_tokens = 1024;

extern "C" __global__ void __launch_bounds__(256)
    sort_tokens(const int* index, SortedToken* sorted, int count, int minimum, int limit, Status* status, int tag) {
    SKYLIGHT_SHARED(shared);
    int* const tile = reinterpret_cast<int*>(shared);
    const int token = blockIdx.x * 256 + threadIdx.x;
    int row = -1;
    if (token < count) {
        const int found = index[token];
        if (names_row(found, minimum, limit, token, true, status, tag))
            row = found;
    }

    int before = 0;
    for (int first = 0; first < count; first += tile_tokens) {
        for (int i = threadIdx.x; i < tile_tokens; i += 256) {
            int other = 0x7FFFFFFF;  // beyond the end: before nothing
            if (first + i < count) {
                other = index[first + i];
                if (other < 0 || other >= limit)
                    other = -1;
            }
            tile[i] = other;
        }

        synchronize_block();
        // The tokens of a block are all in one tile: the tiles before it count their equals, those after it do not.
        if (token >= first && token < first + tile_tokens) {
            for (int i = 0; i < tile_tokens; i++)
                before += tile[i] < row || (tile[i] == row && first + i < token);
        } else {
            const int bound = first < token ? row + 1 : row;
            const int4* const fours = reinterpret_cast<const int4*>(tile);
#pragma unroll 4
            for (int i = 0; i < tile_tokens / 4; i++) {
                const int4 four = fours[i];
                before += (four.x < bound) + (four.y < bound) + (four.z < bound) + (four.w < bound);
            }
        }

        synchronize_block();
    }

    if (token < count)
        sorted[before] = SortedToken{row, token};
}

extern "C" __global__ void __launch_bounds__(256)
    sum_rows(const SortedToken* sorted, const SOURCE* rows, TARGET* table, int count, int columns) {
    const Place place = this_place<width>(count, columns);
    if (!place.inside)
        return;
    const int row = sorted[place.row].row;
    if (row < 0 || (place.row > 0 && sorted[place.row - 1].row == row))
        return;
    constexpr int depth = 8;  // rows on the way at once: one row at a time would wait for memory every time
    float sum[width];
#pragma unroll
    for (int i = 0; i < width; i++)
        sum[i] = 0.0f;
    int found = depth;
    for (int first = place.row; found == depth; first += depth) {
        Pack<SOURCE, width> packs[depth];
        found = 0;
#pragma unroll
        for (int j = 0; j < depth; j++) {
            packs[j] = zero_pack<SOURCE, width>();
            if (first + j < count && sorted[first + j].row == row) {
                packs[j] = load_pack<width>(rows + (long long)sorted[first + j].token * columns + place.column);
                found = j + 1;
            }
        }

#pragma unroll
        for (int j = 0; j < depth; j++) {
            if (j < found) {
#pragma unroll
                for (int i = 0; i < width; i++)
                    sum[i] += packs[j].get(i);
            }
        }
    }

    Pack<TARGET, width> result;
#pragma unroll
    for (int i = 0; i < width; i++)
        result.set(i, sum[i]);
    store_pack<width>(table + (long long)row * columns + place.column, result);
}
