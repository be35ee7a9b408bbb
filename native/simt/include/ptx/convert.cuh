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

__device__ __forceinline__ float half_to_float(unsigned short bits) {
    const unsigned int sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7FFFu;
    if (magnitude >= 0x7C00u) return __uint_as_float(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    // The exponent's bias differs by 112. A product, so that numbers without an exponent come out right too.
    const float scaled = __uint_as_float(magnitude << 13) * 0x1p112f;
    return sign != 0 ? -scaled : scaled;
}
