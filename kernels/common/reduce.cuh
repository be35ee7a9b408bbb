// Sums over a warp and over a block, always in one order: that of the lanes' butterfly, then that of the warps.
#pragma once

#include "common/types.cuh"
#include "ptx/warp.cuh"

// The sum over the warp, the same bits in every lane.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
        value += shuffle_xor(value, mask);
    return value;
}

// Two shuffles carry the halves of a double.
__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const long long bits = __double_as_longlong(value);
        const uint32_t low = (uint32_t)shuffle_xor((int)bits, mask);
        const uint32_t high = (uint32_t)shuffle_xor((int)(bits >> 32), mask);
        value += __longlong_as_double((long long)((uint64_t)high << 32 | low));
    }
    return value;
}

// Sums over `threads` threads (32, or all of the block), again and again. One barrier for each sum: it is taken in two
// regions by turns, and who writes a region again has passed a barrier that all came to after they had read it.
template <int threads, class T = float, int most_values = 1>
struct BlockSum {
    static_assert(threads % 32 == 0, "whole warps");
    static constexpr int warps = threads / 32;
    // The shared memory that it needs, in bytes.
    static constexpr int bytes = warps == 1 ? 0 : 2 * warps * most_values * (int)sizeof(T);

    T* shared;
    int turn = 0;

    __device__ __forceinline__ explicit BlockSum(unsigned char* memory) : shared(reinterpret_cast<T*>(memory)) {}

    // Every element of `values` becomes its sum, in all threads.
    template <int count>
    __device__ __forceinline__ void operator()(T (&values)[count]) {
        static_assert(count <= most_values, "no room for so many");
#pragma unroll
        for (int i = 0; i < count; i++)
            values[i] = warp_sum(values[i]);
        if constexpr (warps > 1) {
            T* region = shared + turn * warps * most_values;
            turn ^= 1;
            const int warp = threadIdx.x / 32;
            if (threadIdx.x % 32 == 0) {
#pragma unroll
                for (int i = 0; i < count; i++)
                    region[warp * most_values + i] = values[i];
            }
            synchronize_block();
#pragma unroll
            for (int i = 0; i < count; i++) {
                T sum = region[i];
#pragma unroll
                for (int other = 1; other < warps; other++)
                    sum += region[other * most_values + i];
                values[i] = sum;
            }
        }
    }

    __device__ __forceinline__ T one(T value) {
        T values[1] = {value};
        (*this)(values);
        return values[0];
    }
};
