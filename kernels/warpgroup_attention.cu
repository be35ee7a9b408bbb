// Attention within the sequences of a packed batch by warpgroup instructions (sm_90a); what attention_forward.cu
// computes, for heads of 64 or 128.
//   q [T, Hq·D] bfloat16, keys and values: tensor maps of [T, Hkv·D] bfloat16 with boxes of 64 × 64, tiles of
//   attention_plan → out [T, Hq·D] bfloat16, logSumExp [T, Hq] float
// HEAD_DIMENSION (D, 64 or 128), CAUSAL (0 or 1) and STAGES (blocks of keys and values in flight or in use) are
// constants.
// Launch: grid (Hq, tiles), 384 threads: two warpgroups multiply, a warp of the third copies. A tile has 128 rows of
// one head. Shared memory: STAGES·256·D + 4096·(D / 8 + 1) + STAGES·32 + 8 bytes; sums of earlier spans lie there too.
// wgmma may round otherwise than mma.sync, so the same card decodes with warpgroup_attention_paged.cu (docs/cuda.md,
// "Deterministic mode").
// FLOPs: 4·D per pair of query and visible key and head. Bytes: q, k, v, out and logSumExp once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a: 168 registers at the launch, of which setmaxnreg
// leaves 40 to the producer and gives 232 to a consumer; no spills. A pass of the main loop, 64 keys, has 440
// instructions for 12 wgmma where D = 128 (CAUSAL), 382 for 8 where D = 64; 64 to 100 of them hide keys, in blocks that
// need it.
#include "common/shared.cuh"
#include "common/warpgroup_attention.cuh"
#include "ptx/wgmma.cuh"

constexpr int dimension = HEAD_DIMENSION;
constexpr int consumers = 2;
constexpr int threads = (consumers + 1) * group_threads;
constexpr int kept_bytes = consumers * group_threads * kept_sums<dimension> * 16;
using Pipeline = TilePipeline<dimension, STAGES, kept_bytes>;

extern "C" __global__ void __launch_bounds__(threads, 1)
    warpgroup_attention(const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values,
                        const bfloat16* q, const AttentionTile* tiles, bfloat16* output, float* log_sum_exp, int group,
                        float scale, float natural_scale) {
    SKYLIGHT_SHARED(shared);
    const AttentionTile tile = tiles[blockIdx.y];
    if (tile.rows == 0)
        return;
    const int heads = gridDim.x, head = blockIdx.x;
    attend_tile<consumers>(
        Pipeline{shared}, packed_queries<dimension>(tile, heads, head, q, output, log_sum_exp, CAUSAL),
        PackedRows<Pipeline::panels>{{&keys, &values}, tile.start, tile.rows, head / group * dimension, 0}, scale,
        natural_scale);
}
