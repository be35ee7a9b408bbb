// Host bodies of kernels/ptx/wgmma.cuh. A product runs in the wait that covers it; until then its registers hold NaN.
#pragma once

__device__ __forceinline__ unsigned long long wgmma_descriptor(unsigned int shared, unsigned int leading, unsigned int stride, int swizzle) {
    return (unsigned long long)((shared & 0x3FFFF) >> 4) | (unsigned long long)((leading & 0x3FFFF) >> 4) << 16 | (unsigned long long)((stride & 0x3FFFF) >> 4) << 32 |
           (unsigned long long)swizzle << 62;
}

__device__ __forceinline__ unsigned long long wgmma_advance(unsigned long long descriptor, int step) {
    return (descriptor & 0xFFFFFFFF00000000ULL) | ((unsigned int)descriptor + (unsigned int)step);
}

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ __forceinline__ void wgmma_fence() { simt_warpgroup_fence(); }

__device__ __forceinline__ void wgmma_commit() { simt_warpgroup_commit(); }

template <int Count>
__device__ __forceinline__ void wgmma_tie(float (&registers)[Count]) { (void)registers; }

template <int Count>
__device__ __forceinline__ void wgmma_tie(unsigned int (&registers)[Count]) { (void)registers; }

template <class Register, int Rows, int Count>
__device__ __forceinline__ void wgmma_tie(Register (&registers)[Rows][Count]) { (void)registers; }

template <int N, class... Registers>
__device__ __forceinline__ void wgmma_wait(Registers&... registers) {
    const void* const named[sizeof...(registers) + 1] = {registers...};
    const unsigned long bytes[sizeof...(registers) + 1] = {sizeof(registers)...};
    simt_warpgroup_wait(N, named, bytes, sizeof...(registers));
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n16k16(float (&d)[8], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 16, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n32k16(float (&d)[16], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 32, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 64, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], const unsigned int (&a)[4], unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 64, a, 0, b, accumulate, 0, TransposeB);
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 128, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], const unsigned int (&a)[4], unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 128, a, 0, b, accumulate, 0, TransposeB);
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n192k16(float (&d)[96], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 192, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n192k16(float (&d)[96], const unsigned int (&a)[4], unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 192, a, 0, b, accumulate, 0, TransposeB);
}

template <int TransposeA = 0, int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n256k16(float (&d)[128], unsigned long long a, unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 256, nullptr, a, b, accumulate, TransposeA, TransposeB);
}

template <int TransposeB = 0>
__device__ __forceinline__ void wgmma_m64n256k16(float (&d)[128], const unsigned int (&a)[4], unsigned long long b, int accumulate) {
    simt_warpgroup_product(d, 256, a, 0, b, accumulate, 0, TransposeB);
}

#endif
