// Asynchronous copies from global to shared memory (sm_80). Nothing has arrived before the wait that covers it, and
// then only for the thread that waits: a barrier makes it visible to others.
#pragma once

// cp.async.cg.shared.global: 16 bytes, past the first-level cache; of them `bytes` (0 to 16) are read, the rest is
// zeros.
__device__ __forceinline__ void cp_async_16(unsigned int shared, const void* global, int bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

// The same with ignore-src: 16 bytes of zeros unless `inside`. One predicate says so, where a count of bytes takes four
// instructions.
__device__ __forceinline__ void cp_async_16_if(unsigned int shared, const void* global, bool inside) {
    asm volatile("{ .reg .pred p; setp.eq.u32 p, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, p; }" ::"r"(shared),
                 "l"(global), "r"((unsigned int)inside)
                 : "memory");
}

// cp.async.ca.shared.global: 4 bytes; of them `bytes` (0 to 4) are read, the rest is zeros.
__device__ __forceinline__ void cp_async_4(unsigned int shared, const void* global, int bytes = 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

// cp.async.commit_group: closes the group of this thread's copies so far.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// cp.async.wait_group: waits until all but the newest N groups have arrived.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
