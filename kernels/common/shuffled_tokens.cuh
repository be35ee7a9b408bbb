// Tokens of the connector, shuffled: where they lie in hidden, and their statistics.
// hidden is [images·(1 + grid_height·grid_width), width], bfloat16, with the class token first; shuffled token (i, j)
// of an image is patches (2i, 2j), (2i, 2j + 1), (2i + 1, 2j), (2i + 1, 2j + 1): two runs of 2·width elements. ALIGNED
// 1: width is a multiple of 8.
//   connector_statistics  hidden → (−mean / standard deviation, 1 / standard deviation) [rows] of every shuffled token,
//                         one block of 128 threads each; for any kernel's module
#pragma once

#include "common/shared.cuh"
#include "common/types.cuh"
#include "ptx/warp.cuh"

using Pack8 = Pack<bfloat16, 8>;

// Where the shuffled tokens lie in hidden.
struct Shuffle {
    int grid_height;
    int grid_width;
    int width;

    // The row of hidden that a token begins with.
    __device__ __forceinline__ int first_patch(int token) const {
        const int tokens = grid_height * grid_width / 4, across = grid_width / 2;
        const int image = token / tokens, index = token % tokens;
        return image * (1 + grid_height * grid_width) + 1 + index / across * 2 * grid_width + index % across * 2;
    }

    // The first element of a token's first run; the second run is line() elements further on.
    __device__ __forceinline__ long long first(int token) const { return (long long)first_patch(token) * width; }

    __device__ __forceinline__ long long line() const { return (long long)grid_width * width; }
};

constexpr int statistics_threads = 128;

// The sum over the block; all threads get it. `partial` has one float per warp and is free again on return.
__device__ __forceinline__ float block_sum(float value, float* partial) {
    for (int distance = 16; distance > 0; distance /= 2)
        value += shuffle_xor(value, distance);
    if (lane_index() == 0)
        partial[threadIdx.x / 32] = value;
    synchronize_block();
    float sum = 0;
    for (int warp = 0; warp < statistics_threads / 32; warp++)
        sum += partial[warp];
    synchronize_block();
    return sum;
}

// The sum of visit(element) over the elements of a token that this thread has, in an order that depends on the width
// only.
template <class Visit>
__device__ __forceinline__ float sum_token(const bfloat16* run, const Shuffle& shuffle, Visit visit) {
    float sum = 0;
    for (int half = 0; half < 2; half++, run += shuffle.line()) {
        if constexpr (ALIGNED != 0) {
            for (int column = (int)threadIdx.x * 8; column < 2 * shuffle.width; column += statistics_threads * 8) {
                const Pack8 pack = load_pack<8>(run + column);
#pragma unroll
                for (int element = 0; element < 8; element++)
                    sum += visit(pack.get(element));
            }
        } else {
            for (int column = (int)threadIdx.x; column < 2 * shuffle.width; column += statistics_threads)
                sum += visit(to_float(run[column]));
        }
    }

    return sum;
}

// An element of the LayerNorm, before it is rounded: two instructions for each of them.
__device__ __forceinline__ float normalized_element(float x, const Pack<float, 2>& statistics, float weight,
                                                    float bias) {
    return fmaf(fmaf(x, statistics.get(1), statistics.get(0)), weight, bias);
}

extern "C" __global__ void __launch_bounds__(statistics_threads)
    connector_statistics(const bfloat16* hidden, float* statistics, int grid_height, int grid_width, int width,
                         float epsilon) {
    SKYLIGHT_SHARED(shared);
    float* partial = reinterpret_cast<float*>(shared);
    const Shuffle shuffle{grid_height, grid_width, width};
    const bfloat16* run = hidden + shuffle.first((int)blockIdx.x);
    const float mean = block_sum(sum_token(run, shuffle, [](float x) { return x; }), partial) / (4 * width);
    const float squares =
        block_sum(sum_token(run, shuffle, [mean](float x) { return (x - mean) * (x - mean); }), partial);
    if (threadIdx.x == 0) {
        Pack<float, 2> pair;
        const float scale = 1.0f / sqrtf(squares / (4 * width) + epsilon);
        pair.set(0, -mean * scale);
        pair.set(1, scale);
        store_pack<2>(statistics + 2LL * blockIdx.x, pair);
    }
}
