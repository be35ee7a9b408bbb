// Activation functions and their derivatives in float: one definition for all kernels, so that fusing changes no bits.
#pragma once

#include "common/types.cuh"
#include "ptx/math.cuh"

// e^x, about 2 units in the last place for small |x|.
__device__ __forceinline__ float exponential(float x) { return exp2_approximate(x * 1.4426950408889634f); }

// 1 / (1 + e^-x); 0 and 1 at the ends.
__device__ __forceinline__ float sigmoid(float x) { return reciprocal_approximate(1.0f + exponential(-x)); }

__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

// d silu / dx = s·(1 + x·(1 − s)).
__device__ __forceinline__ float silu_slope(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

// x/2 · (1 + erf(x/√2)), exact.
__device__ __forceinline__ float gelu(float x) { return x * 0.5f * (1.0f + erff(x * 0.70710678118654752f)); }

// d gelu / dx = Φ(x) + x·φ(x).
__device__ __forceinline__ float gelu_slope(float x) {
    const float distribution = 0.5f * (1.0f + erff(x * 0.70710678118654752f));
    const float density = exponential(-0.5f * x * x) * 0.39894228040143268f;
    return distribution + x * density;
}
