// Causal attention of new rows over a key-value cache of pages (the op PagedAttention): prefill, whole or in chunks,
// and decoding.
//   q [T, Hq·D], key and value cache [pages, Hkv, 32, D] bfloat16, page table int32 [B, table_width], starts int32 [B +
//   1], lengths int32 [B], tiles of attention_plan or attention_plan_spans → out [T, Hq·D] bfloat16
// HEAD_DIMENSION (D, up to 128), ROW_TILES (prefill) and STAGES (decode, blocks of keys in flight) are constants. The
// pairs (row, head) of a group of query heads fill the rows of a tile, so keys and values are read once for the whole
// group.
// A step of prompts and completions launches both kernels, and the plan says which sequences are whose. Blocks behind
// the tiles, of one of them, zero the rows of no sequence.
//   paged_prefill: grid (Hkv, tiles · 2 / ROW_TILES + clearing blocks), 128 threads; a block has 64·ROW_TILES of a
//   tile's 128 pairs, as in
//     attention_forward.
//   paged_decode: grid (Hkv, tiles + clearing blocks, spans of 512 keys), 128 threads; every span is a block's own
//   work, so one sequence alone already
//     occupies many multiprocessors. A tile has - 16 pairs at most: the four warps share it. Each multiplies a quarter
//     of the keys, the scores meet in shared memory, every warp
//       softens all of them and has a quarter of the output's columns.
//     - up to 64 pairs of several sequences that have the same pages in this span (the prompt of a GRPO group): a warp
//     has 16 of them, and the
//       keys and values are read once for all.
//     Shared memory: the greater of (16 + 128·STAGES)·(2·D' + 16) + 16·288 and 320·(2·D' + 16) bytes, D' = D rounded up
//     to 16.
//     The block that comes last of those of a row that sees several spans joins them, ascending (join_arrived in
//     common/attention_paged.cuh); the plan holds who has come.
// A row's spans are joined in the same order here, in prefill and in training (common/attention_core.cuh): the bits are
// the same.
// A page outside of the cache is reported and read as zeros.
// FLOPs: 4·D per pair of query and visible key and head. Bytes: keys and values of all contexts once per group, those
// of spans in common once per 64 pairs; q and out once; with several spans 8·(D' + 2) bytes per pair and span.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills: paged_prefill with ROW_TILES 2: D = 64: 243
// registers on sm_80, 245 on sm_90a; paged_decode: D = 64 with STAGES 4: 143 on sm_80 (from the projection on 140), D =
// 128 with STAGES 4 178 (180).
// Counted by the emulator for one key-value head of a 38B model, 12 completions of a prompt of 1,024 tokens with 76 of
// their own (workloads paged_attention/38b-group-…): paged_decode moves 1.4 MB with the prompt's pages in common, 7.6
// MB with copies of them (the keys and values alone: 1.0 and 6.8 MB). No bank conflicts at D ≥ 64. A span that is in
// common only in part is read by each sequence, mostly from the second cache.
#include "common/attention_paged.cuh"
#include "ptx/grid.cuh"

constexpr int warps = 4;
constexpr int threads = 32 * warps;

// The operands, and where the cache lies.
struct CacheArguments : PagedArguments {
    const bfloat16* key_cache;
    const bfloat16* value_cache;
};

// Where the two pages of a block of keys lie, in pages; −1 for zeros.
struct BlockPages {
    int page[2];
};

// What a thread copies of a block of keys: 16 bytes of every step-th row of its two pages, at constant distances within
// each.
struct PageSteps {
    const unsigned char* page[2];  // at the thread's first row
    int left[2];                   // rows from there on that the sequence has

    template <int rows>
    __device__ __forceinline__ const void* address() const {
        return page[rows / page_size] + rows % page_size * dimension * (int)sizeof(bfloat16);
    }

    template <int rows>
    __device__ __forceinline__ bool read() const {
        return rows % page_size < left[rows / page_size];
    }

    __device__ __forceinline__ void clear() { left[0] = left[1] = 0; }
};

// The rows of one block of keys in the pages.
struct PageRows {
    const bfloat16* base;  // this head in page 0
    long long page_stride;
    BlockPages pages;
    int first;
    int length;

    __device__ static constexpr bool has_steps(int rows) { return page_size % rows == 0; }

    __device__ __forceinline__ PageSteps steps(int position, int column) const {
        PageSteps steps;
        const int row = position - first;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int page = pages.page[i];
            steps.page[i] =
                reinterpret_cast<const unsigned char*>(base + max(page, 0) * page_stride + row * dimension + column);
            steps.left[i] = page < 0 ? 0 : length - position - i * page_size;
        }
        return steps;
    }

    __device__ __forceinline__ const bfloat16* row(int position) const {
        const int local = position - first;
        const int page = local < page_size ? pages.page[0] : pages.page[1];
        return position < length && page >= 0 ? base + page * page_stride + local % page_size * dimension : nullptr;
    }
};

// Loads blocks of keys and values; the table is read one block ahead.
struct PagedKeys {
    const CacheArguments& arguments;
    int sequence;
    int length;
    BlockPages upcoming;

    __device__ __forceinline__ PagedKeys(const CacheArguments& given, int own_sequence, int first_block)
        : arguments(given), sequence(own_sequence), length(given.lengths[own_sequence]), upcoming(find(first_block)) {}

    __device__ __forceinline__ BlockPages find(int block) const {
        BlockPages found;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int index = 2 * block + i;
            found.page[i] = -1;
            if (index * page_size < length)
                found.page[i] = arguments.page(sequence, index);
        }
        return found;
    }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        const BlockPages pages = upcoming;
        upcoming = find(block + 1);
        const long long page_elements = page_size * dimension, stride = gridDim.x * page_elements,
                        head = blockIdx.x * page_elements;
        const int first = block * attention_block, thread = thread_index();
        load_rows<dimension, attention_block, threads>(
            key_tile, PageRows{arguments.key_cache + head, stride, pages, first, length}, first, thread);
        load_rows<dimension, attention_block, threads>(
            value_tile, PageRows{arguments.value_cache + head, stride, pages, first, length}, first, thread);
    }
};

#ifdef ROW_TILES
// The pairs of this block.
__device__ __forceinline__ AttentionTile own_tile(const AttentionTile* tiles) {
    constexpr int blocks = prefill_pairs / (16 * ROW_TILES * warps);
    AttentionTile tile = tiles[blockIdx.y / blocks];
    if (blocks > 1)
        tile.first += blockIdx.y % blocks * (prefill_pairs / blocks);
    return tile;
}

struct PrefillWork {
    const CacheArguments& arguments;
    const AttentionTile* tiles;
    SpanSlots spans;
    PagedKeys keys;

    __device__ __forceinline__ AttentionQueries<0> queries() const {
        const AttentionTile tile = own_tile(tiles);
        return arguments.queries(tile.start, tile.rows, tile.first, arguments.lengths[tile.sequence] - tile.rows + 1,
                                 true);
    }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        // Read again: registers are scarce here.
        keys.sequence = own_tile(tiles).sequence;
        keys.length = arguments.lengths[keys.sequence];
        keys.load(key_tile, value_tile, block);
    }

    __device__ __forceinline__ const SpanSlots& slots() const { return spans; }
};

// As for paged_decode.
extern "C" __global__ void __launch_bounds__(threads, 2)
    paged_prefill(const bfloat16* q, const bfloat16* key_cache, const bfloat16* value_cache, const int* table,
                  const int* starts, const int* lengths, const AttentionTile* tiles, bfloat16* output, float4* spans,
                  int* slots, int slot_count, int sequences, int rows, int tile_blocks, int group, int table_width,
                  int pages, float scale, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const CacheArguments arguments{
        {q, table, lengths, output, group, table_width, pages, status, tag}, key_cache, value_cache};
    if (arguments.clears(starts, sequences, rows, tile_blocks))
        return;
    const AttentionTile tile = own_tile(tiles);
    if (tile.first >= tile.rows * group)
        return;
    PrefillWork work{arguments, tiles, {spans, slots, slot_count}, PagedKeys(arguments, tile.sequence, 0)};
    walk_keys<dimension, warps, ROW_TILES>(shared, work, scale, 0.0f);
}
#endif

#ifdef STAGES
constexpr int score_stride = attention_block + 8;  // floats; rows fall into different banks
constexpr int own_chunks = divide_up(Rows::chunks, warps);

// Pairs of several sequences that see the same keys.
template <class Queries>
struct SharedWork {
    const Queries& own;
    PagedKeys& keys;

    __device__ __forceinline__ Queries queries() const { return own; }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        keys.load(key_tile, value_tile, block);
    }
};

template <class Queries>
__device__ __forceinline__ void decode_shared(unsigned char* shared, const Queries& queries, PagedKeys& keys,
                                              const Parts& parts, int start, int begin, float scale) {
    SharedWork<Queries> work{queries, keys};
    SpanSums<dimension, 1> sums;
    walk_blocks<dimension, warps, 1>(sums, shared, work, begin, begin + span_blocks, scale, [](int) {});
    sums.add_lanes();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const PairTarget target(parts, queries, start, queries.first + 16 * warp + 8 * half + lane / 4,
                                sums.maximum[0][half], sums.sum[0][half]);
#pragma unroll
        for (int column = 0; column < sums.columns; column++)
            target.store(8 * column + lane % 4 * 2, sums.output[0][column][2 * half],
                         sums.output[0][column][2 * half + 1]);
    }
}

// new_keys() makes the keys from new_block on, where a block has them.
template <class Queries, class NewKeys>
__device__ __forceinline__ void decode_few(unsigned char* shared, const Queries& queries, PagedKeys& keys,
                                           const Parts& parts, int start, int begin, int end, float scale,
                                           int new_block, const NewKeys& new_keys) {
    constexpr int block_bytes = attention_block * Rows::bytes;
    float* meeting = reinterpret_cast<float*>(shared);
    unsigned char* query_tile = shared + decode_pairs * score_stride * sizeof(float);
    unsigned char* stages = query_tile + decode_pairs * Rows::bytes;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, column = lane % 4 * 2;
    const int visible_low = queries.visible_to(queries.first + row),
              visible_high = queries.visible_to(queries.first + row + 8);
    const int least = queries.visible_to(queries.first);

    auto load = [&](int block) {
        unsigned char* stage = stages + block % STAGES * 2 * block_bytes;
        if (block < end)
            keys.load(stage, stage + block_bytes, block);
        cp_async_commit();
    };
    // What is in the cache already comes while new keys are made.
    int ahead = 0;
    for (; ROTARY && ahead < STAGES - 1 && begin + ahead < new_block; ahead++)
        load(begin + ahead);
    load_tile_queries<dimension, decode_pairs, threads>(query_tile, queries);
    new_keys();
    for (; ahead < STAGES - 1; ahead++)
        load(begin + ahead);

    float sums[1][2 * own_chunks][4] = {}, maximum[2] = {hidden_score(), hidden_score()}, sum[2] = {};
    for (int block = begin; block < end; block++) {
        cp_async_wait<STAGES - 2>();
        synchronize_block();
        load(block + STAGES - 1);
        const unsigned char* current = stages + block % STAGES * 2 * block_bytes;
        float quarter[1][2][4];
        multiply_rows<dimension, 1, 1>(quarter, row_fragment<dimension>(query_tile, lane),
                                       column_fragment<dimension>(current + 16 * warp * Rows::bytes, lane));
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                store_shared(
                    reinterpret_cast<float2*>(meeting + (row + 8 * half) * score_stride + 16 * warp + 8 * j + column),
                    float2{quarter[0][j][2 * half], quarter[0][j][2 * half + 1]});
        synchronize_block();

        float scores[attention_block / 8][4];
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float2 pair = load_shared(
                    reinterpret_cast<const float2*>(meeting + (row + 8 * half) * score_stride + 8 * j + column));
                scores[j][2 * half] = pair.x;
                scores[j][2 * half + 1] = pair.y;
            }
        const int first_key = block * attention_block;
        if (first_key + attention_block > least)
            hide_keys(scores, visible_low - first_key, visible_high - first_key, lane);
        float correction[2];
        soften(scores, maximum, sum, correction, scale);
        correct(sums[0], correction);
        unsigned int weights[1][attention_block / 16][4];
        round_weights<attention_block / 16>(weights[0], scores);
        multiply_weights<dimension, 1, attention_block / 16, warps, own_chunks>(
            sums, weights, row_fragment<dimension>(current + block_bytes, lane), warp);
    }

#pragma unroll
    for (int half = 0; half < 2; half++) {
        // All warps have the same statistics.
        const PairTarget target(parts, queries, start, queries.first + row + 8 * half, maximum[half],
                                sum_of_row(sum[half]));
#pragma unroll
        for (int chunk = 0; chunk < own_chunks; chunk++) {
            if (warp + chunk * warps >= Rows::chunks)
                break;
#pragma unroll
            for (int j = 0; j < 2; j++)
                target.store((warp + chunk * warps) * 16 + 8 * j + column, sums[0][2 * chunk + j][2 * half],
                             sums[0][2 * chunk + j][2 * half + 1]);
        }
    }
}

#if ROTARY
#define ROTARY_PARAMETERS                                                                                        \
    , const float *rotations, const int *slots, bfloat16 *new_keys, bfloat16 *new_values, const W *query_weight, \
        const W *key_weight, float epsilon, Status *slot_status, int slot_tag
#else
#define ROTARY_PARAMETERS
#endif

// Two blocks on a multiprocessor are wanted; said so, the compiler aims at no more and does not spill for it.
extern "C" __global__ void __launch_bounds__(threads, 2)
    paged_decode(const bfloat16* q, const bfloat16* key_cache, const bfloat16* value_cache, const int* table,
                 const int* starts, const int* lengths, const SpanTile* tiles, int* visible, bfloat16* output,
                 float* part_sums, float2* part_statistics, int sequences, int rows, int tile_blocks, int places,
                 int group, int table_width, int pages, float scale, Status* status, int tag ROTARY_PARAMETERS) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const CacheArguments arguments{
        {q, table, lengths, output, group, table_width, pages, status, tag}, key_cache, value_cache};
    if (arguments.clears(starts, sequences, rows, tile_blocks))
        return;
    const SpanTile tile = tiles[blockIdx.z * tile_blocks + blockIdx.y];
    if (tile.rows == 0)
        return;
    const Parts parts{part_sums, part_statistics, visible, rows, places, group};
    const int begin = blockIdx.z * span_blocks;
    const int position = lengths[tile.sequence] - tile.rows;
    const AttentionQueries<0> plain =
        tile.shared
            ? arguments.queries(tile.start, tile.rows, tile.first, (begin + span_blocks) * attention_block, false)
            : arguments.queries(tile.start, tile.rows, tile.first, position + 1, true);
#if ROTARY
    const RotaryQueries queries{
        plain,
        {q, rotations, slots, new_keys, new_values, query_weight, key_weight, epsilon, slot_status, slot_tag},
        tile.start};
    // A span that sequences share has nothing new.
    const int new_block = tile.shared ? begin + span_blocks : position / attention_block;
    auto write_new = [&] {
        if (new_block >= begin + span_blocks)
            return;
        queries.projection.write(arguments, tile.sequence, tile.start, tile.rows, position, begin * attention_block,
                                 threadIdx.x / 32, warps);
        synchronize_block();
    };
#else
    const AttentionQueries<0>& queries = plain;
    const int new_block = begin;
    auto write_new = [] {};
#endif
    PagedKeys keys(arguments, tile.sequence, begin);
    if (tile.shared && queries.count - tile.first > decode_pairs) {
        decode_shared(shared, queries, keys, parts, tile.start, begin, scale);
    } else {
        const int all_blocks = divide_up(queries.visible_to(tile.first + decode_pairs - 1), attention_block);
        decode_few(shared, queries, keys, parts, tile.start, begin, min(begin + span_blocks, all_blocks), scale,
                   new_block, write_new);
    }
    const int end = min(queries.count, tile.first + (tile.shared ? shared_pairs : decode_pairs));
    join_arrived(parts, reinterpret_cast<int*>(shared), output, tile.start, tile.first, end, scale);
}
#endif
