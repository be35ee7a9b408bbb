// Causal attention of new rows over a key-value cache of pages (the op PagedAttention): prefill, whole or in chunks, and decoding.
//   q [T, Hq·D], key and value cache [pages, Hkv, 32, D] bfloat16, page table int32 [B, table_width], lengths int32 [B], tiles of
//   attention_plan → out [T, Hq·D] bfloat16
// HEAD_DIMENSION (D, up to 128), ROW_TILES (prefill) and STAGES (decode, blocks of keys in flight) are constants. The pairs
// (row, head) of a group of query heads fill the rows of a tile, so keys and values are read once for the whole group.
//   paged_prefill: grid (Hkv, tiles), 128 threads, 64·ROW_TILES pairs in a tile, as in attention_forward.
//   paged_decode: grid (Hkv, tiles, splits), 128 threads, 16 pairs in a tile. The four warps share the tile: each multiplies a
//     quarter of the keys, the scores meet in shared memory, every warp softens all of them and has a quarter of the output's columns.
//     Shared memory: (16 + 128·STAGES)·(2·D' + 16) + 16·288 bytes, D' = D rounded up to 16.
//   paged_merge: with splits > 1 only: joins the parts in order. The order of sums then differs from attention_forward, so deterministic
//     mode has one split.
// A page outside of the cache is reported and read as zeros.
// FLOPs: 4·D per pair of query and visible key and head. Bytes: keys and values of all contexts once per group, q and out once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills: paged_prefill D = 64 with ROW_TILES 2: 246 registers on sm_80,
// 251 on sm_90a; D = 128 with ROW_TILES 1: 215 and 217; paged_decode with STAGES 4: D = 64: 96 and 120, D = 128: 120 and 114;
// paged_merge: 48.
#include "common/attention_tile.cuh"
#include "common/attention_walk.cuh"
#include "common/status.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int warps = 4;
constexpr int threads = 32 * warps;
constexpr int page_size = 32;
using Rows = AttentionRows<dimension>;

struct PagedArguments {
    const bfloat16* q;
    const bfloat16* key_cache;
    const bfloat16* value_cache;
    const int* table;
    const int* lengths;
    const AttentionTile* tiles;
    bfloat16* output;
    int group;
    int table_width;
    int pages;
    Status* status;
    int tag;

    __device__ __forceinline__ AttentionQueries<0> queries() const {
        const AttentionTile tile = tiles[blockIdx.y];
        const long long row_stride = (long long)gridDim.x * group * dimension;
        const long long first = tile.start * row_stride + (long long)blockIdx.x * group * dimension;
        AttentionQueries<0> queries{};
        queries.query = q + first;
        queries.output = output + first;
        queries.row_stride = row_stride;
        queries.any_group = group;
        queries.first = tile.first;
        queries.count = tile.rows * group;
        queries.visible = lengths[tile.sequence] - tile.rows + 1;
        queries.causal = true;
        return queries;
    }
};

// Where the two pages of a block of keys lie, in pages; −1 for zeros.
struct BlockPages {
    int page[2];
};

// The rows of one block of keys in the pages.
struct PageRows {
    const bfloat16* base;  // this head in page 0
    long long page_stride;
    BlockPages pages;
    int first;
    int length;

    __device__ __forceinline__ const bfloat16* row(int position) const {
        const int local = position - first;
        const int page = local < page_size ? pages.page[0] : pages.page[1];
        return position < length && page >= 0 ? base + page * page_stride + local % page_size * dimension : nullptr;
    }
};

// Loads blocks of keys and values; the table is read one block ahead.
struct PagedKeys {
    const PagedArguments& arguments;
    int sequence;
    int length;
    BlockPages upcoming;

    __device__ __forceinline__ PagedKeys(const PagedArguments& given, int own_sequence, int first_block)
        : arguments(given), sequence(own_sequence), length(given.lengths[own_sequence]), upcoming(find(first_block)) {}

    __device__ __forceinline__ BlockPages find(int block) const {
        BlockPages found;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int index = 2 * block + i;
            found.page[i] = -1;
            if (index * page_size >= length) continue;
            const long long place = (long long)sequence * arguments.table_width + index;
            const int page = arguments.table[place];
            if (page >= 0 && page < arguments.pages)
                found.page[i] = page;
            else
                report_status(arguments.status, arguments.tag, place, page);
        }
        return found;
    }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        const BlockPages pages = upcoming;
        upcoming = find(block + 1);
        const long long page_elements = page_size * dimension, stride = gridDim.x * page_elements, head = blockIdx.x * page_elements;
        const int first = block * attention_block;
        load_rows<dimension, attention_block, threads>(key_tile, PageRows{arguments.key_cache + head, stride, pages, first, length}, first);
        load_rows<dimension, attention_block, threads>(value_tile, PageRows{arguments.value_cache + head, stride, pages, first, length}, first);
    }
};

#ifdef ROW_TILES
struct PrefillWork {
    const PagedArguments& arguments;
    PagedKeys keys;

    __device__ __forceinline__ AttentionQueries<0> queries() const { return arguments.queries(); }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) { keys.load(key_tile, value_tile, block); }
};

extern "C" __global__ void __launch_bounds__(threads)
    paged_prefill(const bfloat16* q, const bfloat16* key_cache, const bfloat16* value_cache, const int* table, const int* lengths,
                  const AttentionTile* tiles, bfloat16* output, int group, int table_width, int pages, float scale, Status* status, int tag) {
    SKYLIGHT_SHARED(shared);
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0) return;
    const PagedArguments arguments{q, key_cache, value_cache, table, lengths, tiles, output, group, table_width, pages, status, tag};
    PrefillWork work{arguments, PagedKeys(arguments, tile.sequence, 0)};
    walk_keys<dimension, warps, ROW_TILES>(shared, work, scale, 0.0f);
}
#endif

#ifdef STAGES
constexpr int decode_pairs = 16;
constexpr int score_stride = attention_block + 8;  // floats; rows fall into different banks
constexpr int own_chunks = divide_up(Rows::chunks, warps);

// The part of a pair that one split has: output not yet normalised, greatest score, sum of p. parts [splits, tiles, Hkv, 16 pairs].
struct Parts {
    float* sums;     // [parts, D']
    float* maximum;  // [parts]
    float* total;    // [parts]

    __device__ __forceinline__ static long long index(int split, int pair) {
        return (((long long)split * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * decode_pairs + pair;
    }
};

extern "C" __global__ void __launch_bounds__(threads)
    paged_decode(const bfloat16* q, const bfloat16* key_cache, const bfloat16* value_cache, const int* table, const int* lengths,
                 const AttentionTile* tiles, bfloat16* output, float* part_sums, float* part_maximum, float* part_total, int group, int table_width,
                 int pages, float scale, Status* status, int tag) {
    SKYLIGHT_SHARED(shared);
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0) return;
    const PagedArguments arguments{q, key_cache, value_cache, table, lengths, tiles, output, group, table_width, pages, status, tag};
    const AttentionQueries<0> queries = arguments.queries();
    constexpr int block_bytes = attention_block * Rows::bytes;
    float* meeting = reinterpret_cast<float*>(shared);
    unsigned char* query_tile = shared + decode_pairs * score_stride * sizeof(float);
    unsigned char* stages = query_tile + decode_pairs * Rows::bytes;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, column = lane % 4 * 2;
    const int visible_low = queries.visible_to(tile.first + row), visible_high = queries.visible_to(tile.first + row + 8);
    const int least = queries.visible_to(tile.first);
    const int all_blocks = divide_up(queries.visible_to(tile.first + decode_pairs - 1), attention_block);
    const int each = divide_up(all_blocks, gridDim.z), begin = blockIdx.z * each, end = min(begin + each, all_blocks);

    load_rows<dimension, decode_pairs, threads>(query_tile, query_rows<dimension>(queries), tile.first);
    PagedKeys keys(arguments, tile.sequence, begin);
    auto load = [&](int block) {
        unsigned char* stage = stages + block % STAGES * 2 * block_bytes;
        if (block < end) keys.load(stage, stage + block_bytes, block);
        cp_async_commit();
    };
    for (int stage = 0; stage < STAGES - 1; stage++) load(begin + stage);

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
                *reinterpret_cast<float2*>(meeting + (row + 8 * half) * score_stride + 16 * warp + 8 * j + column) =
                    float2{quarter[0][j][2 * half], quarter[0][j][2 * half + 1]};
        synchronize_block();

        float scores[attention_block / 8][4];
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float2 pair = *reinterpret_cast<const float2*>(meeting + (row + 8 * half) * score_stride + 8 * j + column);
                scores[j][2 * half] = pair.x;
                scores[j][2 * half + 1] = pair.y;
            }
        const int first_key = block * attention_block;
        if (first_key + attention_block > least) hide_keys(scores, visible_low - first_key, visible_high - first_key, lane);
        float correction[2];
        soften(scores, maximum, sum, correction, scale);
        correct(sums[0], correction);
        unsigned int weights[1][attention_block / 16][4];
        round_weights<attention_block / 16>(weights[0], scores);
        multiply_weights<dimension, 1, attention_block / 16, warps, own_chunks>(sums, weights, row_fragment<dimension>(current + block_bytes, lane), warp);
    }

#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float total = sum_of_row(sum[half]);
        const int local = row + 8 * half, pair = tile.first + local;
        if (pair >= queries.count) continue;
        bfloat16* target = queries.output + queries.offset(pair, dimension);
        const float inverse = 1.0f / total;
        const long long part = Parts::index(blockIdx.z, local);
#pragma unroll
        for (int chunk = 0; chunk < own_chunks; chunk++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const int own = (warp + chunk * warps) * 16 + 8 * j + column;
                const float low = sums[0][2 * chunk + j][2 * half], high = sums[0][2 * chunk + j][2 * half + 1];
                if (own >= 16 * Rows::chunks) continue;
                if (gridDim.z == 1)
                    store_normalised<dimension>(target, own, low, high, inverse);
                else
                    *reinterpret_cast<float2*>(part_sums + part * (16 * Rows::chunks) + own) = float2{low, high};
            }
        if (gridDim.z > 1 && warp == 0 && lane % 4 == 0) {
            part_maximum[part] = maximum[half];
            part_total[part] = total;
        }
    }
}

// Grid (Hkv, tiles), 128 threads: a warp has every fourth pair of the tile.
extern "C" __global__ void __launch_bounds__(threads)
    paged_merge(const bfloat16* q, const int* lengths, const AttentionTile* tiles, bfloat16* output, const float* part_sums, const float* part_maximum,
                const float* part_total, int group, int splits, float scale) {
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0) return;
    const PagedArguments arguments{q, nullptr, nullptr, nullptr, lengths, tiles, output, group, 0, 0, nullptr, 0};
    const AttentionQueries<0> queries = arguments.queries();
    const int lane = threadIdx.x % 32;
    for (int local = threadIdx.x / 32; local < decode_pairs && tile.first + local < queries.count; local += warps) {
        float greatest = hidden_score();
        for (int split = 0; split < splits; split++) greatest = fmaxf(greatest, part_maximum[Parts::index(split, local)]);
        bfloat16* target = queries.output + queries.offset(tile.first + local, dimension);
        for (int column = lane; column < dimension; column += 32) {
            float total = 0.0f, sum = 0.0f;
            for (int split = 0; split < splits; split++) {
                const long long part = Parts::index(split, local);
                const float factor = exp2_approximate((part_maximum[part] - greatest) * scale);
                total = fmaf(part_total[part], factor, total);
                sum = fmaf(part_sums[part * (16 * Rows::chunks) + column], factor, sum);
            }
            target[column] = from_float<bfloat16>(fmaf(sum, 1.0f / total, 0.0f));
        }
    }
}
#endif
