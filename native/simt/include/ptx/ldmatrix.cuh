// Host bodies of kernels/ptx/ldmatrix.cuh.
#pragma once

__device__ __forceinline__ void ldmatrix_x4(unsigned int (&registers)[4], unsigned int shared) {
    const simt_words words = simt_load_matrix(shared, 4, 0);
    for (int index = 0; index < 4; index++) registers[index] = words.word[index];
}

__device__ __forceinline__ void ldmatrix_x4_transposed(unsigned int (&registers)[4], unsigned int shared) {
    const simt_words words = simt_load_matrix(shared, 4, 1);
    for (int index = 0; index < 4; index++) registers[index] = words.word[index];
}

__device__ __forceinline__ void ldmatrix_x2(unsigned int (&registers)[2], unsigned int shared) {
    const simt_words words = simt_load_matrix(shared, 2, 0);
    for (int index = 0; index < 2; index++) registers[index] = words.word[index];
}

__device__ __forceinline__ void ldmatrix_x2_transposed(unsigned int (&registers)[2], unsigned int shared) {
    const simt_words words = simt_load_matrix(shared, 2, 1);
    for (int index = 0; index < 2; index++) registers[index] = words.word[index];
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ __forceinline__ void stmatrix_x4(unsigned int shared, const unsigned int (&registers)[4]) {
    simt_store_matrix(shared, registers[0], registers[1], registers[2], registers[3]);
}
#endif
