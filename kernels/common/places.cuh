// Which elements a thread has where every thread moves one pack of a row.
#pragma once

#include "common/types.cuh"

constexpr int place_threads = 256;

// The pack of `width` elements at [row, column .. column + width) of a matrix whose columns are a multiple of width.
// Neighbouring threads have neighbouring packs. The host sees to it that there are fewer than 2^31 packs.
struct Place {
    int row;
    int column;
    bool inside;
};

template <int width>
__device__ __forceinline__ Place this_place(int rows, int columns) {
    const unsigned int index = blockIdx.x * (unsigned int)place_threads + threadIdx.x;
    const unsigned int packs = (unsigned int)columns / width;
    const unsigned int row = index / packs;
    return Place{(int)row, (int)(index - row * packs) * width, row < (unsigned int)rows};
}

// In another element type; rounded once.
template <class To, class From, int width>
__device__ __forceinline__ Pack<To, width> convert_pack(const Pack<From, width>& pack) {
    Pack<To, width> result;
#pragma unroll
    for (int i = 0; i < width; i++)
        result.set(i, pack.get(i));
    return result;
}

template <class T, int width>
__device__ __forceinline__ Pack<T, width> zero_pack() {
    Pack<T, width> result;
#pragma unroll
    for (int i = 0; i < width; i++)
        result.set(i, 0.0f);
    return result;
}
