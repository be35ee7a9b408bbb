// Conversions to bfloat16, rounded to nearest, ties to even, and from binary16.
#pragma once

// cvt.rn.bf16.f32
__device__ __forceinline__ unsigned short float_to_bfloat16(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// cvt.rn.bf16x2.f32: low in the lower half.
__device__ __forceinline__ unsigned int floats_to_bfloat16(float low, float high) {
    unsigned int pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// cvt.f32.f16: the number that an IEEE binary16 stands for.
__device__ __forceinline__ float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
