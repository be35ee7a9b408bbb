// Causal attention over a key-value cache of pages by warpgroup instructions (sm_90a); what attention_paged.cu
// computes, for heads of 64 or 128.
//   q [T, Hq·D], key and value cache: tensor maps of [pages·Hkv, 32, D] bfloat16 with boxes of 32 × 64, page table
//   int32 [B, table_width], starts int32 [B + 1], lengths int32 [B], tiles of attention_plan or attention_plan_spans →
//   out [T, Hq·D] bfloat16
// HEAD_DIMENSION (D, 64 or 128), STAGES (blocks of keys and values in flight or in use) and PREFILL (1 or 0: which
// kernel) are constants. The pairs (row, head) of a group of query heads fill the rows of a tile. Blocks behind the
// tiles, of one of the kernels, zero the rows of no sequence.
//   warpgroup_paged_prefill: grid (Hkv, tiles + clearing blocks), 384 threads, 128 pairs in a tile, as in
//   warpgroup_attention.
//   warpgroup_paged_decode: grid (Hkv, tiles + clearing blocks, spans of 512 keys), 256 threads: one warpgroup
//   multiplies, a warp copies. The pairs
//     of a tile, up to 16 of one sequence or up to 64 of several that have the same pages in this span, are filled up
//     to 64 rows; the copies are what takes the time. The block of a row that comes last joins its spans
//     (join_arrived).
// Shared memory: as warpgroup_attention; decoding keeps no sums there.
// A page outside of the cache is reported and read as zeros.
// The order of sums is that of warpgroup_attention: the same bits in training, prefill and decoding (docs/cuda.md,
// "Deterministic mode").
// FLOPs: 4·D per pair of query and visible key and head. Bytes: keys and values of all contexts once per group, those
// of spans in common once per 64 pairs; q and out once; with several spans 8·(D + 2) bytes per pair and span.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a, no spills: prefill as warpgroup_attention; decode:
// 128 registers at the launch, of which setmaxnreg leaves 40 to the producer and gives 216 to the consumer (with a
// single warp to copy, two blocks of 160 threads left 168 to each thread, and the assembler serialized wgmma: C7512).
#include "common/attention_paged.cuh"
#include "common/shared.cuh"
#include "common/warpgroup_attention.cuh"
#include "ptx/cluster.cuh"
#include "ptx/grid.cuh"
#include "ptx/wgmma.cuh"

constexpr int consumers = PREFILL ? 2 : 1;
// Consumers need more registers than their share of all, so the producer is a warpgroup that gives its own to them.
constexpr int threads = (consumers + 1) * group_threads;
constexpr int kept_bytes = PREFILL ? consumers * group_threads * kept_sums<dimension> * 16 : 0;
using Pipeline = TilePipeline<dimension, STAGES, kept_bytes>;
static_assert(page_size == half_block, "a block of keys is two pages");

// Blocks of keys in pages; a lane of the warp that copies holds an entry of the table for 16 blocks.
struct PagedSource {
    const PagedArguments& arguments;
    const TensorMap* maps[tile_kinds];
    int sequence;
    int length;
    int window;  // the first of the entries that the warp holds; −1: none
    int entry;   // this lane's page; −1 where the sequence has none
    int first;   // key of the block
    int pages[2];

    __device__ __forceinline__ void find(int block, int) {
        const int index = 2 * block;
        if (index / 32 * 32 != window) {
            window = index / 32 * 32;
            const int own = window + lane_index();
            entry = own * page_size < length ? arguments.page(sequence, own) : -1;
            synchronize_warp();
        }
        first = block * attention_block;
#pragma unroll
        for (int half = 0; half < 2; half++)
            pages[half] = shuffle_index(entry, index % 32 + half);
    }

    __device__ __forceinline__ int valid(int half) const {
        return pages[half] < 0 ? 0 : min(max(length - first - half * half_block, 0), half_block);
    }

    __device__ __forceinline__ int copied_bytes(int) const {
        return ((pages[0] >= 0) + (pages[1] >= 0)) * Pipeline::panels * half_bytes;
    }

    __device__ __forceinline__ void copy(unsigned int tile, unsigned int barrier, int kind) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (pages[half] < 0)
                continue;
#pragma unroll
            for (int index = 0; index < Pipeline::panels; index++)
                tma_load_3d(tile + index * panel_bytes + half * half_bytes, maps[kind], barrier, index * panel, 0,
                            pages[half] * (int)gridDim.x + (int)blockIdx.x);
        }
    }
};

#if PREFILL
extern "C" __global__ void __launch_bounds__(threads, 1)
    warpgroup_paged_prefill(const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values,
                            const bfloat16* q, const int* table, const int* starts, const int* lengths,
                            const AttentionTile* tiles, bfloat16* output, int sequences, int rows, int tile_blocks,
                            int group, int table_width, int pages, float scale, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const PagedArguments arguments{q, table, lengths, output, group, table_width, pages, status, tag};
    if (arguments.clears(starts, sequences, rows, tile_blocks))
        return;
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0)
        return;
    const int length = lengths[tile.sequence];
    const AttentionQueries<0> queries =
        arguments.queries(tile.start, tile.rows, tile.first, length - tile.rows + 1, true);

    attend_tile<consumers>(Pipeline{shared}, queries,
                           PagedSource{arguments, {&keys, &values}, tile.sequence, length, -1, -1, 0, {}}, scale, 0.0f);
}
#else
#if ROTARY
#define ROTARY_PARAMETERS                                                                                        \
    , const float *rotations, const int *slots, bfloat16 *new_keys, bfloat16 *new_values, const W *query_weight, \
        const W *key_weight, float epsilon, Status *slot_status, int slot_tag

// A lane has both elements of every pair that a rotation takes, in the same place of two steps.
template <int head_dimension>
__device__ __forceinline__ void load_queries(unsigned int (*query)[4], const RotaryQueries& queries, int first) {
    constexpr int half_steps = head_dimension / step_inner / 2;
    const int lane = lane_index();
    const W* weight = queries.projection.query_weight;
    float scales[2] = {};
    if (weight != nullptr)
        // Four rows at a time, so that their loads overlap.
        for (int some = 0; some < 16 && first + some < queries.count; some += 4)
#pragma unroll
            for (int row = some; row < some + 4; row++) {
                const float scale = inverse_norm<head_dimension>(queries.head(min(first + row, queries.count - 1)),
                                                                 queries.projection.epsilon);
                if (lane / 4 == row)
                    scales[0] = scale;
                if (lane / 4 + 8 == row)
                    scales[1] = scale;
            }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int pair = first + lane / 4 + 8 * half;
        const bool there = pair < queries.count;
        const bfloat16* head = queries.head(there ? pair : 0);
        const float* rotation = queries.rotation(there ? pair : 0);
#pragma unroll
        for (int step = 0; step < half_steps; step++)
#pragma unroll
            for (int eight = 0; eight < 2; eight++) {
                const int column = step * step_inner + eight * 8 + lane % 4 * 2, other = column + head_dimension / 2;
                unsigned int lower = 0, upper = 0;
                if (there) {
                    const unsigned int x1 = *reinterpret_cast<const unsigned int*>(head + column),
                                       x2 = *reinterpret_cast<const unsigned int*>(head + other);
                    const float2 cosine = *reinterpret_cast<const float2*>(rotation + column),
                                 sine = *reinterpret_cast<const float2*>(rotation + other);
                    const float2 low =
                        rotated(normalized(low_to_float(x1), weight, column, scales[half]),
                                normalized(low_to_float(x2), weight, other, scales[half]), cosine.x, sine.x);
                    const float2 high =
                        rotated(normalized(high_to_float(x1), weight, column + 1, scales[half]),
                                normalized(high_to_float(x2), weight, other + 1, scales[half]), cosine.y, sine.y);
                    lower = floats_to_bfloat16(low.x, high.x);
                    upper = floats_to_bfloat16(low.y, high.y);
                }
                query[step][half + 2 * eight] = lower;
                query[step + half_steps][half + 2 * eight] = upper;
            }
    }
}
#else
#define ROTARY_PARAMETERS
#endif

// Two blocks on a multiprocessor fill each other's gaps at the beginning and the end of a span.
extern "C" __global__ void __launch_bounds__(threads, 2)
    warpgroup_paged_decode(const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values,
                           const bfloat16* q, const int* table, const int* starts, const int* lengths,
                           const SpanTile* tiles, int* visible, bfloat16* output, float* part_sums,
                           float2* part_statistics, int places, int sequences, int rows, int tile_blocks, int group,
                           int table_width, int pages, float scale, Status* status, int tag ROTARY_PARAMETERS) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const PagedArguments arguments{q, table, lengths, output, group, table_width, pages, status, tag};
    if (arguments.clears(starts, sequences, rows, tile_blocks))
        return;
    const SpanTile tile = tiles[blockIdx.z * tile_blocks + blockIdx.y];
    if (tile.rows == 0)
        return;
    const Parts parts{part_sums, part_statistics, visible, rows, places, group};
    const int length = lengths[tile.sequence], begin = blockIdx.z * span_blocks;
    const AttentionQueries<0> plain =
        tile.shared
            ? arguments.queries(tile.start, tile.rows, tile.first, (begin + span_blocks) * attention_block, false)
            : arguments.queries(tile.start, tile.rows, tile.first, length - tile.rows + 1, true);
#if ROTARY
    RotaryQueries queries{
        plain,
        {q, rotations, slots, new_keys, new_values, query_weight, key_weight, epsilon, slot_status, slot_tag},
        tile.start};
    // A span that sequences share has nothing new. The copy engine reads what the whole block has written.
    if (!tile.shared && begin * attention_block + attention_span > length - tile.rows) {
        queries.projection.write(arguments, tile.sequence, tile.start, tile.rows, length - tile.rows,
                                 begin * attention_block, threadIdx.x / 32, threads / 32);
        fence_proxy_async_global();
    }
#else
    AttentionQueries<0> queries = plain;
#endif
    queries.count = min(queries.count, tile.first + (tile.shared ? shared_pairs : decode_pairs));
    const int end = min(begin + span_blocks, divide_up(queries.visible_to(queries.count - 1), attention_block));

    const Pipeline pipeline{shared};
    if (threadIdx.x == 0)
        pipeline.initialize(consumers * group_threads / 32);
    synchronize_block();
    if ((int)threadIdx.x >= consumers * group_threads) {
        decrease_registers<40>();
        if ((int)threadIdx.x >= consumers * group_threads + 32)
            return;
        PagedSource source{arguments, {&keys, &values}, tile.sequence, length, -1, -1, 0, {}};
        fill_tiles(pipeline, source, begin, end);
        return;
    }
    increase_registers<216>();
    const int lane = lane_index(), first = queries.first + (int)threadIdx.x / 32 * 16;
    GroupWalk<Pipeline, true, consumers> walk(pipeline, queries, 0, first, scale);
    walk.run(begin, end, end, [] {});
    const auto& sums = walk.sums;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const PairTarget target(parts, queries, tile.start, first + 8 * half + lane / 4, sums.maximum[0][half],
                                sums.sum[0][half]);
#pragma unroll
        for (int column = 0; column < sums.columns; column++)
            target.store(8 * column + lane % 4 * 2, sums.output[0][column][2 * half],
                         sums.output[0][column][2 * half + 1]);
    }
    join_arrived(parts, reinterpret_cast<int*>(shared), output, tile.start, tile.first, queries.count, scale);
}
#endif
