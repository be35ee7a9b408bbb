// What a token weighs when one is drawn, and what is known of a row while it is bounded.
// A token's weight is a whole number: e^(x − max x) in units of 2⁻⁴³, with x = logit / temperature. Sums of whole
// numbers have no order: so there are atomics on numbers here, and yet a row's token depends on nothing but the row,
// and is that of the CPU (TokenSampler.cs) for the same logits. The exponential is that of VectorMath.cs, of exactly
// rounded operations only.
// Eligible are the first top_k in order of falling logits (ascending ids among equals), of those as many as weigh top_p
// of all together, and of those the ones with min_p of the greatest weight.
#pragma once
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"

using Weight = unsigned long long;

constexpr int bins = 2048;
constexpr int lane_columns = segment_columns / 32;

// VectorMath.Exp for x ≤ 0, operation by operation.
__device__ __forceinline__ float exact_exponential(float x) {
    constexpr float rounder = 12582912.0f, exponent_bias = 8388608.0f + 127.0f;
    x = at_least(x, softmax_floor);
    const float n = __fsub_rn(fmaf(x, 1.44269504088896341f, rounder), rounder);
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, __fmul_rn(r, r), r);
    p = __fadd_rn(p, 1.0f);
    const float half = __fsub_rn(fmaf(n, 0.5f, rounder), rounder), rest = __fsub_rn(n, half);
    p = __fmul_rn(p, __uint_as_float(__float_as_uint(__fadd_rn(half, exponent_bias)) << 23));
    return __fmul_rn(p, __uint_as_float(__float_as_uint(__fadd_rn(rest, exponent_bias)) << 23));
}

__device__ __forceinline__ Weight weight_of(float exponential) { return (Weight)rintf(exponential * 8796093022208.0f); }

// The weight; none below min_p of the greatest.
__device__ __forceinline__ Weight eligible_weight(float logit, float temperature, float maximum, float min_p) {
    const float exponential = exact_exponential(scaled_logit(logit, temperature) - maximum);
    return exponential < min_p ? 0 : weight_of(exponential);
}

// Equal logits have equal keys, greater ones greater keys.
__device__ __forceinline__ uint32_t key_of(float logit) {
    const uint32_t bits = logit == 0.0f ? 0 : __float_as_uint(logit);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}

__device__ __forceinline__ Weight shuffle_xor(Weight value, int mask) {
    const uint32_t low = (uint32_t)shuffle_xor((int)value, mask),
                   high = (uint32_t)shuffle_xor((int)(value >> 32), mask);
    return (Weight)high << 32 | low;
}

__device__ __forceinline__ Weight shuffle_up(Weight value, int delta) {
    const uint32_t low = (uint32_t)shuffle_up((int)value, delta),
                   high = (uint32_t)shuffle_up((int)(value >> 32), delta);
    return (Weight)high << 32 | low;
}

template <class T>
__device__ __forceinline__ T warp_total(T value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
        value += shuffle_xor(value, mask);
    return value;
}

// The sum over the lanes before this one.
template <class T>
__device__ __forceinline__ T warp_before(T value) {
    T sum = value;
#pragma unroll
    for (int delta = 1; delta < 32; delta *= 2) {
        const T other = shuffle_up(sum, delta);
        sum += (int)(threadIdx.x % 32) >= delta ? other : 0;
    }

    return sum - value;
}

// What the threads of a block tell each other.
struct Board {
    Weight weight;  // a sum; the weight before a bin or a segment
    Weight bin_weight;
    int count;  // tokens before a bin; ties before a segment
    int bin_count;
    int place;  // a bin, a segment or a column
};

// Where the bound lies: the tokens with a greater key are kept, and the first `ties` of those that have it. Both 0: all
// are kept. While it is looked for, the first digits of the key, and what lies above them.
struct Bound {
    Weight needed;
    Weight weight_before;
    int count_before;
    uint32_t key;
    int ties;
    unsigned int blocks;  // that have added their part to the bins
};

// What is in global memory for each row.
struct RowBins {
    Weight weights[bins];
    int counts[bins];
    Bound bound;
};

// What is asked of a row, and whether a token can be drawn.
struct RowChoice {
    float temperature;
    float nucleus;
    float share;
    int limit;
    float largest;
    float log_sum;

    __device__ __forceinline__ bool has_parameters() const {
        return temperature >= 0 && temperature <= 3.402823466e38f && limit >= 0 && nucleus > 0 && nucleus <= 1 &&
               share >= 0 && share <= 1;
    }

    __device__ __forceinline__ bool has_numbers() const {
        constexpr float largest_float = 3.402823466e38f;
        return log_sum >= -1 && log_sum <= largest_float && largest >= -largest_float && largest <= largest_float;
    }

    // Whether a token is drawn by weight.
    __device__ __forceinline__ bool draws() const { return has_parameters() && has_numbers() && temperature != 0.0f; }

    __device__ __forceinline__ bool has_bound(int vocabulary) const {
        return draws() && ((limit > 0 && limit < vocabulary) || nucleus < 1);
    }

    __device__ __forceinline__ bool is_truncated(int vocabulary) const {
        return has_bound(vocabulary) || (draws() && share > 0);
    }
};

struct Choices {
    const float* temperatures;
    const int* top_k;
    const float* top_p;
    const float* min_p;
    const float* maximum;
    const float* log_sum;

    __device__ __forceinline__ RowChoice of(int row) const {
        return {temperatures[row], top_p[row], min_p[row], top_k[row], maximum[row], log_sum[row]};
    }
};
