// Host bodies of kernels/ptx/memory.cuh.
#pragma once

__device__ __forceinline__ unsigned int shared_address(const void* pointer) { return simt_shared_address(pointer); }

__device__ __forceinline__ uint4 load_streaming(const void* source) { return *static_cast<const uint4*>(source); }

__device__ __forceinline__ void store_streaming(void* target, uint4 value) { *static_cast<uint4*>(target) = value; }

// There is no cache to fill, and nothing is read.
__device__ __forceinline__ void prefetch_global(const void* source) { (void)source; }

__device__ __forceinline__ void fence_device() { simt_fence(); }

namespace simt {

// Types of 8 and 16 bytes that the compiler accesses as a whole, so that the counters see one access and not one for each member.
typedef unsigned long long Whole8 __attribute__((may_alias));
__extension__ typedef unsigned __int128 Whole16 __attribute__((may_alias));

}  // namespace simt

__device__ __forceinline__ float2 load_shared(const float2* source) {
    return __builtin_bit_cast(float2, *reinterpret_cast<const simt::Whole8*>(source));
}

__device__ __forceinline__ float4 load_shared(const float4* source) {
    return __builtin_bit_cast(float4, *reinterpret_cast<const simt::Whole16*>(source));
}

__device__ __forceinline__ void store_shared(float2* target, float2 value) {
    *reinterpret_cast<simt::Whole8*>(target) = __builtin_bit_cast(unsigned long long, value);
}

__device__ __forceinline__ void store_shared(float4* target, float4 value) {
    *reinterpret_cast<simt::Whole16*>(target) = __builtin_bit_cast(simt::Whole16, value);
}
