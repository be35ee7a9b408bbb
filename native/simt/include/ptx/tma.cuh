// Host bodies of kernels/ptx/tma.cuh. A load arrives when nobody can go on without it, a store reads and writes in the wait that covers it.
#pragma once

struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__device__ __forceinline__ void tma_prefetch(const TensorMap* map) { simt_tensor_prefetch(map); }

__device__ __forceinline__ void tma_prefetch_3d(const TensorMap* map, int x, int y, int z) { simt_tensor_prefetch_3d(map, x, y, z); }

__device__ __forceinline__ void tma_load_2d(unsigned int shared, const TensorMap* map, unsigned int barrier, int x, int y) { simt_tensor_load_2d(shared, map, barrier, x, y); }

__device__ __forceinline__ void tma_load_3d(unsigned int shared, const TensorMap* map, unsigned int barrier, int x, int y, int z) { simt_tensor_load_3d(shared, map, barrier, x, y, z); }

__device__ __forceinline__ void tma_load_2d_multicast(unsigned int shared, const TensorMap* map, unsigned int barrier, int x, int y,
                                                      unsigned short blocks) {
    simt_tensor_load_multicast(shared, map, barrier, 2, x, y, 0, blocks);
}

__device__ __forceinline__ void tma_load_3d_multicast(unsigned int shared, const TensorMap* map, unsigned int barrier, int x, int y, int z,
                                                      unsigned short blocks) {
    simt_tensor_load_multicast(shared, map, barrier, 3, x, y, z, blocks);
}

__device__ __forceinline__ void bulk_load(unsigned int shared, const void* global, unsigned int bytes, unsigned int barrier) { simt_bulk_load(shared, global, bytes, barrier); }

__device__ __forceinline__ void tma_store_2d(const TensorMap* map, unsigned int shared, int x, int y) { simt_tensor_store_2d(map, shared, x, y); }

__device__ __forceinline__ void bulk_store(void* global, unsigned int shared, unsigned int bytes) { simt_bulk_store(global, shared, bytes, 0); }

__device__ __forceinline__ void bulk_add(float* global, unsigned int shared, unsigned int bytes) { simt_bulk_store(global, shared, bytes, 1); }

__device__ __forceinline__ void tma_store_commit() { simt_bulk_store_commit(); }

template <int N>
__device__ __forceinline__ void tma_store_wait_read() {
    simt_bulk_store_wait(N, 1);
}

template <int N>
__device__ __forceinline__ void tma_store_wait() {
    simt_bulk_store_wait(N, 0);
}

#endif
