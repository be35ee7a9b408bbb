// The element types of the kernels. No header from outside of kernels/ is included: NVRTC needs none.
#pragma once

#ifndef SKYLIGHT_SIMT
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
#endif

#include "ptx/convert.cuh"

// bfloat16: the upper half of a binary32. Arithmetic is done in float.
struct alignas(2) bfloat16 {
    uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }

__device__ __forceinline__ float to_float(bfloat16 x) { return __uint_as_float((uint32_t)x.bits << 16); }

__device__ __forceinline__ float low_to_float(uint32_t pair) { return __uint_as_float(pair << 16); }

__device__ __forceinline__ float high_to_float(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

// from_float<T>(x): rounded to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float x);

template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}

template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
    return bfloat16{float_to_bfloat16(x)};
}

// N elements of T that one thread loads or stores at once: 16 bytes where N·sizeof(T) is 16.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
    T elements[N];

    __device__ __forceinline__ float get(int index) const { return to_float(elements[index]); }

    __device__ __forceinline__ void set(int index, float x) { elements[index] = from_float<T>(x); }
};

// The elements of one 16-byte access.
template <class T>
constexpr int pack_width = 16 / (int)sizeof(T);

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* source) {
    return *reinterpret_cast<const Pack<T, N>*>(source);
}

template <int N, class T>
__device__ __forceinline__ void store_pack(T* target, const Pack<T, N>& pack) {
    *reinterpret_cast<Pack<T, N>*>(target) = pack;
}

__device__ __forceinline__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
