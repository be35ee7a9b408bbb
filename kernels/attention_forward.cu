// Attention within the sequences of a packed batch, with grouped query heads (the op Attention).
//   q [T, Hq·D], k, v [T, Hkv·D] bfloat16, tiles of attention_plan → out [T, Hq·D] bfloat16, logSumExp [T, Hq] float
// HEAD_DIMENSION (D, up to 128), CAUSAL (0 or 1) and ROW_TILES (m16 tiles of a warp, 2, or 1 where shared memory is
// short) are constants.
// Launch: grid (Hq, tiles), 128 threads, (64·ROW_TILES + 256)·(2·D' + 16) + 16 bytes of shared memory, D' = D rounded
// up to 16, and 4 KiB with ROW_TILES 2 and D > 64. A tile has 64·ROW_TILES rows of one head; heads of a group run
// beside each other and share keys and values in the second cache. Keys and values of the next block of 64 are copied
// while the current one is multiplied.
// Every 512 keys the sums of a tile are joined to those before, which lie in spans, (64·ROW_TILES)·4·D' bytes and
// statistics for each of slot_count blocks that may be resident (null where no sequence is that long; slots [2 +
// blocks], zeros, says who has which): decoding can then compute the same sums side by side
// (common/attention_core.cuh).
// FLOPs: 4·D per pair of query and visible key and head. Bytes: q, k, v, out and logSumExp once; beyond 512 keys 8·D
// per row, head and span.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, causal, no spills, ROW_TILES 2: D = 64: 242 registers on
// sm_80, 243 on sm_90a; D = 128: 255 and 255 (two blocks on a multiprocessor of sm_90a, one on sm_80, for the shared
// memory).
// ROW_TILES 2 uses each fragment of keys and values twice. At D = 128 it had spilled 60 to 160 bytes; what freed the
// registers: loads compute their addresses anew (thread_index), maximum and sum of the rows lie in shared memory except
// while a block is softened, and the scores take one chunk of 16 of the head dimension at a time. Counted by the
// emulator (workload attention/tiny-wide): 1.85 passes over shared memory for a matrix instruction, 2.92 with ROW_TILES
// 1; 1.68 where tiles are full (attention/8b-group-320); no bank conflicts.
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
    SpanSlots spans;

    __device__ __forceinline__ const SpanSlots& slots() const { return spans; }

    __device__ __forceinline__ AttentionQueries<1> queries() const {
        return packed_queries<dimension>(tiles[blockIdx.y], gridDim.x, blockIdx.x, q, output, log_sum_exp, CAUSAL);
    }

    __device__ __forceinline__ void load(unsigned char* key_tile, unsigned char* value_tile, int block) {
        const int key_heads = gridDim.x / group, head = blockIdx.x / group, first = block * attention_block,
                  thread = thread_index();
        // Over full sequences the compiler has no register left for it, and would spill others.
        const int first_row = CAUSAL ? start : tiles[blockIdx.y].start;
        const long long stride = (long long)key_heads * dimension, offset = first_row * stride + head * dimension;
        load_rows<dimension, attention_block, 32 * warps>(key_tile, MatrixRows{k + offset, stride, rows}, first,
                                                          thread);
        load_rows<dimension, attention_block, 32 * warps>(value_tile, MatrixRows{v + offset, stride, rows}, first,
                                                          thread);
    }
};

extern "C" __global__ void __launch_bounds__(128)
    attention_forward(const bfloat16* q, const bfloat16* k, const bfloat16* v, const AttentionTile* tiles,
                      bfloat16* output, float* log_sum_exp, float4* spans, int* slots, int slot_count, int group,
                      float scale, float natural_scale) {
    SKYLIGHT_SHARED(shared);
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0)
        return;
    PackedWork work{q, k, v, tiles, output, log_sum_exp, group, tile.start, tile.rows, {spans, slots, slot_count}};
    walk_keys<dimension, warps, ROW_TILES>(shared, work, scale, natural_scale);
}
