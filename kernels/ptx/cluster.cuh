// Thread block clusters (sm_90).
#pragma once

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// %cluster_ctarank: the number of this block in its cluster.
__device__ __forceinline__ unsigned int cluster_rank() {
    unsigned int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// %cluster_nctarank: the blocks of the cluster.
__device__ __forceinline__ unsigned int cluster_size() {
    unsigned int size;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}

// barrier.cluster.arrive: every thread of the cluster must do it, and then wait.
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

// The same without a fence: the cluster need only see what fence_mbarrier_initialize is behind.
__device__ __forceinline__ void cluster_arrive_relaxed() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

// barrier.cluster.wait
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// mapa: the address, in the cluster's shared memory, of the same place in block `rank`.
__device__ __forceinline__ unsigned int map_shared(unsigned int shared, unsigned int rank) {
    unsigned int address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
    return address;
}

// ld.shared::cluster.f32 at an address from map_shared.
__device__ __forceinline__ float load_cluster(unsigned int address) {
    float value;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
    return value;
}

// st.shared::cluster.f32 at an address from map_shared.
__device__ __forceinline__ void store_cluster(unsigned int address, float value) {
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

#endif

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// setmaxnreg.inc: all warps of a warpgroup take registers, up to N (a multiple of 8) per thread.
template <int N>
__device__ __forceinline__ void increase_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

// setmaxnreg.dec: all warps of a warpgroup give registers back, down to N.
template <int N>
__device__ __forceinline__ void decrease_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

#endif
