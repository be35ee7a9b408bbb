// Attention within the sequences of a packed batch, with grouped query heads (the op Attention).
//   q [T, Hq·D], k, v [T, Hkv·D] bfloat16, tiles of attention_plan → out [T, Hq·D] bfloat16, logSumExp [T, Hq] float
// HEAD_DIMENSION (D, up to 128), CAUSAL (0 or 1) and ROW_TILES (m16 tiles of a warp, 1 or 2) are constants.
// Launch: grid (Hq, tiles), 128 threads, (64·ROW_TILES + 256)·(2·D' + 16) bytes of shared memory, D' = D rounded up to 16. A tile has
// 64·ROW_TILES rows of one head; heads of a group run beside each other and share keys and values in the second cache. Keys and values
// of the next block of 64 are copied while the current one is multiplied.
// FLOPs: 4·D per pair of query and visible key and head. Bytes: q, k, v, out and logSumExp once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, causal, no spills: D = 64 with ROW_TILES 2: 252 registers on sm_80, 240 on
// sm_90a; D = 128 with ROW_TILES 1: 169 and 168. Rejected: D = 128 with ROW_TILES 2, which would halve the reads of keys and values from
// shared memory, spills 60 to 160 bytes; describing the queries again after the loop was not enough to avoid it.
#include "common/attention_tile.cuh"
#include "common/attention_walk.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int warps = 4;

struct PackedWork {
    const bfloat16* q;
    const bfloat16* k;
    const bfloat16* v;
    const AttentionTile* tiles;
    bfloat16* output;
    float* log_sum_exp;
    int group;
    int start;
    int rows;
    float4* spans;

    // Block by block; see SpanSums.
    __device__ __forceinline__ float4* earlier() const {
        constexpr long long each = ROW_TILES * (2 * AttentionRows<dimension>::chunks + 1) * 32 * warps;
        return spans + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * each;
    }

    __device__ __forceinline__ AttentionQueries<1> queries() const {
        const AttentionTile tile = tiles[blockIdx.y];
        const int heads = gridDim.x, head = blockIdx.x;
        const long long first = ((long long)tile.start * heads + head) * dimension;
        AttentionQueries<1> queries{};
        queries.query = q + first;
        queries.output = output + first;
        queries.log_sum_exp = log_sum_exp + (long long)tile.start * heads + head;
        queries.row_stride = (long long)heads * dimension;
        queries.log_sum_exp_stride = heads;
        queries.first = tile.first;
        queries.count = tile.rows;
        queries.visible = CAUSAL ? 1 : tile.rows;
        queries.causal = CAUSAL;
        return queries;
    }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        const int key_heads = gridDim.x / group, head = blockIdx.x / group, first = block * attention_block;
        const long long stride = (long long)key_heads * dimension, offset = start * stride + head * dimension;
        load_rows<dimension, attention_block, 32 * warps>(key_tile, MatrixRows{k + offset, stride, rows}, first);
        load_rows<dimension, attention_block, 32 * warps>(value_tile, MatrixRows{v + offset, stride, rows}, first);
    }
};

extern "C" __global__ void __launch_bounds__(128)
    attention_forward(const bfloat16* q, const bfloat16* k, const bfloat16* v, const AttentionTile* tiles, bfloat16* output, float* log_sum_exp,
                      float4* spans, int group, float scale, float natural_scale) {
    SKYLIGHT_SHARED(shared);
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0) return;
    PackedWork work{q, k, v, tiles, output, log_sum_exp, group, tile.start, tile.rows, spans};
    walk_keys<dimension, warps, ROW_TILES>(shared, work, scale, natural_scale);
}
