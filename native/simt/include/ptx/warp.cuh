// Host bodies of kernels/ptx/warp.cuh.
#pragma once

__device__ __forceinline__ float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, value, mask); }

__device__ __forceinline__ int shuffle_xor(int value, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, value, mask); }

__device__ __forceinline__ float shuffle_index(float value, int lane) { return __shfl_sync(0xFFFFFFFFu, value, lane); }

__device__ __forceinline__ int shuffle_index(int value, int lane) { return __shfl_sync(0xFFFFFFFFu, value, lane); }

__device__ __forceinline__ float shuffle_up(float value, int delta) { return __shfl_up_sync(0xFFFFFFFFu, value, (unsigned int)delta); }

__device__ __forceinline__ int shuffle_up(int value, int delta) { return __shfl_up_sync(0xFFFFFFFFu, value, (unsigned int)delta); }

__device__ __forceinline__ unsigned int ballot(bool predicate) { return simt_ballot(predicate, 0xFFFFFFFFu); }

__device__ __forceinline__ void synchronize_warp() { simt_synchronize_warp(0xFFFFFFFFu); }

__device__ __forceinline__ void synchronize_block(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { simt_synchronize_block(file, line); }

__device__ __forceinline__ void synchronize_named(int id, int threads) { simt_barrier(id, threads, 1); }

__device__ __forceinline__ void arrive_named(int id, int threads) { simt_barrier(id, threads, 0); }

__device__ __forceinline__ int lane_index() {
    const uint3 extent = simt_block_extent(), index = simt_thread_index();
    return (int)((index.x + extent.x * (index.y + extent.y * index.z)) % 32);
}

__device__ __forceinline__ int thread_index() { return (int)threadIdx.x; }
