// Host bodies of kernels/ptx/cluster.cuh.
#pragma once

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__device__ __forceinline__ unsigned int cluster_rank() { return simt_cluster_rank(); }

__device__ __forceinline__ unsigned int cluster_size() { return simt_cluster_size(); }

__device__ __forceinline__ void cluster_arrive() { simt_cluster_arrive(0); }

__device__ __forceinline__ void cluster_arrive_relaxed() { simt_cluster_arrive(1); }

__device__ __forceinline__ void cluster_wait() { simt_cluster_wait(); }

__device__ __forceinline__ unsigned int map_shared(unsigned int shared, unsigned int rank) { return simt_map_shared(shared, rank); }

__device__ __forceinline__ float load_cluster(unsigned int address) { return simt_load_cluster(address); }

__device__ __forceinline__ void store_cluster(unsigned int address, float value) { simt_store_cluster(address, value); }

#endif

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <int N>
__device__ __forceinline__ void increase_registers() {
    simt_set_registers(N, 1);
}

template <int N>
__device__ __forceinline__ void decrease_registers() {
    simt_set_registers(N, 0);
}

#endif
