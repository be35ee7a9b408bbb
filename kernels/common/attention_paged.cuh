// What the kernels of attention over a cache of pages have in common: their operands, and where the sums of a span go. HEAD_DIMENSION is a
// constant of theirs. A grid is (Hkv, tiles + clearing blocks, spans).
#pragma once

#include "common/attention_tile.cuh"
#include "common/attention_walk.cuh"
#include "common/status.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int page_size = 32;
using Rows = AttentionRows<dimension>;

struct PagedArguments {
    const bfloat16* q;
    const int* table;
    const int* lengths;
    bfloat16* output;
    int group;
    int table_width;
    int pages;
    Status* status;
    int tag;

    // Zeroes the rows of no sequence, where this block lies behind the tiles in the grid.
    __device__ __forceinline__ bool clears(const int* starts, int sequences, int rows, int tile_blocks) const {
        if ((int)blockIdx.y < tile_blocks) return false;
        const long long block = (blockIdx.y - tile_blocks) * gridDim.x + blockIdx.x, blocks = (gridDim.y - tile_blocks) * gridDim.x;
        if (blockIdx.z == 0)
            clear_outside(reinterpret_cast<uint16_t*>(output), (long long)gridDim.x * group * dimension, starts, sequences, rows,
                          block * blockDim.x + threadIdx.x, blocks * blockDim.x);
        return true;
    }

    // The heads of this block's group in some rows of the batch, from pair first on.
    __device__ __forceinline__ AttentionQueries<0> queries(int start, int rows, int first, int visible, bool causal) const {
        const long long row_stride = (long long)gridDim.x * group * dimension;
        const long long offset = start * row_stride + (long long)blockIdx.x * group * dimension;
        AttentionQueries<0> queries{};
        queries.query = q + offset;
        queries.output = output + offset;
        queries.row_stride = row_stride;
        queries.any_group = group;
        queries.first = first;
        queries.count = rows * group;
        queries.visible = visible;
        queries.causal = causal;
        return queries;
    }

    // The page of an entry of a sequence's table; −1, and reported, where it is none of the cache.
    __device__ __forceinline__ int page(int sequence, int entry) const {
        const long long place = (long long)sequence * table_width + entry;
        const int page = table[place];
        if (page >= 0 && page < pages) return page;
        report_status(status, tag, place, page);
        return -1;
    }
};

// What the spans of the rows give: output not yet normalised, and greatest score and sum of p.
struct Parts {
    float* sums;         // [spans, places, Hq, D']
    float2* statistics;  // [spans, places, Hq]
    int* visible;        // [T], behind it the places [T] of the rows, and where there are several spans the arrivals [places, Hkv]
    int rows;
    int places;
    int group;

    __device__ __forceinline__ long long index(int span, int row, int head) const {
        return ((long long)span * places + visible[rows + row]) * (gridDim.x * group) + blockIdx.x * group + head;
    }

    // How many pairs of a row and of this block's heads have left their sums, over all spans; zero before and after a launch.
    __device__ __forceinline__ int* arrivals(int row) const { return visible + 2 * rows + (long long)visible[rows + row] * gridDim.x + blockIdx.x; }
};

// Where a pair's sums of one span go: normalised to the output, where it sees no other span; otherwise to a part.
struct PairTarget {
    bfloat16* output;
    float* sums;
    float2* statistics;
    float inverse;

    __device__ __forceinline__ PairTarget(const Parts& parts, const AttentionQueries<0>& queries, int start, int pair, float maximum, float total)
        : output(nullptr), sums(nullptr), statistics(nullptr), inverse(0.0f) {
        if (pair >= queries.count) return;
        const int row = start + pair / parts.group, seen = parts.visible[row];
        if (seen > attention_span) {
            const long long part = parts.index(blockIdx.z, row, pair % parts.group);
            sums = parts.sums + part * (16 * Rows::chunks);
            statistics = parts.statistics + part;
            *statistics = float2{maximum, total};
        } else if (blockIdx.z == 0) {
            output = queries.output + queries.offset(pair, dimension);
            inverse = 1.0f / total;
        }
    }

    __device__ __forceinline__ void store(int column, float low, float high) const {
        if (sums != nullptr)
            *reinterpret_cast<float2*>(sums + column) = float2{low, high};
        else if (output != nullptr)
            store_normalised<dimension>(output, column, low, high, inverse);
    }
};

constexpr int join_threads = 128;
constexpr int join_warps = join_threads / 32;
constexpr int join_barrier = 1;

// Joins the spans of a row and head, ascending, and writes their output; by a warp.
__device__ __forceinline__ void join_spans(const Parts& parts, bfloat16* output, int row, int head, float scale) {
    constexpr int width = 16 * Rows::chunks, columns = divide_up(width, 64);
    const int spans = divide_up(parts.visible[row], attention_span), first = threadIdx.x % 32 * 2;
    const long long first_part = parts.index(0, row, head), stride = parts.index(1, row, head) - first_part;
    float2 sums[columns] = {};
    float maximum = 0.0f, total = 0.0f;
#pragma unroll 4
    for (int span = 0; span < spans; span++) {
        const long long part = first_part + span * stride;
        const float2 statistics = parts.statistics[part];
        float2 values[columns];
#pragma unroll
        for (int i = 0; i < columns; i++)
            values[i] = 64 * i + first < width ? *reinterpret_cast<const float2*>(parts.sums + part * width + 64 * i + first) : float2{0.0f, 0.0f};
        if (span == 0) {
            maximum = statistics.x;
            total = statistics.y;
#pragma unroll
            for (int i = 0; i < columns; i++) sums[i] = values[i];
        } else {
            const SpanFactors factors = join_maximum(maximum, statistics.x, scale);
            total = factors.join(total, statistics.y);
#pragma unroll
            for (int i = 0; i < columns; i++) sums[i] = float2{factors.join(sums[i].x, values[i].x), factors.join(sums[i].y, values[i].y)};
        }
    }
    bfloat16* target = output + (((long long)row * gridDim.x + blockIdx.x) * parts.group + head) * dimension;
    const float inverse = 1.0f / total;
#pragma unroll
    for (int i = 0; i < columns; i++)
        if (64 * i + first < width) store_normalised<dimension>(target, 64 * i + first, sums[i].x, sums[i].y, inverse);
}

// Counts the pairs first to end − 1, whose sums this block has stored, as arrived, and joins the spans of those rows of which that were the last:
// whichever block comes last does, and the order of the sums is the spans', so the bits do not depend on it. It leaves the count at zero, for the
// next layer. start: the batch's row of pair 0. By the first join_threads threads; last: an int of shared memory for each of 64 rows.
__device__ __forceinline__ void join_arrived(const Parts& parts, int* last, bfloat16* output, int start, int first, int end, float scale) {
    if (gridDim.z == 1) return;
    const int group = parts.group, first_row = first / group, rows = divide_up(end, group) - first_row, own = first_row + (int)threadIdx.x;
    synchronize_named(join_barrier, join_threads);
    if ((int)threadIdx.x < rows) {
        const int row = start + own, seen = parts.visible[row];
        bool all = false;
        if (seen > attention_span && seen > (int)blockIdx.z * attention_span) {
            const int pairs = min(end, (own + 1) * group) - max(first, own * group);
            // The stores of the whole block, which the barrier showed to this thread, come before what it adds; the loads of the last come behind.
            fence_device();
            all = atomicAdd(parts.arrivals(row), pairs) + pairs == divide_up(seen, attention_span) * group;
            if (all) *parts.arrivals(row) = 0;
            fence_device();
        }
        last[threadIdx.x] = all;
    }
    synchronize_named(join_barrier, join_threads);
    for (int pair = threadIdx.x / 32; pair < rows * group; pair += join_warps)
        if (last[pair / group]) join_spans(parts, output, start + first_row + pair / group, pair % group, scale);
}
