// The gradient of attention (the op AttentionBackward) by warpgroup instructions (sm_90a); what attention_backward.cu
// computes, for heads of 64 or 128, with 5 products instead of 7 (after Shah et al., FlashAttention-3, 2024).
//   q, dOut: tensor maps of [T, Hq·D], k, v of [T, Hkv·D] bfloat16 with boxes of 64 × 64, out, dOut [T, Hq·D] bfloat16,
//   logSumExp [T, Hq] float, tiles of attention_plan (128 rows, group 1) → dq [T, Hq·D], dk, dv [T, Hkv·D] bfloat16
// HEAD_DIMENSION (D, 64 or 128), CAUSAL (0 or 1) and STAGES (blocks of queries and of dOut in flight or in use) are
// constants. A sequence has blocks of 64 rows; those of sequence s that begins at row r are numbered from r / 64 + s on
// (no two have one number), `blocks` in all.
//   warpgroup_backward_statistics: grid (Hq, tiles), 256 threads: for each block and head 64 logSumExp·log2 e and 64
//     sums of out·dOut, float [Hq, blocks, 2, 64]; zeros for rows that there are not.
//   warpgroup_attention_backward: Hkv·tiles blocks of 384 threads: 128 keys, 64 for each of two warpgroups that
//     multiply; walks the heads of the group in order, and the blocks of queries of each ascending. A warp of the third
//     warpgroup copies, another adds dq to query_sums, float [Hq, blocks, 2, D / 16, 128, 4]: as the warpgroups have it
//     in registers, each half of the columns.
//   warpgroup_backward_queries: grid (Hq, tiles), 256 threads: query_sums as dq.
// The order of sums: dk and dv are one chain each over the heads and the queries, in registers. dq is the sum of what
// tiles of 128 keys add to it, each one chain over its keys; tiles add in descending order: the tile that sees a query
// last writes, every other one waits until the tile after it in its sequence has added. So an element's bits depend on
// positions within the sequence only. A tile says in `progress` how many blocks it has done (progress[0] counts those
// that have begun, progress[1 + n] is the n-th's).
// Whoever waits, waits for a block that began before it: tiles are taken in the order in which blocks begin, the last
// of a sequence first (as the plan has them), so however few blocks are resident, one of them goes on. In causal
// attention a tile has, for each head, two steps more than the tile after it, which is then two steps ahead at each
// block: nobody waits for long.
// Shared memory: STAGES·(256·D + 544) + 768·D + 32824 bytes.
// FLOPs: 10·D per pair of query and visible key and head. Bytes: all operands once, and query_sums for every 128 keys.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a: 168 registers at the launch, of which setmaxnreg
// leaves 24 to those who copy and gives 240 to those who multiply; no spills. A pass of the main loop, 64 queries, has
// 536 instructions for 32 wgmma where D = 128, 470 for 24 where D = 64, and shared memory is busy for 105 and 110 % of
// the time of the tensor cores (keys and values of narrow heads lie in registers; in wide ones these are the sums').
// Decided against: the scores of the next step before this one's are done (C7514: wgmma serialized). 32 registers more
// for those who copy took so many from the others that wgmma was serialized (C7512): that is why statistics have a warp
// of their own.
#include "common/shared.cuh"
#include "common/warpgroup_attention.cuh"
#include "ptx/cluster.cuh"
#include "ptx/wgmma.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int consumers = 2;
constexpr int consumer_threads = consumers * group_threads;
constexpr int threads = consumer_threads + group_threads;
constexpr int tile_keys = consumers * group_rows;
constexpr int depth = attention_block / step_inner;
constexpr int query_columns = dimension / consumers;  // of dq, for each of the warpgroups
constexpr int tile_bytes = attention_block * dimension * 2;
constexpr int score_bytes = tile_keys * attention_block * 2;
constexpr int sum_bytes = attention_block * query_columns * 4;
constexpr int statistic_bytes = 2 * attention_block * 4;
constexpr int kept_bytes =
    2 * consumers * tile_bytes + 2 * score_bytes + consumers * sum_bytes + STAGES * statistic_bytes;
using Pipeline = TilePipeline<dimension, STAGES, kept_bytes>;

// What lies in shared memory: blocks of queries (kind 0) and of dOut (kind 1) in a ring, keys and values of the tile,
// dS of this step and the one before, dq, statistics; barriers; and which block this is.
struct Shared : Pipeline {
    __device__ __forceinline__ unsigned char* resident(int kind, int half) const {
        return reinterpret_cast<unsigned char*>(kept()) + (kind * consumers + half) * tile_bytes;
    }

    __device__ __forceinline__ unsigned char* scores(int step) const { return resident(2, 0) + step % 2 * score_bytes; }

    __device__ __forceinline__ unsigned char* query_sums(int group) const {
        return scores(0) + 2 * score_bytes + group * sum_bytes;
    }

    __device__ __forceinline__ float* statistics(int stage) const {
        return reinterpret_cast<float*>(query_sums(consumers) + stage * statistic_bytes);
    }

    __device__ __forceinline__ unsigned int resident_full() const { return part() + 8; }

    __device__ __forceinline__ unsigned int sums_full(int group) const { return part() + 16 + 16 * group; }

    __device__ __forceinline__ unsigned int sums_empty(int group) const { return sums_full(group) + 8; }

    __device__ __forceinline__ int& ticket() const {
        return *reinterpret_cast<int*>(shared + STAGES * (tile_kinds * tile_bytes + 32) + kept_bytes + 48);
    }

    __device__ __forceinline__ void initialize() const {
        Pipeline::initialize(consumer_threads / 32, 2);
        mbarrier_initialize(resident_full(), 2 * consumers);
        for (int group = 0; group < consumers; group++) {
            mbarrier_initialize(sums_full(group), group_threads / 32);
            mbarrier_initialize(sums_empty(group), 1);
        }
        fence_mbarrier_initialize();
    }
};

__device__ __forceinline__ int first_block_of(const AttentionTile& tile) {
    return (int)((unsigned int)tile.start / attention_block) + tile.sequence;
}

// What one block computes: a tile of keys, and the blocks of queries that see any of it, for each head of the group.
struct Work {
    AttentionTile tile;
    int key_head;
    int group;

    __device__ __forceinline__ Work(const AttentionTile* tiles, int ticket, int key_heads, int own_group)
        : tile(tiles[ticket / key_heads]), key_head(ticket % key_heads), group(own_group) {}

    __device__ __forceinline__ int first_query() const { return CAUSAL ? tile.first : 0; }

    __device__ __forceinline__ int steps() const {
        return divide_up(tile.rows - first_query(), attention_block) * group;
    }
};

// The queries of a step, for those who walk all steps in order.
struct Cursor {
    int head;
    int first;  // of the block's, within the sequence

    __device__ __forceinline__ explicit Cursor(const Work& work)
        : head(work.key_head * work.group), first(work.first_query()) {}

    __device__ __forceinline__ void advance(const Work& work) {
        first += attention_block;
        if (first >= work.tile.rows) {
            first = work.first_query();
            head++;
        }
    }

    // The number of the block among those of all heads and sequences, `blocks` for each head.
    __device__ __forceinline__ int place(const Work& work, int blocks) const {
        return head * blocks + first_block_of(work.tile) + (int)((unsigned int)first / attention_block);
    }
};

// Copies the tile's keys and values, and then the blocks of queries and of dOut; by a whole warp.
__device__ __forceinline__ void copy_tiles(const Shared& shared, const Work& work, const TensorMap* queries,
                                           const TensorMap* gradients, const TensorMap* keys, const TensorMap* values) {
    unsigned int part_parity = 0;
    PackedRows<Pipeline::panels> rows{
        {keys, values}, work.tile.start, work.tile.rows, work.key_head * dimension, work.tile.first / attention_block};
#pragma unroll
    for (int half = 0; half < consumers; half++) {
#pragma unroll
        for (int kind = 0; kind < tile_kinds; kind++)
            fill_tile<Pipeline::panels>(shared.resident(kind, half), shared.resident_full(), shared.part(), part_parity,
                                        rows, kind);
        rows.block++;
    }
    rows.maps[0] = queries;
    rows.maps[1] = gradients;
    rows.column = work.key_head * work.group * dimension;
    rows.block = work.first_query() / attention_block;
    for (int step = 0; step < work.steps(); step++) {
        const int stage = step % STAGES;
#pragma unroll
        for (int kind = 0; kind < tile_kinds; kind++) {
            if (lane_index() == 0)
                mbarrier_wait(shared.empty(kind, stage), step / STAGES & 1 ^ 1);
            fill_tile<Pipeline::panels>(shared.tile(kind, stage), shared.full(kind, stage), shared.part(), part_parity,
                                        rows, kind);
        }
        rows.block++;
        if (rows.block * attention_block >= work.tile.rows) {
            rows.block = work.first_query() / attention_block;
            rows.column += dimension;
        }
    }
}

// Copies the statistics of the blocks of queries beside them; by one lane.
__device__ __forceinline__ void copy_statistics(const Shared& shared, const Work& work, const float* statistics,
                                                int blocks) {
    Cursor cursor(work);
    for (int step = 0; step < work.steps(); step++, cursor.advance(work)) {
        const int stage = step % STAGES;
        mbarrier_wait(shared.empty(0, stage), step / STAGES & 1 ^ 1);
        mbarrier_arrive_expect(shared.full(0, stage), statistic_bytes);
        bulk_load(shared_address(shared.statistics(stage)),
                  statistics + (long long)cursor.place(work, blocks) * (2 * attention_block), statistic_bytes,
                  shared.full(0, stage));
    }
}

// Adds what the warpgroups leave in shared memory to the sums in global memory, in turn; by one lane. The tile after
// this one in its sequence stands before it in the plan, `later` places in `progress`.
// That a step is done is said a step later, when its sums have long been written: nobody stands still for that. A tile
// whose turn has not come first says all that it has done, so what others wait for is never kept back by one that waits
// itself. (Kept back until the tile's end it would lock nobody either: tiles wait for smaller tickets only, and of
// those that are not through, the smallest waits for nobody.)
__device__ __forceinline__ void add_queries(const Shared& shared, const Work& work, float* query_sums, int blocks,
                                            int* progress, int later) {
    const bool has_later = work.tile.first + tile_keys < work.tile.rows;
    Cursor cursor(work);
    // Steps of the tile after this one: how many it is known to have done, and how many this one needs. It walks the
    // same blocks but, in causal attention, the first two of each head.
    int done = 0, needed = 0;
    int published = 0;
    const auto publish = [&](int steps) {
        // Nobody waits for the first tile of a sequence.
        if (published == steps || work.tile.first == 0)
            return;
        published = steps;
        fence_proxy_async_global();
        fence_device();
        atomicExch(progress, steps);
    };
    for (int step = 0; step < work.steps(); step++, cursor.advance(work)) {
        const bool adds = has_later && (!CAUSAL || cursor.first >= work.tile.first + tile_keys);
        if (adds && done < ++needed) {
            while ((done = atomicAdd(progress - later, 0)) < needed) {
                tma_store_wait<0>();
                publish(step);
                __nanosleep(32);
            }
            fence_device();
            fence_proxy_async_global();
        }
#pragma unroll
        for (int group = 0; group < consumers; group++) {
            float* target = query_sums + (long long)cursor.place(work, blocks) * (attention_block * dimension) +
                            group * (sum_bytes / 4);
            mbarrier_wait(shared.sums_full(group), step & 1);
            if (adds)
                bulk_add(target, shared_address(shared.query_sums(group)), sum_bytes);
            else
                bulk_store(target, shared_address(shared.query_sums(group)), sum_bytes);
        }
        tma_store_commit();
        tma_store_wait_read<0>();
#pragma unroll
        for (int group = 0; group < consumers; group++)
            mbarrier_arrive(shared.sums_empty(group));
        tma_store_wait<1>();
        publish(step);
    }
    tma_store_wait<0>();
    publish(work.steps());
}

// 64 rows of a head as a left factor: in shared memory, or narrow heads in registers, which tensor cores then need not
// read again at every step.
template <bool held>
struct LeftTile {
    static constexpr int steps = dimension / step_inner;
    unsigned int rows[held ? steps : 1][4];  // of the warp
    unsigned long long tile;

    __device__ __forceinline__ void load(const unsigned char* source) {
        tile = columns_of(shared_address(source));
        if constexpr (held) {
            const int lane = lane_index(), row = thread_index() % group_threads / 32 * 16 + lane % 16;
#pragma unroll
            for (int index = 0; index < steps; index++)
                ldmatrix_x4(rows[index],
                            shared_address(source) + row * (panel * 2) + ((2 * index + lane / 16) ^ row % 8) * 16);
        }
    }

    // products = left · rightᵀ
    __device__ __forceinline__ void multiply(float (&products)[attention_block / 8][4],
                                             const unsigned char* right) const {
        const unsigned long long other = columns_of(shared_address(right));
#pragma unroll
        for (int index = 0; index < steps; index++) {
            const int step = column_step(index * step_inner);
            if constexpr (held)
                wgmma_m64n64k16(in_a_row(products), rows[index], other + step, index > 0);
            else
                wgmma_m64n64k16(in_a_row(products), tile + step, other + step, index > 0);
        }
        wgmma_commit();
    }
};

__device__ __forceinline__ void multiply_keys(float (&sums)[16], unsigned long long scores, unsigned long long keys,
                                              int accumulate) {
    wgmma_m64n32k16<1, 1>(sums, scores, keys, accumulate);
}

__device__ __forceinline__ void multiply_keys(float (&sums)[32], unsigned long long scores, unsigned long long keys,
                                              int accumulate) {
    wgmma_m64n64k16<1, 1>(sums, scores, keys, accumulate);
}

// Writes 16 rows of a warp, `columns` columns from `target` on, those of them before `count`.
template <int columns>
__device__ __forceinline__ void store_gradient(bfloat16* target, long long stride, int count, int first,
                                               const float (&sums)[columns / 8][4], float factor) {
    const int lane = lane_index();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = first + lane / 4 + 8 * half;
#pragma unroll
        for (int part = 0; part < columns / 32; part++) {
            unsigned int words[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                words[i] = floats_to_bfloat16(sums[4 * part + i][2 * half] * factor,
                                              sums[4 * part + i][2 * half + 1] * factor);
            exchange(words);
            if (row < count)
                *reinterpret_cast<uint4*>(target + row * stride + 32 * part + lane % 4 * 8) =
                    uint4{words[0], words[1], words[2], words[3]};
        }
    }
}

// A warpgroup's part of the walk: 64 keys, and half of the columns of dq. Addresses that follow from the thread are
// computed anew at every step: the sums leave few registers.
struct KeyWalk {
    const Shared& shared;
    const Work& work;
    float scale;
    int group;
    int from[2];                                                  // the first query that sees this lane's two keys
    float p[attention_block / 8][4], dp[attention_block / 8][4];  // transposed: keys are rows
    float query_sums[query_columns / 8][4];
    float key_sums[dimension / 8][4], value_sums[dimension / 8][4];
    unsigned int weights[depth][4], gradients[depth][4];
    LeftTile<dimension == panel> keys, values;

    __device__ __forceinline__ KeyWalk(const Shared& own_shared, const Work& own_work, int own_group, float own_scale)
        : shared(own_shared), work(own_work), scale(own_scale), group(own_group) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int key = first_key() + lane_index() / 4 + 8 * half;
            from[half] = key >= work.tile.rows ? 0x7FFFFFFF : CAUSAL ? key : 0;
        }
#pragma unroll
        for (int column = 0; column < dimension / 8; column++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                key_sums[column][i] = value_sums[column][i] = 0.0f;
    }

    // Of the warp.
    __device__ __forceinline__ int first_key() const { return work.tile.first + thread_index() / 32 * 16; }

    __device__ __forceinline__ void run() {
        mbarrier_wait(shared.resident_full(), 0);
        keys.load(shared.resident(0, group));
        values.load(shared.resident(1, group));
        TileRing<STAGES> ring;
        const int steps = uniform(work.steps());
        for (int step = 0, first = work.first_query(); step < steps; step++) {
            mbarrier_wait(shared.full(0, ring.stage), ring.parity);
            wgmma_fence();
            keys.multiply(p, shared.tile(0, ring.stage));
            mbarrier_wait(shared.full(1, ring.stage), ring.parity);
            values.multiply(dp, shared.tile(1, ring.stage));
            wgmma_wait<1>(p, keys.rows);
            soften(ring.stage);
            hide(first);
            round_weights<depth>(weights, p);
            wgmma_fence();
            add_rows(value_sums, weights, shared_address(shared.tile(1, ring.stage)));
            wgmma_wait<1>(dp, values.rows);
            differentiate(ring.stage);
            round_weights<depth>(gradients, dp);
            store_scores(step);
            fence_proxy_async();
            synchronize_named(1, consumer_threads);
            wgmma_fence();
            multiply_scores(step);
            add_rows(key_sums, gradients, shared_address(shared.tile(0, ring.stage)));
            wgmma_wait<1>(value_sums, weights, query_sums);
            leave(1, ring.stage);
            hand_over(step);
            wgmma_wait<0>(key_sums, gradients);
            leave(0, ring.stage);
            ring.advance();
            first += attention_block;
            if (first >= work.tile.rows)
                first = work.first_query();
        }
    }

private:
    __device__ __forceinline__ void leave(int kind, int stage) const {
        if (lane_index() == 0)
            mbarrier_arrive(shared.empty(kind, stage));
    }

    // Where this lane's two queries of every eight are.
    __device__ __forceinline__ const float2* own_statistics(int stage) const {
        return reinterpret_cast<const float2*>(shared.statistics(stage)) + lane_index() % 4;
    }

    // p = 2^(score·scale − logSumExp)
    __device__ __forceinline__ void soften(int stage) {
        const float2* logarithms = own_statistics(stage);
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++) {
            const float2 logarithm = load_shared(logarithms + 4 * j);
#pragma unroll
            for (int i = 0; i < 4; i++)
                p[j][i] = exp2_approximate(fmaf(p[j][i], scale, -(i % 2 == 0 ? logarithm.x : logarithm.y)));
        }
    }

    // p = 0 where the query, of the 64 from `first` on, does not see the key.
    __device__ __forceinline__ void hide(int first) {
        if (first >= from[1])
            return;
        const int query = first + lane_index() % 4 * 2;
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (query + 8 * j + i % 2 < from[i / 2])
                    p[j][i] = 0.0f;
    }

    // dp becomes ds = p·(dp − out·dOut).
    __device__ __forceinline__ void differentiate(int stage) {
        const float2* products = own_statistics(stage) + attention_block / 2;
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++) {
            const float2 product = load_shared(products + 4 * j);
#pragma unroll
            for (int i = 0; i < 4; i++)
                dp[j][i] = p[j][i] * (dp[j][i] - (i % 2 == 0 ? product.x : product.y));
        }
    }

    // A key's row has 64 queries, 128 bytes, with the swizzle.
    __device__ __forceinline__ void store_scores(int step) const {
        const int lane = lane_index(), row = thread_index() / 32 * 16 + lane % 16;
        const unsigned int target = shared_address(shared.scores(step)) + row * (panel * 2);
#pragma unroll
        for (int index = 0; index < depth; index++)
            stmatrix_x4(target + ((2 * index + lane / 16) ^ row % 8) * 16, gradients[index]);
    }

    // query_sums = dsᵀ · keys, of all 128 keys
    __device__ __forceinline__ void multiply_scores(int step) {
        const unsigned long long scores = rows_of(shared_address(shared.scores(step)));
        const unsigned long long right =
            rows_of(shared_address(shared.resident(0, 0))) + column_step(group * query_columns);
#pragma unroll
        for (int index = 0; index < tile_keys / step_inner; index++)
            multiply_keys(in_a_row(query_sums), scores + index * row_step,
                          right + (index / depth * tile_bytes / 16 + index % depth * row_step), index > 0);
        wgmma_commit();
    }

    __device__ __forceinline__ void hand_over(int step) const {
        mbarrier_wait(shared.sums_empty(group), step & 1 ^ 1);
        float4* target =
            reinterpret_cast<float4*>(shared.query_sums(0)) + group * (sum_bytes / 16) + thread_index() % group_threads;
#pragma unroll
        for (int column = 0; column < query_columns / 8; column++)
            store_shared(target + column * group_threads, float4{query_sums[column][0], query_sums[column][1],
                                                                 query_sums[column][2], query_sums[column][3]});
        fence_proxy_async();
        synchronize_warp();
        if (lane_index() == 0)
            mbarrier_arrive(shared.sums_full(group));
    }
};

extern "C" __global__ void __launch_bounds__(256)
    warpgroup_backward_statistics(const bfloat16* output, const bfloat16* output_gradient, const float* log_sum_exp,
                                  const AttentionTile* tiles, float* statistics, int blocks) {
    const AttentionTile tile = tiles[blockIdx.y];
    const int heads = gridDim.x, head = blockIdx.x, lane = lane_index();
    for (int row = (int)threadIdx.x / 32; row < tile_keys; row += 8) {
        const int own = tile.first + row;
        // The last block may be filled up, and none after it is this sequence's.
        if (own - own % attention_block >= tile.rows)
            return;
        float logarithm = 0.0f, sum = 0.0f;
        if (own < tile.rows) {
            const long long index = (long long)(tile.start + own) * heads + head;
            sum = multiply_heads<dimension>(output + index * dimension, output_gradient + index * dimension, lane);
            logarithm = log_sum_exp[index] * log2_of_e;
        }
        float* target =
            statistics +
            ((long long)head * blocks + first_block_of(tile) + own / attention_block) * (2 * attention_block) +
            own % attention_block;
        if (lane == 0) {
            target[0] = logarithm;
            target[attention_block] = sum;
        }
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    warpgroup_attention_backward(const __grid_constant__ TensorMap queries, const __grid_constant__ TensorMap gradients,
                                 const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values,
                                 const float* statistics, const AttentionTile* tiles, int* progress, float* query_sums,
                                 bfloat16* key_gradient, bfloat16* value_gradient, int blocks, int key_heads, int group,
                                 float scale, float natural_scale) {
    SKYLIGHT_SHARED(memory);
    const Shared shared{{memory}};
    if (threadIdx.x == 0) {
        shared.ticket() = atomicAdd(progress, 1);
        shared.initialize();
    }
    synchronize_block();
    // Each finds out anew what the block's work is: whatever lived across these branches would have to fit into the
    // registers of the smallest.
    const int own_group = uniform((int)threadIdx.x / group_threads);
    if (own_group == consumers) {
        decrease_registers<24>();
        const int ticket = shared.ticket(), own_warp = (int)threadIdx.x % group_threads / 32;
        const Work work(tiles, ticket, key_heads, group);
        if (work.tile.rows == 0)
            return;
        if (own_warp == 0)
            copy_tiles(shared, work, &queries, &gradients, &keys, &values);
        else if (own_warp == 1 && lane_index() == 0)
            copy_statistics(shared, work, statistics, blocks);
        else if (own_warp == 2 && lane_index() == 0)
            add_queries(shared, work, query_sums, blocks, progress + 1 + ticket, key_heads);
    } else {
        increase_registers<240>();
        const Work work(tiles, shared.ticket(), key_heads, group);
        if (work.tile.rows == 0)
            return;
        KeyWalk walk(shared, work, own_group, scale);
        walk.run();
        const Work done(tiles, shared.ticket(), key_heads, group);
        const long long stride = (long long)key_heads * dimension,
                        offset = done.tile.start * stride + done.key_head * dimension;
        const int first = done.tile.first + thread_index() / 32 * 16;
        store_gradient<dimension>(key_gradient + offset, stride, done.tile.rows, first, walk.key_sums, natural_scale);
        store_gradient<dimension>(value_gradient + offset, stride, done.tile.rows, first, walk.value_sums, 1.0f);
    }
}

extern "C" __global__ void __launch_bounds__(consumer_threads)
    warpgroup_backward_queries(const float* query_sums, const AttentionTile* tiles, bfloat16* query_gradient,
                               int blocks, float natural_scale) {
    const AttentionTile tile = tiles[blockIdx.y];
    const int heads = gridDim.x, head = blockIdx.x, thread = (int)threadIdx.x % group_threads;
    const int block = tile.first / attention_block + (int)threadIdx.x / group_threads;
    if (block * attention_block >= tile.rows)
        return;
    const long long stride = (long long)heads * dimension;
    const float4* from =
        reinterpret_cast<const float4*>(query_sums + ((long long)head * blocks + first_block_of(tile) + block) *
                                                         (attention_block * dimension)) +
        thread;
#pragma unroll
    for (int group = 0; group < consumers; group++) {
        float sums[query_columns / 8][4];
#pragma unroll
        for (int column = 0; column < query_columns / 8; column++) {
            const float4 four = from[(group * (query_columns / 8) + column) * group_threads];
            sums[column][0] = four.x;
            sums[column][1] = four.y;
            sums[column][2] = four.z;
            sums[column][3] = four.w;
        }
        store_gradient<query_columns>(query_gradient + tile.start * stride + head * dimension + group * query_columns,
                                      stride, tile.rows, block * attention_block + thread / 32 * 16, sums,
                                      natural_scale);
    }
}
