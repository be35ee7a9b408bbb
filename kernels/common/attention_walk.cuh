// The walk of a block over the keys of one sequence with as many rows as fill its warps: training and prefill.
#pragma once

#include "common/attention_core.cuh"

// The queries of one tile. Pair p of the sequence is row p / group, head p % group.
// fixed_group is the group where it is known to the compiler, 0 otherwise.
template <int fixed_group>
struct AttentionQueries {
    const bfloat16* query;   // of pair 0; heads side by side
    bfloat16* output;        // likewise
    float* log_sum_exp;      // of pair 0; null where it is not wanted
    long long row_stride;    // elements from a row to the next, of queries and output
    int log_sum_exp_stride;  // floats from a row to the next
    int any_group;           // heads, where fixed_group is 0
    int first;               // the tile's first pair
    int count;               // the pairs of the sequence
    int visible;             // the keys that row 0 sees, at least 1
    bool causal;             // whether every row sees one more than the row before; otherwise all see the same

    __device__ __forceinline__ int group() const { return fixed_group > 0 ? fixed_group : any_group; }

    __device__ __forceinline__ int visible_to(int pair) const { return causal ? visible + min(pair, count - 1) / group() : visible; }

    __device__ __forceinline__ long long offset(int pair, int head_dimension) const { return pair / group() * row_stride + pair % group() * head_dimension; }
};

template <int head_dimension, class Queries>
struct QueryRows {
    const bfloat16* base;
    const Queries& queries;

    __device__ __forceinline__ const bfloat16* row(int pair) const {
        return pair < queries.count ? base + queries.offset(pair, head_dimension) : nullptr;
    }
};

template <int head_dimension, class Queries>
__device__ __forceinline__ QueryRows<head_dimension, Queries> query_rows(const Queries& queries) {
    return {queries.query, queries};
}

// What the walk is given: Work::queries() describes the tile; it is called again after the loop, because nothing of it that the loop does
// not need should keep a register. load(key_tile, value_tile, block) queues the copies of one block of keys; it is called for blocks 0, 1,
// 2, … in order. Shared memory: 16·warps·row_tiles + 4·64 rows.
template <int head_dimension, int warps, int row_tiles, class Work>
__device__ __forceinline__ void walk_keys(unsigned char* shared, Work& work, float scale, float natural_scale) {
    using Rows = AttentionRows<head_dimension>;
    constexpr int threads = 32 * warps, tile_pairs = 16 * row_tiles * warps, block_bytes = attention_block * Rows::bytes;
    constexpr int depth = attention_block / 16;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned char* blocks = shared + tile_pairs * Rows::bytes;
    const auto start = work.queries();
    const int own_first = start.first + 16 * row_tiles * warp;
    const int least = start.visible_to(own_first), most = start.visible_to(own_first + 16 * row_tiles - 1);
    const int block_count = divide_up(start.visible_to(start.first + tile_pairs - 1), attention_block);
    load_rows<head_dimension, tile_pairs, threads>(shared, query_rows<head_dimension>(start), start.first);
    work.load(blocks, blocks + block_bytes, 0);
    cp_async_commit();

    float output[row_tiles][2 * Rows::chunks][4] = {}, maximum[row_tiles][2], sum[row_tiles][2] = {};
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++) maximum[tile][0] = maximum[tile][1] = hidden_score();

    for (int block = 0; block < block_count; block++) {
        cp_async_wait<0>();
        synchronize_block();
        unsigned char* current = blocks + block % 2 * 2 * block_bytes;
        if (block + 1 < block_count) {
            unsigned char* next = blocks + (block + 1) % 2 * 2 * block_bytes;
            work.load(next, next + block_bytes, block + 1);
        }
        cp_async_commit();

        const int first_key = block * attention_block;
        if (first_key >= most) continue;
        float scores[row_tiles][attention_block / 8][4];
        multiply_rows<head_dimension, row_tiles, depth>(scores, row_fragment<head_dimension>(shared + 16 * row_tiles * warp * Rows::bytes, lane),
                                                        column_fragment<head_dimension>(current, lane));
        unsigned int weights[row_tiles][depth][4];
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++) {
            if (first_key + attention_block > least) {
                const auto queries = work.queries();
                const int pair = own_first + 16 * tile + lane / 4;
                hide_keys(scores[tile], queries.visible_to(pair) - first_key, queries.visible_to(pair + 8) - first_key, lane);
            }
            float correction[2];
            soften(scores[tile], maximum[tile], sum[tile], correction, scale);
            correct(output[tile], correction);
            round_weights<depth>(weights[tile], scores[tile]);
        }
        multiply_weights<head_dimension, row_tiles, depth, 1, Rows::chunks>(output, weights, row_fragment<head_dimension>(current + block_bytes, lane), 0);
    }

    const auto queries = work.queries();
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = sum_of_row(sum[tile][half]);
            const int pair = queries.first + 16 * (row_tiles * warp + tile) + 8 * half + lane / 4;
            if (pair >= queries.count) continue;
            bfloat16* target = queries.output + queries.offset(pair, head_dimension);
            const float inverse = 1.0f / total;
#pragma unroll
            for (int column = 0; column < 2 * Rows::chunks; column++)
                store_normalised<head_dimension>(target, 8 * column + lane % 4 * 2, output[tile][column][2 * half], output[tile][column][2 * half + 1], inverse);
            if (queries.log_sum_exp != nullptr && lane % 4 == 0)
                queries.log_sum_exp[(long long)(pair / queries.group()) * queries.log_sum_exp_stride + pair % queries.group()] =
                    fmaf(log2_approximate(total), log_of_2, __fmul_rn(maximum[tile][half], natural_scale));
        }
}
