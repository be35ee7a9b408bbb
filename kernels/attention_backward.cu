// The gradient of attention (the op AttentionBackward), with scores computed again in tiles (Dao, 2023).
//   q, out, dOut [T, Hq·D], k, v [T, Hkv·D] bfloat16, logSumExp [T, Hq] float, tiles of attention_plan (64 rows, group
//   1) → dq [T, Hq·D], dk, dv [T, Hkv·D] bfloat16
// HEAD_DIMENSION (D, up to 128), CAUSAL (0 or 1), QUERY_ROWS (queries of a step in the second kernel, 32 or 64) and
// STAGES (blocks of keys in shared memory in the third, 1 or 2) are constants. D' is D rounded up to 16.
//   attention_backward_statistics: a warp per row and head: logSumExp·log2 e and the sum of out·dOut, float [Hq, T, 2].
//   attention_backward_keys: grid (Hkv, tiles), 128 threads: 64 keys, 16 for each warp; walks the heads of the group in
//   order, and the
//     queries of each ascending. (128 + 4·QUERY_ROWS)·(2·D' + 16) + 16·QUERY_ROWS bytes of shared memory.
//   attention_backward_queries: grid (Hq, tiles), 128 threads: 64 queries, 16 for each warp; walks the keys ascending.
//     (128 + 128·STAGES)·(2·D' + 16) bytes of shared memory.
// Two kernels that both compute p and dp (7 products instead of 5) need no additions across blocks: every sum has one
// order, which depends on positions within the sequence only.
// FLOPs: 14·D per pair of query and visible key and head. Bytes: all operands once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, causal, no spills: keys D = 64 with QUERY_ROWS 64: 168
// registers on sm_80 and sm_90a; D = 128 with QUERY_ROWS 32: 238 and 240; queries with STAGES 2: D = 64: 130 and 128, D
// = 128: 166 and 174; statistics: 18 and 19. Loads that compute their addresses anew (thread_index) took up to 80
// registers off the queries.
#include "common/attention_core.cuh"
#include "common/attention_tile.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int warps = 4;
constexpr int threads = 32 * warps;
constexpr int tile_rows = 64;
using Rows = AttentionRows<dimension>;

// Grid: divide_up(T·Hq, 8), 256 threads.
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_statistics(const bfloat16* output, const bfloat16* output_gradient, const float* log_sum_exp,
                                  float2* statistics, int rows, int heads) {
    const long long index = (long long)blockIdx.x * 8 + threadIdx.x / 32;
    if (index >= (long long)rows * heads)
        return;
    const int lane = threadIdx.x % 32;
    const float sum = multiply_heads<dimension>(output + index * dimension, output_gradient + index * dimension, lane);
    if (lane == 0)
        statistics[index % heads * rows + index / heads] = float2{log_sum_exp[index] * log2_of_e, sum};
}

#ifdef QUERY_ROWS
// One head's sums [16 keys of a warp, D] as gradients.
__device__ __forceinline__ void store_gradient(bfloat16* target, long long stride, int count, int first,
                                               const float (&sums)[1][2 * Rows::chunks][4], float factor) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = first + lane / 4 + 8 * half;
        if (row >= count)
            continue;
#pragma unroll
        for (int column = 0; column < 2 * Rows::chunks; column++)
            store_pair<dimension>(target + row * stride, 8 * column + lane % 4 * 2, sums[0][column][2 * half] * factor,
                                  sums[0][column][2 * half + 1] * factor);
    }
}

// Three blocks on a multiprocessor of sm_90a, which without the bound would be two. 0 bounds nothing; 1 lets narrow
// heads take more registers.
extern "C" __global__ void __launch_bounds__(threads, 32 < dimension && dimension <= 64 ? 3 : 0)
    attention_backward_keys(const bfloat16* q, const bfloat16* k, const bfloat16* v, const bfloat16* output_gradient,
                            const float2* statistics, const AttentionTile* tiles, bfloat16* key_gradient,
                            bfloat16* value_gradient, int rows, int group, float scale, float natural_scale) {
    SKYLIGHT_SHARED(shared);
    constexpr int key_bytes = tile_rows * Rows::bytes, query_bytes = QUERY_ROWS * Rows::bytes, depth = QUERY_ROWS / 16;
    // The plan puts a sequence's last tiles first. In causal attention they have the most keys to walk, but as keys the
    // fewest queries:
    // blocks start in order, and the longest should not be the last.
    const AttentionTile tile = tiles[CAUSAL ? gridDim.y - 1 - blockIdx.y : blockIdx.y];
    if (tile.rows == 0)
        return;
    const int key_heads = gridDim.x, heads = key_heads * group, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long key_stride = (long long)key_heads * dimension, query_stride = (long long)heads * dimension;
    const long long key_offset = tile.start * key_stride + blockIdx.x * dimension;
    unsigned char* key_tile = shared;
    unsigned char* value_tile = shared + key_bytes;
    unsigned char* stages = shared + 2 * key_bytes;
    float2* stage_statistics = reinterpret_cast<float2*>(stages + 4 * query_bytes);

    const int first_step = CAUSAL ? tile.first / QUERY_ROWS : 0;
    const int head_steps = divide_up(tile.rows, QUERY_ROWS) - first_step, step_count = head_steps * group;
    auto load = [&](int step) {
        const int head = blockIdx.x * group + step / head_steps, first = (first_step + step % head_steps) * QUERY_ROWS,
                  stage = step % 2;
        const long long offset = tile.start * query_stride + head * dimension;
        unsigned char* target = stages + stage * 2 * query_bytes;
        load_rows<dimension, QUERY_ROWS, threads>(target, MatrixRows{q + offset, query_stride, tile.rows}, first);
        load_rows<dimension, QUERY_ROWS, threads>(target + query_bytes,
                                                  MatrixRows{output_gradient + offset, query_stride, tile.rows}, first);
        if (threadIdx.x < 2 * QUERY_ROWS) {
            const bool read = first + (int)threadIdx.x / 2 < tile.rows;
            const float* from =
                reinterpret_cast<const float*>(statistics + (long long)head * rows + tile.start + first);
            cp_async_4(shared_address(stage_statistics + stage * QUERY_ROWS) + 4 * threadIdx.x,
                       read ? from + threadIdx.x : reinterpret_cast<const float*>(statistics), read ? 4 : 0);
        }
    };
    load_rows<dimension, tile_rows, threads>(key_tile, MatrixRows{k + key_offset, key_stride, tile.rows}, tile.first);
    load_rows<dimension, tile_rows, threads>(value_tile, MatrixRows{v + key_offset, key_stride, tile.rows}, tile.first);
    load(0);
    cp_async_commit();

    float key_sums[1][2 * Rows::chunks][4] = {}, value_sums[1][2 * Rows::chunks][4] = {};
    const int own_key = tile.first + 16 * warp + lane / 4;
    for (int step = 0; step < step_count; step++) {
        cp_async_wait<0>();
        synchronize_block();
        if (step + 1 < step_count)
            load(step + 1);
        cp_async_commit();
        const int first = (first_step + step % head_steps) * QUERY_ROWS;
        unsigned char* queries = stages + step % 2 * 2 * query_bytes;
        unsigned char* gradients = queries + query_bytes;
        const float2* own_statistics = stage_statistics + step % 2 * QUERY_ROWS;

        // Keys are rows here: p and dp are transposed, and become left factors as they are.
        float p[1][2 * depth][4], dp[1][2 * depth][4];
        unsigned int weights[1][depth][4];
        multiply_rows<dimension, 1, depth>(p, row_fragment<dimension>(key_tile + 16 * warp * Rows::bytes, lane),
                                           column_fragment<dimension>(queries, lane));
#pragma unroll
        for (int j = 0; j < 2 * depth; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int query = 8 * j + lane % 4 * 2 + i % 2;
                const float value = exp2_approximate(fmaf(p[0][j][i], scale, -own_statistics[query].x));
                p[0][j][i] = CAUSAL && first + query < own_key + i / 2 * 8 ? 0.0f : value;
            }
        round_weights<depth>(weights[0], p[0]);
        multiply_weights<dimension, 1, depth, 1, Rows::chunks>(value_sums, weights,
                                                               row_fragment<dimension>(gradients, lane), 0);
        multiply_rows<dimension, 1, depth>(dp, row_fragment<dimension>(value_tile + 16 * warp * Rows::bytes, lane),
                                           column_fragment<dimension>(gradients, lane));
#pragma unroll
        for (int j = 0; j < 2 * depth; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                dp[0][j][i] = p[0][j][i] * (dp[0][j][i] - own_statistics[8 * j + lane % 4 * 2 + i % 2].y);
        round_weights<depth>(weights[0], dp[0]);
        multiply_weights<dimension, 1, depth, 1, Rows::chunks>(key_sums, weights,
                                                               row_fragment<dimension>(queries, lane), 0);
    }

    store_gradient(key_gradient + key_offset, key_stride, tile.rows, tile.first + 16 * warp, key_sums, natural_scale);
    store_gradient(value_gradient + key_offset, key_stride, tile.rows, tile.first + 16 * warp, value_sums, 1.0f);
}

extern "C" __global__ void __launch_bounds__(threads)
    attention_backward_queries(const bfloat16* q, const bfloat16* k, const bfloat16* v, const bfloat16* output_gradient,
                               const float2* statistics, const AttentionTile* tiles, bfloat16* query_gradient, int rows,
                               int group, float scale, float natural_scale) {
    SKYLIGHT_SHARED(shared);
    constexpr int block_bytes = attention_block * Rows::bytes, depth = attention_block / 16;
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0)
        return;
    const int heads = gridDim.x, key_heads = heads / group, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long key_stride = (long long)key_heads * dimension, query_stride = (long long)heads * dimension;
    const long long query_offset = tile.start * query_stride + blockIdx.x * dimension;
    const long long key_offset = tile.start * key_stride + blockIdx.x / group * dimension;
    unsigned char* query_tile = shared;
    unsigned char* gradient_tile = shared + tile_rows * Rows::bytes;
    unsigned char* stages = shared + 2 * tile_rows * Rows::bytes;

    const int visible_to_tile = CAUSAL ? min(tile.first + tile_rows, tile.rows) : tile.rows;
    const int block_count = divide_up(visible_to_tile, attention_block);
    auto load = [&](int block) {
        unsigned char* target = stages + block % STAGES * 2 * block_bytes;
        load_rows<dimension, attention_block, threads>(target, MatrixRows{k + key_offset, key_stride, tile.rows},
                                                       block * attention_block);
        load_rows<dimension, attention_block, threads>(
            target + block_bytes, MatrixRows{v + key_offset, key_stride, tile.rows}, block * attention_block);
    };
    load_rows<dimension, tile_rows, threads>(query_tile, MatrixRows{q + query_offset, query_stride, tile.rows},
                                             tile.first);
    load_rows<dimension, tile_rows, threads>(
        gradient_tile, MatrixRows{output_gradient + query_offset, query_stride, tile.rows}, tile.first);
    load(0);
    cp_async_commit();

    float sums[1][2 * Rows::chunks][4] = {};
    const int own_row = tile.first + 16 * warp + lane / 4;
    float2 own[2];
#pragma unroll
    for (int half = 0; half < 2; half++)
        own[half] = own_row + 8 * half < tile.rows
                        ? statistics[(long long)blockIdx.x * rows + tile.start + own_row + 8 * half]
                        : float2{0.0f, 0.0f};

    for (int block = 0; block < block_count; block++) {
        cp_async_wait<0>();
        synchronize_block();
        if (STAGES > 1 && block + 1 < block_count)
            load(block + 1);
        cp_async_commit();
        unsigned char* keys = stages + block % STAGES * 2 * block_bytes;
        const int first_key = block * attention_block;

        float p[1][2 * depth][4], dp[1][2 * depth][4];
        multiply_rows<dimension, 1, depth>(p, row_fragment<dimension>(query_tile + 16 * warp * Rows::bytes, lane),
                                           column_fragment<dimension>(keys, lane));
        multiply_rows<dimension, 1, depth>(dp, row_fragment<dimension>(gradient_tile + 16 * warp * Rows::bytes, lane),
                                           column_fragment<dimension>(keys + block_bytes, lane));
#pragma unroll
        for (int j = 0; j < 2 * depth; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = first_key + 8 * j + lane % 4 * 2 + i % 2;
                const bool seen = key < tile.rows && (!CAUSAL || key <= own_row + i / 2 * 8);
                const float value =
                    exp2_approximate(fmaf(p[0][j][i], scale, -own[i / 2].x)) * (dp[0][j][i] - own[i / 2].y);
                dp[0][j][i] = seen ? value : 0.0f;
            }
        unsigned int weights[1][depth][4];
        round_weights<depth>(weights[0], dp[0]);
        multiply_weights<dimension, 1, depth, 1, Rows::chunks>(sums, weights, row_fragment<dimension>(keys, lane), 0);
        if (STAGES == 1 && block + 1 < block_count) {
            synchronize_block();
            load(block + 1);
            cp_async_commit();
        }
    }

    store_gradient(query_gradient + query_offset, query_stride, tile.rows, tile.first + 16 * warp, sums, natural_scale);
}
#endif
