// What the kernels of attention over a cache of pages have in common: their operands, and where the sums of a span go.
// HEAD_DIMENSION is a constant of theirs. A grid is (Hkv, tiles + clearing blocks, spans).
// ROTARY is 1 in decoding that begins with the projection of the layer (the op QkvPagedAttention): then q is qkv [T,
// (Hq + 2·Hkv)·D], every block makes its own queries of it, and writes the new keys and values that its span has to the
// cache before it reads that. Blocks of several tiles of one sequence write the same numbers to the same places.
// PARAMETER is the type of the norm's weights, which are null where heads are not normalised.
#pragma once

#ifndef ROTARY
#define ROTARY 0
#endif

#include "common/attention_tile.cuh"
#include "common/attention_walk.cuh"
#include "common/status.cuh"
#if ROTARY
#include "common/rotary_head.cuh"
#endif

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
        if ((int)blockIdx.y < tile_blocks)
            return false;
        const long long block = (blockIdx.y - tile_blocks) * gridDim.x + blockIdx.x,
                        blocks = (gridDim.y - tile_blocks) * gridDim.x;
        if (blockIdx.z == 0)
            clear_outside(reinterpret_cast<uint16_t*>(output), (long long)gridDim.x * group * dimension, starts,
                          sequences, rows, block * blockDim.x + threadIdx.x, blocks * blockDim.x);
        return true;
    }

    // The heads of this block's group in some rows of the batch, from pair first on.
    __device__ __forceinline__ AttentionQueries<0> queries(int start, int rows, int first, int visible,
                                                           bool causal) const {
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
        if (page >= 0 && page < pages)
            return page;
        report_status(status, tag, place, page);
        return -1;
    }
};

#if ROTARY
using W = PARAMETER;

// What a layer's attention begins with.
struct Projection {
    const bfloat16* rows;    // [T, (Hq + 2·Hkv)·D]
    const float* rotations;  // [T, D]
    const int* slots;        // [T]
    bfloat16* key_cache;
    bfloat16* value_cache;
    const W* query_weight;  // [D] or null
    const W* key_weight;
    float epsilon;
    Status* status;
    int tag;

    // A head of this block's key-value head: a query's by its number in the group; behind them its key and its value.
    __device__ __forceinline__ const bfloat16* query(int row, int group, int head) const {
        return rows + ((long long)row * (group + 2) * gridDim.x + blockIdx.x * group + head) * dimension;
    }

    __device__ __forceinline__ const bfloat16* key(int row, int group, int kind) const {
        return rows + ((long long)row * (group + 2) * gridDim.x + (group + kind) * gridDim.x + blockIdx.x) * dimension;
    }

    // Writes the keys and values of those rows of a sequence whose positions are first_key to first_key +
    // attention_span − 1; by warps of which this is one. Position 0 of the sequence's rows is `position`.
    __device__ __forceinline__ void write(const PagedArguments& arguments, int sequence, int start, int count,
                                          int position, int first_key, int warp, int warps) const {
        const int first = max(first_key - position, 0), end = min(first_key + attention_span - position, count);
        for (int item = 2 * first + warp; item < 2 * end; item += warps) {
            const int own = item / 2, kind = item % 2, row = start + own, slot = slots[row];
            if (slot == -1)
                continue;
            const int page = arguments.page(sequence, (position + own) / page_size);
            if (page < 0 || slot != page * page_size + (position + own) % page_size) {
                if (page >= 0 && lane_index() == 0)
                    report_status(status, tag, row, slot);
                continue;
            }
            bfloat16* target = (kind == 0 ? key_cache : value_cache) +
                               (((long long)page * gridDim.x + blockIdx.x) * page_size + slot % page_size) * dimension;
            const bfloat16* head = key(row, arguments.group, kind);
            if (kind == 0)
                rotate_head<dimension>(head, rotations + (long long)row * dimension, key_weight, epsilon, target);
            else
                for (int column = lane_index(); column < dimension; column += 32)
                    target[column] = head[column];
        }
    }
};

// Queries that are made of the projection where they are read. start: the batch's row of pair 0.
struct RotaryQueries : AttentionQueries<0> {
    Projection projection;
    int start;

    __device__ __forceinline__ const bfloat16* head(int pair) const {
        return projection.query(start + pair / any_group, any_group, pair % any_group);
    }

    __device__ __forceinline__ const float* rotation(int pair) const {
        return projection.rotations + (long long)(start + pair / any_group) * dimension;
    }
};

template <int head_dimension, int pairs, int threads>
__device__ __forceinline__ void load_tile_queries(unsigned char* tile, const RotaryQueries& queries) {
    constexpr int width = 16 * Rows::chunks;
    for (int index = threadIdx.x / 32; index < pairs; index += threads / 32) {
        bfloat16* target = reinterpret_cast<bfloat16*>(tile + index * Rows::bytes);
        const int pair = queries.first + index;
        const bool there = pair < queries.count;
        if (there)
            rotate_head<dimension>(queries.head(pair), queries.rotation(pair), queries.projection.query_weight,
                                   queries.projection.epsilon, target);
        for (int column = (there ? dimension : 0) + lane_index(); column < width; column += 32)
            target[column] = bfloat16{0};
    }
}
#endif

// What the spans of the rows give: output not yet normalised, and greatest score and sum of p.
struct Parts {
    float* sums;         // [spans, places, Hq, D']
    float2* statistics;  // [spans, places, Hq]
    // [T], behind it the places [T] of the rows, and where there are several spans the arrivals [places, Hkv]
    int* visible;
    int rows;
    int places;
    int group;

    __device__ __forceinline__ long long index(int span, int row, int head) const {
        return ((long long)span * places + visible[rows + row]) * (gridDim.x * group) + blockIdx.x * group + head;
    }

    // How many pairs of a row and of this block's heads have left their sums, over all spans; zero before and after a
    // launch.
    __device__ __forceinline__ int* arrivals(int row) const {
        return visible + 2 * rows + (long long)visible[rows + row] * gridDim.x + blockIdx.x;
    }
};

// Where a pair's sums of one span go: normalised to the output, where it sees no other span; otherwise to a part.
struct PairTarget {
    bfloat16* output;
    float* sums;
    float2* statistics;
    float inverse;

    __device__ __forceinline__ PairTarget(const Parts& parts, const AttentionQueries<0>& queries, int start, int pair,
                                          float maximum, float total)
        : output(nullptr), sums(nullptr), statistics(nullptr), inverse(0.0f) {
        if (pair >= queries.count)
            return;
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
            values[i] = 64 * i + first < width
                            ? *reinterpret_cast<const float2*>(parts.sums + part * width + 64 * i + first)
                            : float2{0.0f, 0.0f};
        if (span == 0) {
            maximum = statistics.x;
            total = statistics.y;
#pragma unroll
            for (int i = 0; i < columns; i++)
                sums[i] = values[i];
        } else {
            const SpanFactors factors = join_maximum(maximum, statistics.x, scale);
            total = factors.join(total, statistics.y);
#pragma unroll
            for (int i = 0; i < columns; i++)
                sums[i] = float2{factors.join(sums[i].x, values[i].x), factors.join(sums[i].y, values[i].y)};
        }
    }
    bfloat16* target = output + (((long long)row * gridDim.x + blockIdx.x) * parts.group + head) * dimension;
    const float inverse = 1.0f / total;
#pragma unroll
    for (int i = 0; i < columns; i++)
        if (64 * i + first < width)
            store_normalised<dimension>(target, 64 * i + first, sums[i].x, sums[i].y, inverse);
}

// Counts the pairs first to end − 1, whose sums this block has stored, as arrived, and joins the spans of those rows of
// which that were the last:
// whichever block comes last does, and the order of the sums is the spans', so the bits do not depend on it. It leaves
// the count at zero, for the next layer. start: the batch's row of pair 0. By the first join_threads threads; last: an
// int of shared memory for each of 64 rows.
__device__ __forceinline__ void join_arrived(const Parts& parts, int* last, bfloat16* output, int start, int first,
                                             int end, float scale) {
    if (gridDim.z == 1)
        return;
    const int group = parts.group, first_row = first / group, rows = divide_up(end, group) - first_row,
              own = first_row + (int)threadIdx.x;
    synchronize_named(join_barrier, join_threads);
    if ((int)threadIdx.x < rows) {
        const int row = start + own, seen = parts.visible[row];
        bool all = false;
        if (seen > attention_span && seen > (int)blockIdx.z * attention_span) {
            const int pairs = min(end, (own + 1) * group) - max(first, own * group);
            // The stores of the whole block, which the barrier showed to this thread, come before what it adds; the
            // loads of the last come behind.
            fence_device();
            all = atomicAdd(parts.arrivals(row), pairs) + pairs == divide_up(seen, attention_span) * group;
            if (all)
                *parts.arrivals(row) = 0;
            fence_device();
        }
        last[threadIdx.x] = all;
    }
    synchronize_named(join_barrier, join_threads);
    for (int pair = threadIdx.x / 32; pair < rows * group; pair += join_warps)
        if (last[pair / group])
            join_spans(parts, output, start + first_row + pair / group, pair % group, scale);
}
