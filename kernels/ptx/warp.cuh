// What the threads of a warp and of a block do together.
#pragma once

// shfl.sync.bfly.b32 over the whole warp: the value of lane (own lane ^ mask).
__device__ __forceinline__ float shuffle_xor(float value, int mask) {
    float result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(result) : "f"(value), "r"(mask));
    return result;
}

__device__ __forceinline__ int shuffle_xor(int value, int mask) {
    int result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(result) : "r"(value), "r"(mask));
    return result;
}

// shfl.sync.idx.b32 over the whole warp: the value of the given lane.
__device__ __forceinline__ float shuffle_index(float value, int lane) {
    float result;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=f"(result) : "f"(value), "r"(lane));
    return result;
}

__device__ __forceinline__ int shuffle_index(int value, int lane) {
    int result;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(result) : "r"(value), "r"(lane));
    return result;
}

// shfl.sync.up.b32 over the whole warp: the value of lane (own lane − delta); the own value where there is none.
__device__ __forceinline__ float shuffle_up(float value, int delta) {
    float result;
    asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, 0xffffffff;" : "=f"(result) : "f"(value), "r"(delta));
    return result;
}

__device__ __forceinline__ int shuffle_up(int value, int delta) {
    int result;
    asm volatile("shfl.sync.up.b32 %0, %1, %2, 0, 0xffffffff;" : "=r"(result) : "r"(value), "r"(delta));
    return result;
}

// vote.sync.ballot.b32 over the whole warp: bit i is lane i's predicate.
__device__ __forceinline__ unsigned int ballot(bool predicate) {
    unsigned int result;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xffffffff; }"
                 : "=r"(result)
                 : "r"((unsigned int)predicate));
    return result;
}

// bar.warp.sync over the whole warp.
__device__ __forceinline__ void synchronize_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// bar.sync 0: all threads of the block.
__device__ __forceinline__ void synchronize_block() { asm volatile("bar.sync 0;" ::: "memory"); }

// bar.sync: waits until `threads` threads (a multiple of 32) have come to barrier `id` (1 to 15; 0 is the block's).
__device__ __forceinline__ void synchronize_named(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// bar.arrive: comes to a named barrier without waiting.
__device__ __forceinline__ void arrive_named(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// %laneid
__device__ __forceinline__ int lane_index() {
    int lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}

// mov %tid.x: threadIdx.x, read anew each time. What is computed from it within a loop is then not kept in registers
// over the loop.
__device__ __forceinline__ int thread_index() {
    int index;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
    return index;
}
