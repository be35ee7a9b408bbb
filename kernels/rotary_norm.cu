// The attention projection split, every head of queries and keys normalised (RMSNorm, as norm.cu has it) and rotated
// (as rotary.cu does).
//   qkv_split_norm_rotary   qkv [tokens, (Hq + 2·Hkv)·D] of ELEMENT, table [tokens, D] float, query and key weight [D]
//                           of PARAMETER → q [tokens, Hq·D], k and v [tokens, Hkv·D]; the normalised head is rounded
//                           before it is rotated, so that the result has the bits of the two ops one after the other
// Launch: a warp for each head of each token, four to a block of 128 threads; see common/row.cuh (ROW_THREADS is 32).
// 4·D floats of shared memory: the two elements of a rotation lie in packs of other lanes, or, where D/2 is no multiple
// of VECTOR, in the middle of them.
// FLOPs: 7 per element of queries and keys. Bytes: every operand once; the table is read again by every head, from
// cache.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16: no spills; registers: kernels/budget.json.
#include "common/reduce.cuh"
#include "common/row.cuh"
#include "common/shared.cuh"
#include "ptx/grid.cuh"

using T = ELEMENT;
using W = PARAMETER;

static_assert(ROW_THREADS == 32 && PACKS > 0, "a warp to a head, which it keeps in registers");
constexpr int warps = 4;

extern "C" __global__ void __launch_bounds__(32 * warps)
    qkv_split_norm_rotary(const T* qkv, const float* table, const W* query_weight, const W* key_weight, T* query,
                          T* key, T* value, int tokens, int query_heads, int key_heads, int dimension, float epsilon) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const int heads = query_heads + 2 * key_heads;
    const long long place = (long long)blockIdx.x * warps + threadIdx.x / 32;
    // Whole warps leave.
    if (place >= (long long)tokens * heads)
        return;
    const long long token = place / heads;
    const int head = (int)(place - token * heads), key_head = head - query_heads;
    const T* source = qkv + place * dimension;
    if (key_head >= key_heads) {
        T* target = value + (token * key_heads + key_head - key_heads) * dimension;
        each_pack(dimension,
                  [&](int, int column) { store_pack<VECTOR>(target + column, load_pack<VECTOR>(source + column)); });
        return;
    }

    const W* weight = key_head < 0 ? query_weight : key_weight;
    T* target = key_head < 0 ? query + (token * query_heads + head) * dimension
                             : key + (token * key_heads + key_head) * dimension;
    RowPacks<T> row{source, {}};
    float squares = 0;
    each_pack(dimension, [&](int i, int column) {
        const Pack<T, VECTOR> pack = row.load(i, column);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += pack.get(e) * pack.get(e);
    });
    const float scale = 1.0f / sqrtf(warp_sum(squares) / dimension + epsilon);
    float* normalized = reinterpret_cast<float*>(shared) + threadIdx.x / 32 * dimension;
    each_pack(dimension, [&](int i, int column) {
        Pack<T, VECTOR> pack = row.again(i, column);
        const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            pack.set(e, pack.get(e) * scale * factor.get(e));
            normalized[column + e] = pack.get(e);
        }
    });
    synchronize_warp();
    const int half = dimension / 2;
    const float* cosines = table + token * dimension;
    each_pack(dimension, [&](int, int column) {
        Pack<T, VECTOR> pack;
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            const bool is_first = column + e < half;
            const int index = is_first ? column + e : column + e - half;
            const float x1 = normalized[index], x2 = normalized[index + half], c = cosines[index],
                        s = cosines[half + index];
            pack.set(e, is_first ? fmaf(x1, c, __fmul_rn(-x2, s)) : fmaf(x2, c, __fmul_rn(x1, s)));
        }
        store_pack<VECTOR>(target + column, pack);
    });
}
