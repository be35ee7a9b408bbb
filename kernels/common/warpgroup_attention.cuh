// Attention of warpgroups (sm_90a): what training, prefill and decoding have in common where wgmma multiplies. The
// order of common/attention_core.cuh: blocks of 64 keys at fixed positions, spans of eight, every score one chain of
// steps over the head dimension, every output element one over the keys. wgmma may round otherwise than mma.sync, so on
// a card all three use this walk or none does (docs/cuda.md, "Deterministic mode").
//
// A warp of producers fills a ring of tiles: the copy engine brings 64 keys or values of a head, each 64 elements of
// their heads a panel with a swizzle of 128 bytes. Warpgroups of 64 rows consume them. Queries and p are left factors
// in registers, so tensor cores read no tile twice for a group. A group issues the scores of the next block, then the
// output of this one, and softens the scores while the output is multiplied; two groups do so in turn.
//
// Decided against: a softmax over 128 keys at a time, as the fastest published kernels have it (half the turns, maxima
// and corrections). By NVRTC 12.4, for 128 keys, causal: where D = 64, 671 instructions instead of 764, prefill 671 of
// 778, decode 656 of 748, but exponentials and conversions are the bound there, and take 98 cycles instead of 100 for
// 64 keys. Where D = 128, tensor cores are the bound before and after; with queries in registers wgmma is serialized
// (C7512, in training and decoding), with queries in shared memory it takes 751 instead of 880, decode 744 of 854, a
// stage less (32 KiB of queries beside 68 KiB of earlier spans), and 8 to 16 bytes spill.
#pragma once

#include "common/attention_walk.cuh"
#include "common/warpgroup.cuh"
#include "ptx/cluster.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

constexpr int panel_bytes = attention_block * panel * 2;
constexpr int half_block = attention_block / 2;  // keys of a page
constexpr int half_bytes = panel_bytes / 2;
constexpr int tile_kinds = 2;  // keys, values

// Tiles in shared memory, at a multiple of 1024 bytes, and behind them what `kept_bytes` are for; then the barriers. A
// tile is full when its bytes have arrived, and empty when every warp of the consumers has left it.
template <int head_dimension, int stages, int kept_bytes>
struct TilePipeline {
    static_assert(head_dimension % panel == 0, "heads are whole panels");
    static constexpr int dimension = head_dimension, stage_count = stages;
    static constexpr int panels = head_dimension / panel;
    static constexpr int tile_bytes = panels * panel_bytes;

    unsigned char* shared;

    __device__ __forceinline__ unsigned char* tile(int kind, int stage) const {
        return shared + (stage * tile_kinds + kind) * tile_bytes;
    }

    __device__ __forceinline__ float4* kept() const {
        return reinterpret_cast<float4*>(shared + stages * tile_kinds * tile_bytes);
    }

    __device__ __forceinline__ unsigned int full(int kind, int stage) const {
        return barriers() + (stage * tile_kinds + kind) * 8;
    }

    __device__ __forceinline__ unsigned int empty(int kind, int stage) const { return full(kind, stages + stage); }

    // Where the bytes of a tile arrive that the producer completes itself.
    __device__ __forceinline__ unsigned int part() const { return full(0, 2 * stages); }

    // first_arrivals: who arrives at a full tile of kind 0 beside its bytes.
    __device__ __forceinline__ void initialize(int consumer_warps, int first_arrivals = 1) const {
        for (int stage = 0; stage < stages; stage++)
            for (int kind = 0; kind < tile_kinds; kind++) {
                mbarrier_initialize(full(kind, stage), kind == 0 ? first_arrivals : 1);
                mbarrier_initialize(empty(kind, stage), consumer_warps);
            }
        mbarrier_initialize(part(), 1);
        fence_mbarrier_initialize();
    }

private:
    __device__ __forceinline__ unsigned int barriers() const {
        return shared_address(shared) + stages * tile_kinds * tile_bytes + kept_bytes;
    }
};

// Consecutive rows of a head, in blocks of 64; kind i lies in maps[i]. Boxes may reach into the rows after the
// sequence.
template <int panels>
struct PackedRows {
    const TensorMap* maps[tile_kinds];
    int start;   // the sequence's first row
    int rows;    // the sequence's
    int column;  // where the head begins
    int block;

    __device__ __forceinline__ void find(int next, int) { block = next; }

    __device__ __forceinline__ int valid(int half) const {
        return min(max(rows - block * attention_block - half * half_block, 0), half_block);
    }

    __device__ __forceinline__ int copied_bytes(int) const { return panels * panel_bytes; }

    __device__ __forceinline__ void copy(unsigned int tile, unsigned int barrier, int kind) const {
#pragma unroll
        for (int index = 0; index < panels; index++)
            tma_load_3d(tile + index * panel_bytes, maps[kind], barrier, column + index * panel,
                        start + block * attention_block, 0);
    }
};

// Fills a tile, which ends a phase of `full`; by a whole warp. Source says how many of each half's 32 rows there are
// (valid), and copy queues those halves of the kind that have rows, copied_bytes in all. Rows that there are not become
// zeros: what lies in their place need not be a number, and p = 0 would not hide it. `part` is a barrier of the warp's
// own, whose phase has part_parity.
template <int panels, class Source>
__device__ __forceinline__ void fill_tile(unsigned char* tile, unsigned int full, unsigned int part,
                                          unsigned int& part_parity, const Source& source, int kind) {
    const int lane = lane_index();
    const bool whole = source.valid(0) == half_block && source.valid(1) == half_block;
    if (lane == 0) {
        const unsigned int barrier = whole ? full : part;
        mbarrier_arrive_expect(barrier, source.copied_bytes(kind));
        source.copy(shared_address(tile), barrier, kind);
    }
    if (whole)
        return;
    synchronize_warp();
    mbarrier_wait(part, part_parity);
    part_parity ^= 1;
#pragma unroll
    for (int half = 0; half < 2; half++)
        for (int piece = source.valid(half) * 8 + lane; piece < half_block * 8; piece += 32)
#pragma unroll
            for (int index = 0; index < panels; index++)
                store_shared(reinterpret_cast<float4*>(tile + index * panel_bytes + half * half_bytes + piece * 16),
                             float4{0, 0, 0, 0});
    fence_proxy_async();
    synchronize_warp();
    if (lane == 0)
        mbarrier_arrive(full);
}

// Fills tiles for the blocks begin to end − 1; by a whole warp. Source::find(block, stage) is called for the blocks in
// order.
template <class Pipeline, class Source>
__device__ __forceinline__ void fill_tiles(const Pipeline& pipeline, Source& source, int begin, int end,
                                           unsigned int part_parity = 0) {
    TileRing<Pipeline::stage_count> ring;
    for (int block = begin; block < end; block++) {
        source.find(block, ring.stage);
#pragma unroll
        for (int kind = 0; kind < tile_kinds; kind++) {
            // By one lane: another might come so late that the phase after this one had ended too, and wait for the one
            // after that.
            if (lane_index() == 0)
                mbarrier_wait(pipeline.empty(kind, ring.stage), ring.parity ^ 1);
            fill_tile<Pipeline::panels>(pipeline.tile(kind, ring.stage), pipeline.full(kind, ring.stage),
                                        pipeline.part(), part_parity, source, kind);
        }
        ring.advance();
    }
}

// Registers of an accumulator in a row, as wgmma has them.
template <int columns>
__device__ __forceinline__ float (&in_a_row(float (&values)[columns][4]))[4 * columns] {
    return reinterpret_cast<float(&)[4 * columns]>(values);
}

// A tile of 64 rows of a head as a factor whose columns are summed over; and as a right factor whose rows are.
__device__ __forceinline__ unsigned long long columns_of(unsigned int tile) {
    return wgmma_descriptor(tile, 16, 8 * panel * 2, swizzle_128);
}

__device__ __forceinline__ unsigned long long rows_of(unsigned int tile) {
    return wgmma_descriptor(tile, panel_bytes, 8 * panel * 2, swizzle_128);
}

// From the first of the columns to column `first`, as descriptors count.
__device__ __forceinline__ constexpr int column_step(int first) {
    return (first / panel * panel_bytes + first % panel * 2) / 16;
}

// From a step of 16 rows to the next.
constexpr int row_step = step_inner * panel * 2 / 16;

__device__ __forceinline__ void multiply_step(float (&output)[32], const unsigned int (&weights)[4],
                                              unsigned long long rows) {
    wgmma_m64n64k16<1>(output, weights, rows, 1);
}

__device__ __forceinline__ void multiply_step(float (&output)[64], const unsigned int (&weights)[4],
                                              unsigned long long rows) {
    wgmma_m64n128k16<1>(output, weights, rows, 1);
}

// output += weights · rows of a tile
template <int columns>
__device__ __forceinline__ void add_rows(float (&output)[columns][4],
                                         const unsigned int (&weights)[attention_block / step_inner][4],
                                         unsigned int tile) {
#pragma unroll
    for (int index = 0; index < attention_block / step_inner; index++)
        multiply_step(in_a_row(output), weights[index], rows_of(tile) + index * row_step);
    wgmma_commit();
}

// The queries of a warp's 16 rows as left factors, pairs `first` to `first` + 15; those that there are not are zeros.
// Other kinds of queries have a function of their own.
template <int head_dimension, class Queries>
__device__ __forceinline__ void load_queries(unsigned int (*query)[4], const Queries& queries, int first) {
    const int lane = lane_index();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int pair = first + lane / 4 + 8 * half;
        const bool there = pair < queries.count;
        const bfloat16* row = queries.query + (there ? queries.offset(pair, head_dimension) : 0) + lane % 4 * 2;
#pragma unroll
        for (int step = 0; step < head_dimension / step_inner; step++)
#pragma unroll
            for (int eight = 0; eight < 2; eight++)
                query[step][half + 2 * eight] =
                    there ? *reinterpret_cast<const unsigned int*>(row + step * step_inner + eight * 8) : 0u;
    }
}

// A warpgroup's part of the walk: its sums over the blocks begin to own_end − 1 of a tile whose blocks end with end −
// 1. begin begins a span. one_span: end is within it.
// Two groups have turns: while one softens its scores, the tensor cores have the products of the other (Shah et al.,
// FlashAttention-3, 2024). Every block but the first is a turn, also one that a group does not see.
template <class Pipeline, bool one_span, int consumers>
struct GroupWalk {
    static constexpr int turn_barrier = 2;  // and the next: of group 0, and of group 1
    static constexpr int dimension = Pipeline::dimension;
    static constexpr int depth = attention_block / step_inner;
    using Sums = SpanSums<dimension, 1>;

    const Pipeline& pipeline;
    float scale;
    int group;
    int least, visible_low, visible_high;  // keys that the warp's first row sees, and this lane's two
    Sums sums;
    unsigned int query[dimension / step_inner][4];
    float scores[attention_block / 8][4];
    unsigned int weights[depth][4];
    TileRing<Pipeline::stage_count> keys, values;

    // Of the warp's pairs `first` to `first` + 15.
    template <class Queries>
    __device__ __forceinline__ GroupWalk(const Pipeline& own_pipeline, const Queries& queries, int own_group, int first,
                                         float own_scale)
        : pipeline(own_pipeline), scale(own_scale), group(own_group) {
        const int pair = first + lane_index() / 4;
        least = queries.visible_to(first);
        visible_low = queries.visible_to(pair);
        visible_high = queries.visible_to(pair + 8);
        load_queries<dimension>(query, queries, first);
        sums.clear();
    }

    // span_ends() is called with the sums of a span in place when another span follows; it leaves them cleared.
    template <class SpanEnds>
    __device__ __forceinline__ void run(int begin, int own_end, int end, const SpanEnds& span_ends) {
        if (group == 1 && end > begin + 1)
            pass_turn(true);
        if (own_end > begin) {
            mbarrier_wait(pipeline.full(0, keys.stage), keys.parity);
            wgmma_fence();
            multiply_keys();
            wgmma_wait<0>(scores, query);
            leave(0, keys);
            float correction[2];
            hide(begin);
            soften(scores, sums.maximum[0], sums.sum[0], correction, scale);
            round_weights<depth>(weights, scores);
            int block = begin + 1;
            if constexpr (one_span) {
                for (; block < own_end; block++)
                    step<false>(block, end, span_ends);
            } else {
                while (block < own_end) {
                    const int stop = min(own_end, (block / span_blocks + 1) * span_blocks);
                    for (; block < stop; block++)
                        step<false>(block, end, span_ends);
                    if (block < own_end)
                        step<true>(block++, end, span_ends);
                }
            }
            mbarrier_wait(pipeline.full(1, values.stage), values.parity);
            wgmma_fence();
            add_values();
            wgmma_wait<0>(sums.output[0], weights);
            leave(1, values);
        }
        // What other groups see and this one does not; but for the turn by one lane, as in fill_tiles.
        for (int block = max(begin, own_end); block < end; block++) {
            if (block > begin) {
                take_turn();
                pass_turn(block < end - 1);
            }
            if (lane_index() == 0) {
                mbarrier_wait(pipeline.full(0, keys.stage), keys.parity);
                leave(0, keys);
                mbarrier_wait(pipeline.full(1, values.stage), values.parity);
                leave(1, values);
            }
            synchronize_warp();
        }
        sums.add_lanes();
    }

private:
    __device__ __forceinline__ void take_turn() const {
        static_assert(consumers <= 2, "turns go from one group to the other");
        if constexpr (consumers == 2)
            synchronize_named(turn_barrier + group, consumers * group_threads);
    }

    // goes_on: there is another turn. Group 0 always has one to give, for group 1 is behind it.
    __device__ __forceinline__ void pass_turn(bool goes_on) const {
        if constexpr (consumers == 2)
            if (goes_on || group == 0)
                arrive_named(turn_barrier + 1 - group, consumers * group_threads);
    }

    __device__ __forceinline__ void leave(int kind, TileRing<Pipeline::stage_count>& ring) const {
        if (lane_index() == 0)
            mbarrier_arrive(pipeline.empty(kind, ring.stage));
        ring.advance();
    }

    // scores = queries · keysᵀ
    __device__ __forceinline__ void multiply_keys() {
        const unsigned long long tile = columns_of(shared_address(pipeline.tile(0, keys.stage)));
#pragma unroll
        for (int index = 0; index < dimension / step_inner; index++)
            wgmma_m64n64k16(in_a_row(scores), query[index], tile + column_step(index * step_inner), index > 0);
        wgmma_commit();
    }

    // output += p · values
    __device__ __forceinline__ void add_values() {
        add_rows(sums.output[0], weights, shared_address(pipeline.tile(1, values.stage)));
    }

    __device__ __forceinline__ void hide(int block) {
        const int first_key = block * attention_block;
        if (first_key + attention_block > least)
            hide_keys(scores, visible_low - first_key, visible_high - first_key, lane_index());
    }

    // The scores of this block while the output of the block before is multiplied.
    template <bool starts_span, class SpanEnds>
    __device__ __forceinline__ void step(int block, int end, const SpanEnds& span_ends) {
        mbarrier_wait(pipeline.full(0, keys.stage), keys.parity);
        take_turn();
        wgmma_fence();
        multiply_keys();
        mbarrier_wait(pipeline.full(1, values.stage), values.parity);
        add_values();
        pass_turn(block < end - 1);
        wgmma_wait<1>(scores, query);
        leave(0, keys);
        hide(block);
        float correction[2], maximum[2] = {hidden_score(), hidden_score()}, sum[2] = {};
        if constexpr (starts_span)
            soften(scores, maximum, sum, correction, scale);
        else
            soften(scores, sums.maximum[0], sums.sum[0], correction, scale);
        wgmma_wait<0>(sums.output[0], weights);
        leave(1, values);
        if constexpr (starts_span) {
            span_ends();
#pragma unroll
            for (int half = 0; half < 2; half++) {
                sums.maximum[0][half] = maximum[half];
                sums.sum[0][half] = sum[half];
            }
        } else {
            correct(sums.output[0], correction);
        }
        round_weights<depth>(weights, scores);
    }
};

// The walk of consumer `group` over all keys that its rows see, and what comes of it. The sums of earlier spans lie in
// shared memory, as many float4 for each thread as kept_sums says: they would take as many registers as the
// accumulators.
template <int head_dimension>
constexpr int kept_sums = head_dimension / 8 + 1;

template <int consumers, class Pipeline, class Queries>
__device__ __forceinline__ void attend(const Pipeline& pipeline, const Queries& queries, int group, int end,
                                       float scale, float natural_scale) {
    constexpr int threads = consumers * group_threads;
    const int first = queries.first + group * group_rows,
              own_first = first + (int)threadIdx.x % group_threads / 32 * 16;
    const int seen = first < queries.count ? queries.visible_to(first + group_rows - 1) : 0;
    float4* earlier = pipeline.kept() + threadIdx.x;
    GroupWalk<Pipeline, false, consumers> walk(pipeline, queries, group, own_first, scale);
    bool joins = false;
    walk.run(0, uniform(divide_up(seen, attention_block)), end, [&] {
        walk.sums.add_lanes();
        if (joins)
            walk.sums.template join<threads>(earlier, scale);
        walk.sums.template store<threads>(earlier);
        walk.sums.clear();
        joins = true;
    });
    if (joins)
        walk.sums.template join<threads>(earlier, scale);
    store_rows(walk.sums, queries, own_first, natural_scale);
}

// A block with a tile of rows: a warp of its last warpgroup copies the keys that any of them sees, the others attend.
template <int consumers, class Pipeline, class Queries, class Source>
__device__ __forceinline__ void attend_tile(const Pipeline& pipeline, const Queries& queries, Source source,
                                            float scale, float natural_scale) {
    if (threadIdx.x == 0)
        pipeline.initialize(consumers * group_threads / 32);
    synchronize_block();
    const int end = uniform(divide_up(queries.visible_to(queries.first + consumers * group_rows - 1), attention_block));
    const int own_group = uniform((int)threadIdx.x / group_threads);
    if (own_group == consumers) {
        decrease_registers<40>();
        if ((int)threadIdx.x % group_threads < 32)
            fill_tiles(pipeline, source, 0, end);
    } else {
        increase_registers<232>();
        attend<consumers>(pipeline, queries, own_group, end, scale, natural_scale);
    }
}
