// Softmax statistics of a row of logits in one fixed order, so that stored logits and logits that a block of a matrix
// product still holds in registers give the same bits. With x = logit / temperature:
//   slice    64 columns, reduced by the four lanes of a quad: lane t holds the columns 8j + 2t and 8j + 2t + 1 (j = 0 …
//            7), as the fragments of mma.m16n8k16 lie; each lane adds its 16 in ascending order, then the lanes are
//            added in pairs
//   segment  1024 columns: 16 slices merged in ascending order
//   row      segments merged in double precision (finish_rows in logits.cu)
// The cut depends on the vocabulary alone. No product here feeds a sum but by an explicit fma: the compiler has nothing
// to contract in one kernel and not in another.
#pragma once

#include "common/types.cuh"
#include "ptx/math.cuh"
#include "ptx/warp.cuh"

constexpr int slice_columns = 64;
constexpr int slice_values = slice_columns / 4;  // of one lane
constexpr int segment_columns = 1024;
constexpr int segment_slices = segment_columns / slice_columns;

// Below this e^x is 0 in float. A floor keeps 0 · (−∞) out of the sums where a logit was masked with −∞.
constexpr float softmax_floor = -105.0f;

__device__ __forceinline__ float negative_infinity() { return __int_as_float(0xFF800000); }

// m = max x, Σ e^(x − m), Σ e^(x − m)·(x − m); without columns −∞, 0, 0.
struct SoftmaxPartial {
    float maximum;
    float sum;
    float weighted_sum;
};

// NaN stays NaN, other than with fmaxf.
__device__ __forceinline__ float at_least(float x, float floor) { return x < floor ? floor : x; }

// e^x for x ≤ 0; exactly 1 at 0.
__device__ __forceinline__ float exponential(float x) { return exp2_approximate(x * 1.4426950408889634f); }

// x = logit / temperature; most often the temperature is 1, and the division, exact then, is left out.
__device__ __forceinline__ float scaled_logit(float logit, float temperature) {
    return temperature == 1.0f ? logit : logit / temperature;
}

// What a row is scored with that is sampled with the given temperature: 0 takes the greatest logit, and is scored as 1.
__device__ __forceinline__ float score_temperature(float temperature) {
    return temperature == 0.0f ? 1.0f : temperature;
}

// Reduces a slice; the four lanes of the quad come together and all receive the result. Columns outside of the
// vocabulary are −∞.
__device__ __forceinline__ SoftmaxPartial reduce_slice(const float (&x)[slice_values]) {
    float maximum = negative_infinity();
#pragma unroll
    for (int i = 0; i < slice_values; i++)
        maximum = x[i] > maximum ? x[i] : maximum;
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) {
        const float other = shuffle_xor(maximum, mask);
        maximum = other > maximum ? other : maximum;
    }

    // Where every column is −∞, the differences from 0 are too, and nothing is added.
    const float base = maximum == negative_infinity() ? 0.0f : maximum;
    float sum = 0, weighted_sum = 0;
#pragma unroll
    for (int i = 0; i < slice_values; i++) {
        const float difference = at_least(x[i] - base, softmax_floor);
        const float term = exponential(difference);
        sum += term;
        weighted_sum = fmaf(term, difference, weighted_sum);
    }
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) {
        sum += shuffle_xor(sum, mask);
        weighted_sum += shuffle_xor(weighted_sum, mask);
    }

    return {maximum, sum, weighted_sum};
}

// The columns of a, then those of b.
__device__ __forceinline__ SoftmaxPartial merge_partials(const SoftmaxPartial& a, const SoftmaxPartial& b) {
    const float maximum = b.maximum > a.maximum ? b.maximum : a.maximum;
    const float shift_a = a.maximum == maximum ? 0.0f : at_least(a.maximum - maximum, softmax_floor);
    const float shift_b = b.maximum == maximum ? 0.0f : at_least(b.maximum - maximum, softmax_floor);
    const float scale_a = exponential(shift_a), scale_b = exponential(shift_b);
    return {maximum, fmaf(scale_a, a.sum, scale_b * b.sum),
            fmaf(scale_a, fmaf(shift_a, a.sum, a.weighted_sum), scale_b * fmaf(shift_b, b.sum, b.weighted_sum))};
}

// What the gradient of a row's logits is made of:
//   (dLogProbability·(1[target] − p) − dEntropy·p·(log p + entropy)) / temperature = p·(slope·log p + constant) +
//   1[target]·at_target
struct LogitGradient {
    float maximum;
    float log_sum;
    float constant;
    float slope;
    float at_target;
    int target;  // −1 for none
};

// Null pointers for gradients that are not there. The row has no gradient where `target` comes back negative.
__device__ __forceinline__ LogitGradient load_logit_gradient(int row, int target, const float* maximum,
                                                             const float* log_sum, const float* entropy,
                                                             const float* log_probability_gradient,
                                                             const float* entropy_gradient, float temperature) {
    const float by_log_probability = log_probability_gradient ? log_probability_gradient[row] : 0.0f;
    const float by_entropy = entropy_gradient ? entropy_gradient[row] : 0.0f;
    // NaN counts as a gradient.
    if (by_log_probability == 0 && by_entropy == 0)
        return {0, 0, 0, 0, 0, -1};
    const float entropy_value = entropy ? entropy[row] : 0.0f;
    return {maximum[row],
            log_sum[row],
            -fmaf(by_entropy, entropy_value, by_log_probability) / temperature,
            -by_entropy / temperature,
            by_log_probability / temperature,
            target};
}

// The gradient of one logit.
__device__ __forceinline__ float logit_gradient(const LogitGradient& row, float logit, int column, float temperature) {
    const float log_probability =
        at_least((scaled_logit(logit, temperature) - row.maximum) - row.log_sum, softmax_floor);
    const float gradient = exponential(log_probability) * fmaf(row.slope, log_probability, row.constant);
    return column == row.target ? gradient + row.at_target : gradient;
}
