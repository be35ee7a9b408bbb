// Included before every kernel that the emulator compiles: what the CUDA C++ language and its built-in functions give a kernel,
// for the host's C++ compiler. Instructions have their bodies in ptx/*.cuh; both call the emulator through the functions declared here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SKYLIGHT_SIMT 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1

#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))

// __global__ and __launch_bounds__ stay words until the emulator's NVRTC has found the entry points in the preprocessed text.

struct uint3 { unsigned int x, y, z; };
struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define SIMT_VECTORS(type, name)                                                                                           \
    struct name##1 { type x; };                                                                                            \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                                               \
    struct name##3 { type x, y, z; };                                                                                      \
    struct alignas(sizeof(type) >= 8 ? 16 : 4 * sizeof(type)) name##4 { type x, y, z, w; };                                \
    inline constexpr name##2 make_##name##2(type x, type y) { return {x, y}; }                                             \
    inline constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                  \
    inline constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SIMT_VECTORS(signed char, char)
SIMT_VECTORS(unsigned char, uchar)
SIMT_VECTORS(short, short)
SIMT_VECTORS(unsigned short, ushort)
SIMT_VECTORS(int, int)
SIMT_VECTORS(long long, longlong)
SIMT_VECTORS(unsigned long long, ulonglong)
SIMT_VECTORS(float, float)
SIMT_VECTORS(double, double)
#undef SIMT_VECTORS
struct uint1 { unsigned int x; };
struct alignas(8) uint2 { unsigned int x, y; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
inline constexpr uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
inline constexpr uint3 make_uint3(unsigned int x, unsigned int y, unsigned int z) { return {x, y, z}; }
inline constexpr uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }

// The emulator's side. Values pass by value, so that a kernel's registers stay registers.
extern "C" {
struct simt_words { unsigned int word[4]; };
struct simt_floats { float value[4]; };

uint3 simt_thread_index() noexcept __attribute__((const));
uint3 simt_block_index() noexcept __attribute__((const));
uint3 simt_block_extent() noexcept __attribute__((const));
uint3 simt_grid_extent() noexcept __attribute__((const));
unsigned char* simt_shared_memory() noexcept __attribute__((const));
unsigned int simt_shared_address(const void* pointer);

void simt_synchronize_block(const char* file, int line);
int simt_vote_block(int vote, int predicate, const char* file, int line);
void simt_barrier(int number, int threads, int wait);
void simt_synchronize_warp(unsigned int mask);
unsigned int simt_shuffle(int kind, unsigned int value, int operand, int width, unsigned int mask);
unsigned int simt_ballot(int predicate, unsigned int mask);
unsigned int simt_active_mask();
unsigned int simt_match(unsigned int value, unsigned int mask);
unsigned int simt_reduce(int kind, unsigned int value, unsigned int mask);

simt_floats simt_mma_m16n8k16(unsigned int a0, unsigned int a1, unsigned int a2, unsigned int a3, unsigned int b0, unsigned int b1, float d0,
                              float d1, float d2, float d3);
simt_words simt_load_matrix(unsigned int shared, int count, int transposed);
void simt_store_matrix(unsigned int shared, unsigned int r0, unsigned int r1, unsigned int r2, unsigned int r3);

void simt_copy_async(unsigned int shared, const void* global, int bytes, int source_bytes);
void simt_copy_async_commit();
void simt_copy_async_wait(int newest);

unsigned int simt_cluster_rank();
unsigned int simt_cluster_size();
void simt_cluster_arrive(int relaxed);
void simt_cluster_wait();
unsigned int simt_map_shared(unsigned int shared, unsigned int rank);
float simt_load_cluster(unsigned int address);
void simt_store_cluster(unsigned int address, float value);
void simt_set_registers(int registers, int increase);

void simt_memory_barrier_initialize(unsigned int barrier, unsigned int count);
void simt_memory_barrier_invalidate(unsigned int barrier);
void simt_memory_barrier_arrive(unsigned int barrier, unsigned int bytes);
void simt_memory_barrier_leave(unsigned int barrier);
int simt_memory_barrier_try_wait(unsigned int barrier, unsigned int parity);
void simt_memory_barrier_wait(unsigned int barrier, unsigned int parity);
void simt_fence_memory_barriers();
void simt_fence_proxy();

void simt_tensor_prefetch(const void* map);
void simt_tensor_prefetch_3d(const void* map, int x, int y, int z);
void simt_tensor_load_2d(unsigned int shared, const void* map, unsigned int barrier, int x, int y);
void simt_tensor_load_3d(unsigned int shared, const void* map, unsigned int barrier, int x, int y, int z);
void simt_tensor_load_multicast(unsigned int shared, const void* map, unsigned int barrier, unsigned int rank, int x, int y, int z,
                                unsigned int blocks);
void simt_bulk_load(unsigned int shared, const void* global, unsigned int bytes, unsigned int barrier);
void simt_tensor_store_2d(const void* map, unsigned int shared, int x, int y);
void simt_bulk_store(void* global, unsigned int shared, unsigned int bytes, int adds);
void simt_bulk_store_commit();
void simt_bulk_store_wait(int newest, int only_read);

void simt_warpgroup_product(float* d, int columns, const unsigned int* a, unsigned long long a_descriptor, unsigned long long b_descriptor,
                            int accumulate, int transpose_a, int transpose_b);
void simt_warpgroup_fence();
void simt_warpgroup_commit();
void simt_warpgroup_wait(int newest, const void* const* named, const unsigned long* bytes, int count);

unsigned int simt_atomic_32(int kind, unsigned int* target, unsigned int value, unsigned int compare);
unsigned long long simt_atomic_64(int kind, unsigned long long* target, unsigned long long value, unsigned long long compare);
float simt_atomic_add_float(float* target, float value);
void simt_fence();
void simt_fence_block();
void simt_grid_wait();
void simt_grid_launch_dependents();
void simt_yield();
[[noreturn]] void simt_trap();

int printf(const char* format, ...);
}

#define threadIdx (simt_thread_index())
#define blockIdx (simt_block_index())
#define blockDim (simt_block_extent())
#define gridDim (simt_grid_extent())
#define warpSize 32

namespace simt {

inline unsigned char* shared_memory() { return simt_shared_memory(); }

enum Vote { vote_count, vote_all, vote_any };
enum Shuffle { shuffle_index, shuffle_up, shuffle_down, shuffle_xor };
enum Atomic { atomic_add, atomic_exchange, atomic_compare_exchange, atomic_minimum, atomic_maximum, atomic_and, atomic_or, atomic_xor,
              atomic_minimum_signed, atomic_maximum_signed };

// The bits of one type as another of the same size.
template <class To, class From>
__forceinline__ To cast(From value) {
    static_assert(sizeof(To) == sizeof(From), "");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}

template <unsigned long... index>
struct Indices {};

// Count<3>::type is Indices<0, 1, 2>.
template <unsigned long count, unsigned long... index>
struct Count : Count<count - 1, count - 1, index...> {};
template <unsigned long... index>
struct Count<0, index...> {
    using type = Indices<index...>;
};

constexpr unsigned long first(unsigned long value, unsigned long = 0, unsigned long = 0) { return value; }

// Unpacks the parameters of a launch for a kernel entry point.
template <class Function>
struct Entry;

template <class... Parameters>
struct Entry<void (*)(Parameters...)> {
    static constexpr unsigned long count = sizeof...(Parameters);
    static constexpr unsigned long bytes[count + 1] = {sizeof(Parameters)..., 0};

    template <void (*function)(Parameters...), unsigned long... index>
    __attribute__((no_sanitize_thread)) static void call(void** parameters, Indices<index...>) {
        function(*static_cast<Parameters*>(parameters[index])...);
    }

    template <void (*function)(Parameters...)>
    __attribute__((no_sanitize_thread)) static void invoke(void** parameters) {
        call<function>(parameters, typename Count<count>::type());
    }
};

// One row of the table by which the emulator finds the entry points of a compiled kernel.
struct EntryRow {
    const char* name;
    void (*invoke)(void** parameters);
    const unsigned long* parameter_bytes;
    unsigned long parameter_count;
    unsigned long maximum_threads;  // from __launch_bounds__; 0 when there are none
};

}  // namespace simt

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { simt_synchronize_block(file, line); }
inline int __syncthreads_count(int predicate, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return simt_vote_block(simt::vote_count, predicate, file, line);
}
inline int __syncthreads_and(int predicate, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return simt_vote_block(simt::vote_all, predicate, file, line);
}
inline int __syncthreads_or(int predicate, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return simt_vote_block(simt::vote_any, predicate, file, line);
}
__forceinline__ void __syncwarp(unsigned int mask = 0xFFFFFFFFu) { simt_synchronize_warp(mask); }

template <class T>
__forceinline__ T __shfl_sync(unsigned int mask, T value, int lane, int width = 32) {
    return simt::cast<T>(simt_shuffle(simt::shuffle_index, simt::cast<unsigned int>(value), lane, width, mask));
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
    return simt::cast<T>(simt_shuffle(simt::shuffle_up, simt::cast<unsigned int>(value), (int)delta, width, mask));
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned int mask, T value, unsigned int delta, int width = 32) {
    return simt::cast<T>(simt_shuffle(simt::shuffle_down, simt::cast<unsigned int>(value), (int)delta, width, mask));
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned int mask, T value, int lanes, int width = 32) {
    return simt::cast<T>(simt_shuffle(simt::shuffle_xor, simt::cast<unsigned int>(value), lanes, width, mask));
}
__forceinline__ unsigned int __ballot_sync(unsigned int mask, int predicate) { return simt_ballot(predicate, mask); }
__forceinline__ int __any_sync(unsigned int mask, int predicate) { return simt_ballot(predicate, mask) != 0; }
__forceinline__ int __all_sync(unsigned int mask, int predicate) { return simt_ballot(predicate, mask) == mask; }
__forceinline__ unsigned int __activemask() { return simt_active_mask(); }

__forceinline__ void __threadfence() { simt_fence(); }
__forceinline__ void __threadfence_block() { simt_fence_block(); }
__forceinline__ void __threadfence_system() { simt_fence(); }
__forceinline__ void __nanosleep(unsigned int) { simt_yield(); }
__forceinline__ void __trap() { simt_trap(); }

#define SIMT_ATOMIC(name, kind, signed_kind)                                                                                    \
    __forceinline__ int name(int* target, int value) { return (int)simt_atomic_32(signed_kind, (unsigned int*)target, (unsigned int)value, 0); } \
    __forceinline__ unsigned int name(unsigned int* target, unsigned int value) { return simt_atomic_32(kind, target, value, 0); } \
    __forceinline__ unsigned long long name(unsigned long long* target, unsigned long long value) { return simt_atomic_64(kind, target, value, 0); }
SIMT_ATOMIC(atomicAdd, simt::atomic_add, simt::atomic_add)
SIMT_ATOMIC(atomicExch, simt::atomic_exchange, simt::atomic_exchange)
SIMT_ATOMIC(atomicMin, simt::atomic_minimum, simt::atomic_minimum_signed)
SIMT_ATOMIC(atomicMax, simt::atomic_maximum, simt::atomic_maximum_signed)
SIMT_ATOMIC(atomicAnd, simt::atomic_and, simt::atomic_and)
SIMT_ATOMIC(atomicOr, simt::atomic_or, simt::atomic_or)
SIMT_ATOMIC(atomicXor, simt::atomic_xor, simt::atomic_xor)
#undef SIMT_ATOMIC
__forceinline__ float atomicAdd(float* target, float value) { return simt_atomic_add_float(target, value); }
__forceinline__ float atomicExch(float* target, float value) {
    return simt::cast<float>(simt_atomic_32(simt::atomic_exchange, (unsigned int*)target, simt::cast<unsigned int>(value), 0));
}
__forceinline__ int atomicCAS(int* target, int compare, int value) {
    return (int)simt_atomic_32(simt::atomic_compare_exchange, (unsigned int*)target, (unsigned int)value, (unsigned int)compare);
}
__forceinline__ unsigned int atomicCAS(unsigned int* target, unsigned int compare, unsigned int value) {
    return simt_atomic_32(simt::atomic_compare_exchange, target, value, compare);
}
__forceinline__ unsigned long long atomicCAS(unsigned long long* target, unsigned long long compare, unsigned long long value) {
    return simt_atomic_64(simt::atomic_compare_exchange, target, value, compare);
}

template <class T>
__forceinline__ T __ldg(const T* source) { return *source; }
template <class T>
__forceinline__ T __ldcs(const T* source) { return *source; }
template <class T>
__forceinline__ T __ldcg(const T* source) { return *source; }
template <class T>
__forceinline__ void __stcs(T* target, T value) { *target = value; }
template <class T>
__forceinline__ void __stcg(T* target, T value) { *target = value; }

#include "simt_math.hpp"
