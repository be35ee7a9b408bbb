// Barriers in shared memory that count arrivals and bytes (sm_90 forms). A barrier is 8 bytes, 8-byte aligned. A phase
// ends when the pending arrivals and the pending bytes are both zero; waiting names the parity (0, 1, 0, …) of the
// phase that must have ended.
#pragma once

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// mbarrier.init: `count` arrivals end a phase.
__device__ __forceinline__ void mbarrier_initialize(unsigned int barrier, unsigned int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

// mbarrier.inval
__device__ __forceinline__ void mbarrier_invalidate(unsigned int barrier) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// fence.mbarrier_init: makes initialised barriers known to the cluster and to the copy engine.
__device__ __forceinline__ void fence_mbarrier_initialize() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// fence.proxy.async: ordinary writes to shared memory before it are seen by tensor cores and the copy engine after it.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// fence.proxy.async of global memory: between what threads do there and what the copy engine does.
__device__ __forceinline__ void fence_proxy_async_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// mbarrier.arrive: one arrival.
__device__ __forceinline__ void mbarrier_arrive(unsigned int barrier) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0]; }" ::"r"(barrier) : "memory");
}

// mbarrier.arrive.expect_tx: one arrival, and `bytes` more that must come in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(unsigned int barrier, unsigned int bytes) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

// mbarrier.arrive on the barrier at the same place in another block of the cluster; the address comes from map_shared.
__device__ __forceinline__ void mbarrier_arrive_cluster(unsigned int barrier) {
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// The same for who has only read what others then overwrite, and has nothing that they must see: without a fence, which
// a release to the cluster is (MEMBAR of the whole card).
__device__ __forceinline__ void mbarrier_arrive_cluster_reader(unsigned int barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// mbarrier.try_wait.parity: whether the phase of that parity has ended; may wait a while.
__device__ __forceinline__ bool mbarrier_try_wait(unsigned int barrier, unsigned int parity) {
    unsigned int done;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done != 0;
}

// Waits until the phase of that parity has ended.
__device__ __forceinline__ void mbarrier_wait(unsigned int barrier, unsigned int parity) {
    while (!mbarrier_try_wait(barrier, parity)) {
    }
}

#endif
