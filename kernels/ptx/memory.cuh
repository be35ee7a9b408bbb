// Addresses, and loads and stores with a cache policy.
#pragma once

// cvta.to.shared: the 32-bit shared-memory address of a pointer into shared memory. To kernels it is an opaque handle:
// adding bytes to it is all they may do.
__device__ __forceinline__ unsigned int shared_address(const void* pointer) {
    unsigned int address;
    asm("{ .reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a; }" : "=r"(address) : "l"(pointer));
    return address;
}

// ld.global.nc.L1::no_allocate.v4.u32: 16 bytes that nobody writes during the launch and that are read once.
__device__ __forceinline__ uint4 load_streaming(const void* source) {
    uint4 value;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(source));
    return value;
}

// st.global.cs.v4.u32: 16 bytes that are not read again soon.
__device__ __forceinline__ void store_streaming(void* target, uint4 value) {
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(target), "r"(value.x), "r"(value.y), "r"(value.z),
                 "r"(value.w)
                 : "memory");
}

// prefetch.global.L2: the 128 bytes around an address into the second-level cache.
__device__ __forceinline__ void prefetch_global(const void* source) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(source) : "memory");
}

// fence.acq_rel.gpu: what this thread has written, or seen of others, comes before what it writes later by an atomic;
// and what it reads later comes behind an atomic that it has read. The atomic is this thread's own: other threads of
// the block have a barrier before or behind it. It is no fence.sc.
__device__ __forceinline__ void fence_device() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

// ld.shared.v2.f32 and ld.shared.v4.f32, st.shared.v2.f32 and st.shared.v4.f32: one access of 8 or 16 bytes. Here the
// compiler makes them from the types; the host's compiler would take the members one by one.
__device__ __forceinline__ float2 load_shared(const float2* source) { return *source; }

__device__ __forceinline__ float4 load_shared(const float4* source) { return *source; }

__device__ __forceinline__ void store_shared(float2* target, float2 value) { *target = value; }

__device__ __forceinline__ void store_shared(float4* target, float4 value) { *target = value; }
