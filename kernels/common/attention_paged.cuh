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
    const int* visible;  // [T], and behind it the places [T] of the rows
    int rows;
    int places;
    int group;

    __device__ __forceinline__ long long index(int span, int row, int head) const {
        return ((long long)span * places + visible[rows + row]) * (gridDim.x * group) + blockIdx.x * group + head;
    }
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
