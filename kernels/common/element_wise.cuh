// Loops over the elements of whole tensors: every thread has one 16-byte pack, the grid covers the elements, the last
// pack may be incomplete. Tensors begin at a multiple of 16 bytes. A target may be a source.
#pragma once

#include "common/types.cuh"

template <int width>
__device__ __forceinline__ long long first_element() {
    return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * width;
}

// y[i] = function(x[i])
template <class T, class Function>
__device__ __forceinline__ void map_elements(const T* x, T* y, long long count, Function function) {
    constexpr int width = pack_width<T>;
    const long long first = first_element<width>();
    if (first + width <= count) {
        Pack<T, width> pack = load_pack<width>(x + first);
#pragma unroll
        for (int i = 0; i < width; i++)
            pack.set(i, function(pack.get(i)));
        store_pack<width>(y + first, pack);
        return;
    }

    for (long long i = first; i < count; i++)
        y[i] = from_float<T>(function(to_float(x[i])));
}

// y[i] = function(a[i], b[i])
template <class T, class Function>
__device__ __forceinline__ void map_elements(const T* a, const T* b, T* y, long long count, Function function) {
    constexpr int width = pack_width<T>;
    const long long first = first_element<width>();
    if (first + width <= count) {
        const Pack<T, width> left = load_pack<width>(a + first), right = load_pack<width>(b + first);
        Pack<T, width> result;
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, function(left.get(i), right.get(i)));
        store_pack<width>(y + first, result);
        return;
    }

    for (long long i = first; i < count; i++)
        y[i] = from_float<T>(function(to_float(a[i]), to_float(b[i])));
}

// y[i] = value
template <class T>
__device__ __forceinline__ void fill_elements(T* y, long long count, float value) {
    constexpr int width = pack_width<T>;
    const long long first = first_element<width>();
    if (first + width <= count) {
        Pack<T, width> pack;
#pragma unroll
        for (int i = 0; i < width; i++)
            pack.set(i, value);
        store_pack<width>(y + first, pack);
        return;
    }

    for (long long i = first; i < count; i++)
        y[i] = from_float<T>(value);
}
