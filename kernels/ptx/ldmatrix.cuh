// 8 × 8 tiles of 16-bit elements between shared memory and the fragments of mma. Lane i gives the address of row i % 8
// of tile i / 8 (16 bytes, 16-byte aligned). Register r of lane l then holds elements (l / 4, 2·(l % 4)) and the one
// right of it of tile r; transposed: (2·(l % 4), l / 4) and the one below it.
#pragma once

// ldmatrix.x4: four tiles.
__device__ __forceinline__ void ldmatrix_x4(unsigned int (&registers)[4], unsigned int shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared)
                 : "memory");
}

// ldmatrix.x4.trans
__device__ __forceinline__ void ldmatrix_x4_transposed(unsigned int (&registers)[4], unsigned int shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared)
                 : "memory");
}

// ldmatrix.x2: two tiles, addresses from lanes 0 to 15.
__device__ __forceinline__ void ldmatrix_x2(unsigned int (&registers)[2], unsigned int shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(shared)
                 : "memory");
}

// ldmatrix.x2.trans
__device__ __forceinline__ void ldmatrix_x2_transposed(unsigned int (&registers)[2], unsigned int shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(shared)
                 : "memory");
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// stmatrix.x4: the reverse of ldmatrix.x4 (sm_90).
__device__ __forceinline__ void stmatrix_x4(unsigned int shared, const unsigned int (&registers)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(registers[0]),
                 "r"(registers[1]), "r"(registers[2]), "r"(registers[3])
                 : "memory");
}
#endif
