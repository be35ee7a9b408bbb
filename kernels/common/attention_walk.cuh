// The walk of a block over the keys of one sequence with as many rows as fill its warps: training and prefill.
#pragma once

#include "common/attention_core.cuh"
#include "common/attention_tile.cuh"

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

    __device__ __forceinline__ int visible_to(int pair) const {
        return causal ? visible + min(pair, count - 1) / group() : visible;
    }

    __device__ __forceinline__ long long offset(int pair, int head_dimension) const {
        return pair / group() * row_stride + pair % group() * head_dimension;
    }
};

// The queries of one head in a tile of a packed batch.
template <int head_dimension>
__device__ __forceinline__ AttentionQueries<1> packed_queries(const AttentionTile& tile, int heads, int head,
                                                              const bfloat16* q, bfloat16* output, float* log_sum_exp,
                                                              bool causal) {
    const long long first = ((long long)tile.start * heads + head) * head_dimension;
    AttentionQueries<1> queries{};
    queries.query = q + first;
    queries.output = output + first;
    queries.log_sum_exp = log_sum_exp + (long long)tile.start * heads + head;
    queries.row_stride = (long long)heads * head_dimension;
    queries.log_sum_exp_stride = heads;
    queries.first = tile.first;
    queries.count = tile.rows;
    queries.visible = causal ? 1 : tile.rows;
    queries.causal = causal;
    return queries;
}

template <int head_dimension, class Queries>
struct QueryRows {
    const bfloat16* base;
    const Queries& queries;

    __device__ static constexpr bool has_steps(int) { return false; }

    __device__ __forceinline__ const bfloat16* row(int pair) const {
        return pair < queries.count ? base + queries.offset(pair, head_dimension) : nullptr;
    }
};

template <int head_dimension, class Queries>
__device__ __forceinline__ QueryRows<head_dimension, Queries> query_rows(const Queries& queries) {
    return {queries.query, queries};
}

// Brings the queries of a tile to shared memory, those of pairs first to first + pairs − 1; other kinds of queries have
// a function of their own.
template <int head_dimension, int pairs, int threads, class Queries>
__device__ __forceinline__ void load_tile_queries(unsigned char* tile, const Queries& queries) {
    load_rows<head_dimension, pairs, threads>(tile, query_rows<head_dimension>(queries), queries.first);
}

// The accumulators of a warp's rows within a span.
template <int head_dimension, int row_tiles>
struct SpanSums {
    static constexpr int columns = 2 * AttentionRows<head_dimension>::chunks;
    // Whether the statistics lie in shared memory, where they are not needed: wide tiles take nearly all registers.
    static constexpr bool parked = row_tiles * columns > 16;
    float output[row_tiles][columns][4];
    float maximum[row_tiles][2];
    float sum[row_tiles][2];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++) {
#pragma unroll
            for (int column = 0; column < columns; column++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    output[tile][column][i] = 0.0f;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                maximum[tile][half] = hidden_score();
                sum[tile][half] = 0.0f;
            }
        }
    }

    __device__ __forceinline__ void park(float4* statistics, int tile) const {
        if (parked)
            store_shared(statistics, float4{maximum[tile][0], maximum[tile][1], sum[tile][0], sum[tile][1]});
    }

    __device__ __forceinline__ void fetch(const float4* statistics, int tile) {
        if (!parked)
            return;
        const float4 values = load_shared(statistics);
        maximum[tile][0] = values.x;
        maximum[tile][1] = values.y;
        sum[tile][0] = values.z;
        sum[tile][1] = values.w;
    }

    // Lanes that share a row get its whole sum.
    __device__ __forceinline__ void add_lanes() {
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                sum[tile][half] = sum_of_row(sum[tile][half]);
    }

    // Joins this span to the earlier ones, which lie in global memory, each thread's own at a stride of threads (they
    // would cost as many registers as the accumulators; they are touched once in a span). Afterwards the sums are those
    // of all spans so far.
    template <int threads>
    __device__ __forceinline__ void join(const float4* earlier, float scale) {
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++) {
            const float4* own = earlier + tile * (columns + 1) * threads;
            const float4 statistics = own[columns * threads];
            float all_maximum[2] = {statistics.x, statistics.y};
            const float earlier_sum[2] = {statistics.z, statistics.w};
            SpanFactors factors[2];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                factors[half] = join_maximum(all_maximum[half], maximum[tile][half], scale);
                maximum[tile][half] = all_maximum[half];
                sum[tile][half] = factors[half].join(earlier_sum[half], sum[tile][half]);
            }
#pragma unroll
            for (int column = 0; column < columns; column++) {
                const float4 values = own[column * threads];
                output[tile][column][0] = factors[0].join(values.x, output[tile][column][0]);
                output[tile][column][1] = factors[0].join(values.y, output[tile][column][1]);
                output[tile][column][2] = factors[1].join(values.z, output[tile][column][2]);
                output[tile][column][3] = factors[1].join(values.w, output[tile][column][3]);
            }
        }
    }

    template <int threads>
    __device__ __forceinline__ void store(float4* earlier) const {
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++) {
            float4* own = earlier + tile * (columns + 1) * threads;
#pragma unroll
            for (int column = 0; column < columns; column++)
                own[column * threads] = float4{output[tile][column][0], output[tile][column][1],
                                               output[tile][column][2], output[tile][column][3]};
            own[columns * threads] = float4{maximum[tile][0], maximum[tile][1], sum[tile][0], sum[tile][1]};
        }
    }
};

// Writes the output of a warp's rows, pairs `first` to `first` + 16·row_tiles − 1, and, where it is wanted, the
// logarithm of their sums.
template <int head_dimension, int row_tiles, class Queries>
__device__ __forceinline__ void store_rows(const SpanSums<head_dimension, row_tiles>& sums, const Queries& queries,
                                           int first, float natural_scale) {
    const int lane = lane_index();
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float total = sums.sum[tile][half];
            const int pair = first + 16 * tile + 8 * half + lane / 4;
            if (pair >= queries.count)
                continue;
            bfloat16* target = queries.output + queries.offset(pair, head_dimension);
            const float inverse = 1.0f / total;
#pragma unroll
            for (int column = 0; column < sums.columns; column++)
                store_normalised<head_dimension>(target, 8 * column + lane % 4 * 2, sums.output[tile][column][2 * half],
                                                 sums.output[tile][column][2 * half + 1], inverse);
            if (queries.log_sum_exp != nullptr && lane % 4 == 0)
                queries.log_sum_exp[(long long)(pair / queries.group()) * queries.log_sum_exp_stride +
                                    pair % queries.group()] =
                    fmaf(log2_approximate(total), log_of_2, __fmul_rn(sums.maximum[tile][half], natural_scale));
        }
}

// Where blocks keep the sums of earlier spans: a slot for each block that can be resident, not for each of the grid.
// The first blocks take the slots in order; the n-th of the later ones takes that which was given back as the n-th.
// With slots enough, it was before the block began; else the block waits for one that has begun, and that waits for
// nothing. Which slot a block has is no part of what it computes.
struct SpanSlots {
    float4* sums;
    int* state;  // zeros at first: how many blocks took a slot, how many gave one back, and which, plus 1, in order
    int count;

    __device__ __forceinline__ int take() const {
        const int turn = atomicAdd(state, 1);
        if (turn < count)
            return turn;
        int given;
        do
            given = atomicAdd(state + 2 + turn - count, 0);
        while (given == 0);
        fence_device();
        return given - 1;
    }

    __device__ __forceinline__ void give(int slot) const {
        fence_device();
        atomicExch(state + 2 + atomicAdd(state + 1, 1), slot + 1);
    }
};

// Walks the blocks begin to end − 1. Work::queries() describes the tile; it is called again where it is needed, because
// nothing of it that the loop does not need should keep a register. load(key_tile, value_tile, block) queues the copies
// of one block of keys; it is called for the blocks in order. span_ends(block) is called after the last block of a
// span, unless the warp sees nothing after it.
// Shared memory: 16·warps·row_tiles + 4·64 rows, and row_tiles·threads float4, where statistics are parked.
template <int head_dimension, int warps, int row_tiles, class Work, class SpanEnds>
__device__ __forceinline__ void walk_blocks(SpanSums<head_dimension, row_tiles>& sums, unsigned char* shared,
                                            Work& work, int begin, int end, float scale, const SpanEnds& span_ends) {
    using Rows = AttentionRows<head_dimension>;
    constexpr int threads = 32 * warps, tile_pairs = 16 * row_tiles * warps,
                  block_bytes = attention_block * Rows::bytes;
    constexpr int depth = attention_block / 16;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned char* blocks = shared + tile_pairs * Rows::bytes;
    const auto start = work.queries();
    const int own_first = start.first + 16 * row_tiles * warp;
    const int least = start.visible_to(own_first), most = start.visible_to(own_first + 16 * row_tiles - 1);
    load_tile_queries<head_dimension, tile_pairs, threads>(shared, start);
    work.load(blocks + begin % 2 * 2 * block_bytes, blocks + (begin % 2 * 2 + 1) * block_bytes, begin);
    cp_async_commit();
    float4* statistics = reinterpret_cast<float4*>(blocks + 4 * block_bytes) + threadIdx.x;
    sums.clear();
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++)
        sums.park(statistics + tile * threads, tile);

    for (int block = begin; block < end; block++) {
        cp_async_wait<0>();
        synchronize_block();
        unsigned char* current = blocks + block % 2 * 2 * block_bytes;
        if (block + 1 < end) {
            unsigned char* next = blocks + (block + 1) % 2 * 2 * block_bytes;
            work.load(next, next + block_bytes, block + 1);
        }
        cp_async_commit();

        const int first_key = block * attention_block;
        if (first_key >= most)
            continue;
        float scores[row_tiles][attention_block / 8][4];
        multiply_rows<head_dimension, row_tiles, depth>(
            scores, row_fragment<head_dimension>(shared + 16 * row_tiles * warp * Rows::bytes, lane),
            column_fragment<head_dimension>(current, lane));
        unsigned int weights[row_tiles][depth][4];
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++) {
            if (first_key + attention_block > least) {
                const auto queries = work.queries();
                const int pair = own_first + 16 * tile + lane / 4;
                hide_keys(scores[tile], queries.visible_to(pair) - first_key, queries.visible_to(pair + 8) - first_key,
                          lane);
            }
            float correction[2];
            sums.fetch(statistics + tile * threads, tile);
            soften(scores[tile], sums.maximum[tile], sums.sum[tile], correction, scale);
            sums.park(statistics + tile * threads, tile);
            correct(sums.output[tile], correction);
            round_weights<depth>(weights[tile], scores[tile]);
        }
        multiply_weights<head_dimension, row_tiles, depth, 1, Rows::chunks>(
            sums.output, weights, row_fragment<head_dimension>(current + block_bytes, lane), 0);
        if ((block + 1) % span_blocks == 0 && first_key + attention_block < most) {
#pragma unroll
            for (int tile = 0; tile < row_tiles; tile++)
                sums.fetch(statistics + tile * threads, tile);
            span_ends(block);
#pragma unroll
            for (int tile = 0; tile < row_tiles; tile++)
                sums.park(statistics + tile * threads, tile);
        }
    }
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++)
        sums.fetch(statistics + tile * threads, tile);
}

// The walk over all keys that a tile sees. Work::slots() is where blocks keep the sums of earlier spans:
// row_tiles·(2·D' / 16 + 1)·threads float4 in each, not used where no row sees more than a span. Shared memory: that of
// walk_blocks, and an int.
template <int head_dimension, int warps, int row_tiles, class Work>
__device__ __forceinline__ void walk_keys(unsigned char* shared, Work& work, float scale, float natural_scale) {
    constexpr int threads = 32 * warps, tile_pairs = 16 * row_tiles * warps;
    const int warp = threadIdx.x / 32;
    const auto start = work.queries();
    const int block_count = divide_up(start.visible_to(start.first + tile_pairs - 1), attention_block);
    using Sums = SpanSums<head_dimension, row_tiles>;
    constexpr int walk_bytes = (tile_pairs + 4 * attention_block) * AttentionRows<head_dimension>::bytes +
                               (Sums::parked ? row_tiles * threads * 16 : 0);
    int* slot = reinterpret_cast<int*>(shared + walk_bytes);
    if (block_count > span_blocks && threadIdx.x == 0)
        *slot = work.slots().take();
    auto own_slot = [&] {
        return work.slots().sums + (long long)*slot * (row_tiles * (Sums::columns + 1) * threads) + threadIdx.x;
    };
    Sums sums;
    walk_blocks<head_dimension, warps, row_tiles>(sums, shared, work, 0, block_count, scale, [&](int block) {
        float4* earlier = own_slot();
        sums.add_lanes();
        if (block >= span_blocks)
            sums.template join<threads>(earlier, scale);
        sums.template store<threads>(earlier);
        sums.clear();
    });
    sums.add_lanes();
    const auto queries = work.queries();
    if (queries.visible_to(queries.first + 16 * row_tiles * (warp + 1) - 1) > attention_span)
        sums.template join<threads>(own_slot(), scale);
    if (queries.visible_to(queries.first + tile_pairs - 1) > attention_span) {
        synchronize_block();
        if (threadIdx.x == 0)
            work.slots().give(*slot);
    }
    store_rows(sums, queries, queries.first + 16 * row_tiles * warp, natural_scale);
}
