// The bulk copy engine (sm_90). Loads end on an mbarrier of this block, which must expect their bytes; stores end with
// their group.
// Coordinates count elements, the innermost dimension first; what lies outside of the tensor is read as zeros and not
// written.
#pragma once

// What cuTensorMapEncodeTiled makes; a kernel takes it as `const __grid_constant__ TensorMap map`.
struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// prefetch.tensormap
__device__ __forceinline__ void tma_prefetch(const TensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// cp.async.bulk.prefetch.tensor.3d: a box into the second-level cache.
__device__ __forceinline__ void tma_prefetch_3d(const TensorMap* map, int x, int y, int z) {
    asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(map), "r"(x), "r"(y),
                 "r"(z)
                 : "memory");
}

// cp.async.bulk.tensor.2d, global to shared.
__device__ __forceinline__ void tma_load_2d(unsigned int shared, const TensorMap* map, unsigned int barrier, int x,
                                            int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
        "[%2];" ::"r"(shared),
        "l"(map), "r"(barrier), "r"(x), "r"(y)
        : "memory");
}

// cp.async.bulk.tensor.3d, global to shared.
__device__ __forceinline__ void tma_load_3d(unsigned int shared, const TensorMap* map, unsigned int barrier, int x,
                                            int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
        "[%2];" ::"r"(shared),
        "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
        : "memory");
}

// cp.async.bulk.tensor.2d with multicast: to the same place in every block of the cluster named in `blocks`, ending on
// the barrier at the same place there.
__device__ __forceinline__ void tma_load_2d_multicast(unsigned int shared, const TensorMap* map, unsigned int barrier,
                                                      int x, int y, unsigned short blocks) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%3, %4}], [%2], %5;" ::"r"(shared),
        "l"(map), "r"(barrier), "r"(x), "r"(y), "h"(blocks)
        : "memory");
}

// cp.async.bulk.tensor.3d with multicast.
__device__ __forceinline__ void tma_load_3d_multicast(unsigned int shared, const TensorMap* map, unsigned int barrier,
                                                      int x, int y, int z, unsigned short blocks) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared),
        "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "h"(blocks)
        : "memory");
}

// cp.async.bulk: `bytes` (a multiple of 16) in a row, global to shared; both addresses 16-byte aligned.
__device__ __forceinline__ void bulk_load(unsigned int shared, const void* global, unsigned int bytes,
                                          unsigned int barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared),
        "l"(global), "r"(bytes), "r"(barrier)
        : "memory");
}

// cp.async.bulk.tensor.2d, shared to global.
__device__ __forceinline__ void tma_store_2d(const TensorMap* map, unsigned int shared, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared), "r"(x), "r"(y)
                 : "memory");
}

// cp.async.bulk: `bytes` (a multiple of 16) in a row, shared to global; both addresses 16-byte aligned.
__device__ __forceinline__ void bulk_store(void* global, unsigned int shared, unsigned int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared), "r"(bytes)
                 : "memory");
}

// cp.reduce.async.bulk: the same, added to the floats that are there.
__device__ __forceinline__ void bulk_add(float* global, unsigned int shared, unsigned int bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
                 "r"(shared), "r"(bytes)
                 : "memory");
}

// cp.async.bulk.commit_group: closes the group of this thread's stores.
__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// cp.async.bulk.wait_group.read: all but the newest N groups have read their shared memory, which may be written again.
template <int N>
__device__ __forceinline__ void tma_store_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

// cp.async.bulk.wait_group: all but the newest N groups are written.
template <int N>
__device__ __forceinline__ void tma_store_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}

#endif
