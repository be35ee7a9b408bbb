// Host body of kernels/ptx/mma.cuh.
#pragma once

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1) {
    const simt_floats sums = simt_mma_m16n8k16(a[0], a[1], a[2], a[3], b0, b1, d[0], d[1], d[2], d[3]);
    for (int index = 0; index < 4; index++) d[index] = sums.value[index];
}
