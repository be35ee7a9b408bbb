// Host bodies of kernels/ptx/mbarrier.cuh.
#pragma once

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__device__ __forceinline__ void mbarrier_initialize(unsigned int barrier, unsigned int count) { simt_memory_barrier_initialize(barrier, count); }

__device__ __forceinline__ void mbarrier_invalidate(unsigned int barrier) { simt_memory_barrier_invalidate(barrier); }

__device__ __forceinline__ void fence_mbarrier_initialize() { simt_fence_memory_barriers(); }

__device__ __forceinline__ void fence_proxy_async() { simt_fence_proxy(); }

__device__ __forceinline__ void fence_proxy_async_global() { simt_fence_block(); }

__device__ __forceinline__ void mbarrier_arrive(unsigned int barrier) { simt_memory_barrier_arrive(barrier, 0); }

__device__ __forceinline__ void mbarrier_arrive_expect(unsigned int barrier, unsigned int bytes) { simt_memory_barrier_arrive(barrier, bytes); }

__device__ __forceinline__ void mbarrier_arrive_cluster(unsigned int barrier) { simt_memory_barrier_arrive(barrier, 0); }

__device__ __forceinline__ void mbarrier_arrive_cluster_reader(unsigned int barrier) { simt_memory_barrier_leave(barrier); }

__device__ __forceinline__ bool mbarrier_try_wait(unsigned int barrier, unsigned int parity) { return simt_memory_barrier_try_wait(barrier, parity) != 0; }

// Not a loop as on the GPU: a thread that sleeps shows a deadlock at once.
__device__ __forceinline__ void mbarrier_wait(unsigned int barrier, unsigned int parity) { simt_memory_barrier_wait(barrier, parity); }

#endif
