// Host bodies of kernels/ptx/cp_async.cuh. A copy completes in the wait that covers it; until then its destination holds NaN.
#pragma once

__device__ __forceinline__ void cp_async_16(unsigned int shared, const void* global, int bytes = 16) { simt_copy_async(shared, global, 16, bytes); }

__device__ __forceinline__ void cp_async_16_if(unsigned int shared, const void* global, bool inside) {
    simt_copy_async(shared, global, 16, inside ? 16 : 0);
}

__device__ __forceinline__ void cp_async_4(unsigned int shared, const void* global, int bytes = 4) { simt_copy_async(shared, global, 4, bytes); }

__device__ __forceinline__ void cp_async_commit() { simt_copy_async_commit(); }

template <int N>
__device__ __forceinline__ void cp_async_wait() {
    simt_copy_async_wait(N);
}
