// Host bodies of kernels/ptx/memory.cuh.
#pragma once

__device__ __forceinline__ unsigned int shared_address(const void* pointer) { return simt_shared_address(pointer); }

__device__ __forceinline__ uint4 load_streaming(const void* source) { return *static_cast<const uint4*>(source); }

__device__ __forceinline__ void store_streaming(void* target, uint4 value) { *static_cast<uint4*>(target) = value; }

__device__ __forceinline__ void fence_device() { simt_fence(); }
