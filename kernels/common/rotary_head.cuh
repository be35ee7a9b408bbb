// One head of the attention projection, by a warp: normalised (RMSNorm), where there is a weight, and rotated. The sums
// and roundings are those of norm.cu and rotary.cu one after the other: the normalised head is rounded before it is
// rotated.
#pragma once

#include "common/reduce.cuh"

// One divided by the root of a head's mean square; to all lanes. The sum is that of a row in norm.cu (common/row.cuh).
template <int dimension>
__device__ __forceinline__ float inverse_norm(const bfloat16* head, float epsilon) {
    constexpr int vector = dimension % pack_width<bfloat16> == 0 ? pack_width<bfloat16> : 1;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < divide_up(dimension, 32 * vector); i++) {
        const int column = (lane_index() + 32 * i) * vector;
        if (column >= dimension)
            break;
        const Pack<bfloat16, vector> pack = load_pack<vector>(head + column);
#pragma unroll
        for (int e = 0; e < vector; e++)
            squares += pack.get(e) * pack.get(e);
    }
    return 1.0f / sqrtf(warp_sum(squares) / dimension + epsilon);
}

template <class W>
__device__ __forceinline__ float normalized(float element, const W* weight, int column, float scale) {
    return weight == nullptr ? element : to_float(from_float<bfloat16>(element * scale * to_float(weight[column])));
}

// A pair of elements that lie half a head apart, rotated.
__device__ __forceinline__ float2 rotated(float first, float second, float cosine, float sine) {
    return float2{fmaf(first, cosine, __fmul_rn(-second, sine)), fmaf(second, cosine, __fmul_rn(first, sine))};
}

// Writes a rotated head to target, in global or in shared memory. rotation: D/2 cosines, then sines.
template <int dimension, class W>
__device__ __forceinline__ void rotate_head(const bfloat16* head, const float* rotation, const W* weight, float epsilon,
                                            bfloat16* target) {
    constexpr int half = dimension / 2;
    const float scale = weight == nullptr ? 0.0f : inverse_norm<dimension>(head, epsilon);
#pragma unroll
    for (int i = 0; i < divide_up(half, 32); i++) {
        const int column = lane_index() + 32 * i;
        if (column >= half)
            break;
        const float2 pair = rotated(normalized(to_float(head[column]), weight, column, scale),
                                    normalized(to_float(head[column + half]), weight, column + half, scale),
                                    rotation[column], rotation[column + half]);
        target[column] = from_float<bfloat16>(pair.x);
        target[column + half] = from_float<bfloat16>(pair.y);
    }
}
