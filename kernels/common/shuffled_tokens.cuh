// Tokens of the connector, shuffled: where they lie in hidden, and their statistics.
// hidden is [images·(1 + grid_height·grid_width), width], bfloat16, with the class token first; shuffled token (i, j)
// of an image is patches (2i, 2j), (2i, 2j + 1), (2i + 1, 2j), (2i + 1, 2j + 1): two runs of 2·width elements. ALIGNED
// 1: width is a multiple of 8.
#pragma once

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

// Partial sums of a token that a lane has; the warp has 128.
constexpr int token_parts = 4;

// The sum of visit(element) over the elements of a token, by a warp; all lanes get it. Each partial sum takes a pack
// (ALIGNED: 8 elements, else one) of every 128, ascending; those of a part are joined across lanes, and the parts in
// their order. So the order depends on the width only.
template <class Visit>
__device__ __forceinline__ float sum_token(const bfloat16* run, const Shuffle& shuffle, Visit visit) {
    constexpr int pack = ALIGNED != 0 ? 8 : 1;
    float sums[token_parts] = {};
    for (int half = 0; half < 2; half++, run += shuffle.line()) {
        for (int first = lane_index() * pack; first < 2 * shuffle.width; first += token_parts * 32 * pack) {
            Pack<bfloat16, pack> packs[token_parts];
#pragma unroll
            for (int part = 0; part < token_parts; part++) {
                const int column = first + part * 32 * pack;
                if (column < 2 * shuffle.width)
                    packs[part] = load_pack<pack>(run + column);
            }

#pragma unroll
            for (int part = 0; part < token_parts; part++) {
                if (first + part * 32 * pack >= 2 * shuffle.width)
                    continue;
#pragma unroll
                for (int element = 0; element < pack; element++)
                    sums[part] += visit(packs[part].get(element));
            }
        }
    }

    float sum = 0;
#pragma unroll
    for (int part = 0; part < token_parts; part++) {
        for (int distance = 16; distance > 0; distance /= 2)
            sums[part] += shuffle_xor(sums[part], distance);
        sum += sums[part];
    }

    return sum;
}

// (−mean / standard deviation, 1 / standard deviation) of a token, by a warp.
__device__ __forceinline__ Pack<float, 2> token_statistics(const bfloat16* run, const Shuffle& shuffle, float epsilon) {
    const float mean = sum_token(run, shuffle, [](float x) { return x; }) / (4 * shuffle.width);
    const float squares = sum_token(run, shuffle, [mean](float x) { return (x - mean) * (x - mean); });
    const float scale = 1.0f / sqrtf(squares / (4 * shuffle.width) + epsilon);
    Pack<float, 2> pair;
    pair.set(0, -mean * scale);
    pair.set(1, scale);
    return pair;
}

// An element of the LayerNorm, before it is rounded: two instructions for each of them.
__device__ __forceinline__ float normalized_element(float x, const Pack<float, 2>& statistics, float weight,
                                                    float bias) {
    return fmaf(fmaf(x, statistics.get(1), statistics.get(0)), weight, bias);
}
