// What kernels by warpgroup instructions (sm_90a) have in common, products and attention.
#pragma once

#include "ptx/warp.cuh"
#include "ptx/wgmma.cuh"

constexpr int group_threads = 128;
constexpr int group_rows = 64;
constexpr int step_inner = 16;
constexpr int panel = 64;  // elements of a box: 128 bytes, a row of the swizzle
constexpr int swizzle_128 = 1;

// Where the producer fills and consumers read: stages in a ring, and the parity of the round.
template <int stages>
struct TileRing {
    int stage = 0;
    unsigned int parity = 0;

    __device__ __forceinline__ void advance() {
        if (++stage == stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// A value that the whole warp has alike, of which the compiler then knows it: what loops count by it, stages and
// descriptors, lies in the registers of the scalar unit, where wgmma wants it.
__device__ __forceinline__ int uniform(int value) { return shuffle_index(value, 0); }

// Lane q of every four gets the words q of the four lanes, in their order.
__device__ __forceinline__ void exchange(unsigned int (&words)[4]) {
    const int lane = lane_index();
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
        const bool upper = (lane & bit) != 0;
#pragma unroll
        for (int index = 0; index < 4; index++) {
            if ((index & bit) != 0)
                continue;
            unsigned int &low = words[index], &high = words[index + bit];
            const unsigned int received = (unsigned int)shuffle_xor((int)(upper ? low : high), bit);
            low = upper ? received : low;
            high = upper ? high : received;
        }
    }
}
