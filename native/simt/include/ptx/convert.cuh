// Host bodies of kernels/ptx/convert.cuh.
#pragma once

__device__ __forceinline__ unsigned short float_to_bfloat16(float x) {
    const unsigned int bits = __float_as_uint(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;  // the hardware's one NaN
    return (unsigned short)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

__device__ __forceinline__ unsigned int floats_to_bfloat16(float low, float high) {
    return (unsigned int)float_to_bfloat16(high) << 16 | float_to_bfloat16(low);
}
