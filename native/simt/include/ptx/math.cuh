// Host bodies of kernels/ptx/math.cuh: exact to the last place, subnormals flushed to zero as the instructions do.
#pragma once

namespace simt {

__forceinline__ float flush(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0.0f, x) : x; }

}  // namespace simt

__device__ __forceinline__ float exp2_approximate(float x) { return simt::flush(exp2f(simt::flush(x))); }

__device__ __forceinline__ float log2_approximate(float x) { return simt::flush(log2f(simt::flush(x))); }

__device__ __forceinline__ float reciprocal_approximate(float x) { return simt::flush(1.0f / simt::flush(x)); }
