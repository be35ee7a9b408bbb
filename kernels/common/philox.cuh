// Philox 4×32 with 10 rounds (Salmon et al., 2011): the numbers of Skylight.Tensors.CounterRandom.
#pragma once

#include "common/types.cuh"

// The value with the given number of a seed's stream: 64 random bits. A block of Philox gives two.
__device__ __forceinline__ unsigned long long philox_value(unsigned long long seed, unsigned long long stream,
                                                           unsigned long long number) {
    const unsigned long long block = number >> 1;
    uint32_t a = (uint32_t)block, b = (uint32_t)(block >> 32), c = (uint32_t)stream, d = (uint32_t)(stream >> 32);
    uint32_t key_a = (uint32_t)seed, key_b = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned long long product_a = (unsigned long long)0xD2511F53u * a,
                                 product_c = (unsigned long long)0xCD9E8D57u * c;
        a = (uint32_t)(product_c >> 32) ^ b ^ key_a;
        b = (uint32_t)product_c;
        c = (uint32_t)(product_a >> 32) ^ d ^ key_b;
        d = (uint32_t)product_a;
        key_a += 0x9E3779B9u;
        key_b += 0xBB67AE85u;
    }

    return number % 2 == 0 ? a | (unsigned long long)b << 32 : c | (unsigned long long)d << 32;
}
