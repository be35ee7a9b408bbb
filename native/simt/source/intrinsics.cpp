// The built-in variables and functions of CUDA C++ that need the emulator: indices, votes, shuffles, barriers, atomics.
#include <atomic>
#include <cstring>

#include "access.hpp"
#include "cuda_abi.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "synchronization.hpp"
#include "visibility.hpp"

namespace simt {

namespace {

struct Index {
    unsigned x, y, z;
};
Index index_of(const Dim3& value) { return {value.x, value.y, value.z}; }

struct Shuffle {
    int kind;  // as in simt.hpp: 0 index, 1 up, 2 down, 3 xor
    unsigned value;
    int operand;
    int width;
    unsigned result;
    bool outside;
};

void compute_shuffle(void* const* arguments, std::uint32_t mask) {
    for (int lane = 0; lane < 32; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        auto& mine = *static_cast<Shuffle*>(arguments[lane]);
        const int segment = lane / mine.width * mine.width;
        int source = lane;
        switch (mine.kind) {
            case 0: source = segment + (mine.operand & (mine.width - 1)); break;
            case 1: source = lane - mine.operand < segment ? lane : lane - mine.operand; break;
            case 2: source = lane + mine.operand >= segment + mine.width ? lane : lane + mine.operand; break;
            default: source = (lane ^ mine.operand) >= segment + mine.width ? lane : lane ^ mine.operand; break;
        }
        mine.outside = (mask >> source & 1) == 0;
        mine.result = mine.outside ? 0xFFFFFFFFu : static_cast<Shuffle*>(arguments[source])->value;
    }
}

struct Ballot {
    unsigned value;
    unsigned result;
};

void compute_ballot(void* const* arguments, std::uint32_t mask) {
    unsigned result = 0;
    for (int lane = 0; lane < 32; lane++)
        if ((mask >> lane & 1) != 0 && static_cast<Ballot*>(arguments[lane])->value != 0) result |= 1u << lane;
    for (int lane = 0; lane < 32; lane++)
        if ((mask >> lane & 1) != 0) static_cast<Ballot*>(arguments[lane])->result = result;
}

template <class T>
T update(int kind, T* target, T value, T compare) {
    using Signed = std::make_signed_t<T>;
    switch (kind) {
        case 0: return __atomic_fetch_add(target, value, __ATOMIC_SEQ_CST);
        case 1: return __atomic_exchange_n(target, value, __ATOMIC_SEQ_CST);
        case 2:
            __atomic_compare_exchange_n(target, &compare, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
            return compare;
        case 5: return __atomic_fetch_and(target, value, __ATOMIC_SEQ_CST);
        case 6: return __atomic_fetch_or(target, value, __ATOMIC_SEQ_CST);
        case 7: return __atomic_fetch_xor(target, value, __ATOMIC_SEQ_CST);
        default: break;
    }
    T seen = __atomic_load_n(target, __ATOMIC_SEQ_CST);
    for (;;) {
        T wanted = seen;
        if (kind == 3) wanted = std::min(seen, value);
        if (kind == 4) wanted = std::max(seen, value);
        if (kind == 8) wanted = static_cast<T>(std::min(static_cast<Signed>(seen), static_cast<Signed>(value)));
        if (kind == 9) wanted = static_cast<T>(std::max(static_cast<Signed>(seen), static_cast<Signed>(value)));
        if (__atomic_compare_exchange_n(target, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return seen;
    }
}

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT Index simt_thread_index() { return index_of(current_thread().index); }
SIMT_EXPORT Index simt_block_index() { return index_of(current_thread().block->index); }
SIMT_EXPORT Index simt_block_extent() { return index_of(this_worker->launch->block); }
SIMT_EXPORT Index simt_grid_extent() { return index_of(this_worker->launch->grid); }
SIMT_EXPORT unsigned char* simt_shared_memory() { return reinterpret_cast<unsigned char*>(current_thread().block->shared); }

SIMT_EXPORT unsigned simt_shared_address(const void* pointer) {
    const Site site = call_site(__builtin_return_address(0));
    SharedPlace place;
    if (!find_shared(pointer, place))
        fail_current(CUDA_ERROR_INVALID_ADDRESS_SPACE, "shared_address of " + hexadecimal(pointer) + ", which does not point into shared memory", site);
    if (place.rank == current_thread().block->rank) return place.offset;
    return (place.rank + 1) << 24 | place.offset;
}

SIMT_EXPORT void simt_synchronize_block(const char* file, int line) {
    arrive_at_barrier(0, 0, Arrival::wait, true, "__syncthreads", Site{__builtin_return_address(0), file, line});
}

SIMT_EXPORT int simt_vote_block(int vote, int predicate, const char* file, int line) {
    return vote_at_barrier(static_cast<Vote>(vote), predicate != 0, "__syncthreads", Site{__builtin_return_address(0), file, line});
}

SIMT_EXPORT void simt_barrier(int number, int threads, int wait) {
    const Site site = call_site(__builtin_return_address(0));
    if (number < 0 || threads < 0) fail_current(CUDA_ERROR_LAUNCH_FAILED, "a barrier with a negative number or count", site);
    arrive_at_barrier(static_cast<unsigned>(number), static_cast<unsigned>(threads), wait != 0 ? Arrival::wait : Arrival::leave, false,
                      wait != 0 ? "bar.sync" : "bar.arrive", site);
}

SIMT_EXPORT void simt_synchronize_warp(unsigned mask) {
    collective("__syncwarp", mask, nullptr, nullptr, call_site(__builtin_return_address(0)));
}

SIMT_EXPORT unsigned simt_shuffle(int kind, unsigned value, int operand, int width, unsigned mask) {
    const Site site = call_site(__builtin_return_address(0));
    if (width < 1 || width > 32 || (width & (width - 1)) != 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "a shuffle of width " + std::to_string(width) + ", which is not 1, 2, 4, 8, 16 or 32", site);
    Shuffle shuffle{kind, value, operand, width, 0, false};
    collective("shfl.sync", mask, &shuffle, compute_shuffle, site);
    if (shuffle.outside) fail_current(CUDA_ERROR_LAUNCH_FAILED, "a shuffle reads a lane that its mask does not name", site);
    return shuffle.result;
}

SIMT_EXPORT unsigned simt_ballot(int predicate, unsigned mask) {
    Ballot ballot{predicate != 0 ? 1u : 0u, 0};
    collective("vote.sync", mask, &ballot, compute_ballot, call_site(__builtin_return_address(0)));
    return ballot.result;
}

// Which lanes run together is up to the hardware; the lanes that have not returned is one legal answer only where all of them come
// here, so this one says the truth about a fiber: it runs alone.
SIMT_EXPORT unsigned simt_active_mask() { return 1u << current_thread().lane; }

SIMT_EXPORT unsigned simt_atomic_32(int kind, unsigned* target, unsigned value, unsigned compare) {
    check_access(target, 4, 4, Access::atomic, call_site(__builtin_return_address(0)));
    const unsigned before = update<unsigned>(kind, target, value, compare);
    finish_atomic(target);
    return before;
}

SIMT_EXPORT unsigned long long simt_atomic_64(int kind, unsigned long long* target, unsigned long long value, unsigned long long compare) {
    check_access(target, 8, 8, Access::atomic, call_site(__builtin_return_address(0)));
    const unsigned long long before = update<unsigned long long>(kind, target, value, compare);
    finish_atomic(target);
    return before;
}

SIMT_EXPORT float simt_atomic_add_float(float* target, float value) {
    check_access(target, 4, 4, Access::atomic, call_site(__builtin_return_address(0)));
    auto* bits = reinterpret_cast<unsigned*>(target);
    unsigned seen = __atomic_load_n(bits, __ATOMIC_SEQ_CST);
    for (;;) {
        float old;
        std::memcpy(&old, &seen, sizeof old);
        const float sum = old + value;
        unsigned wanted;
        std::memcpy(&wanted, &sum, sizeof wanted);
        if (__atomic_compare_exchange_n(bits, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            finish_atomic(target);
            return old;
        }
    }
}

SIMT_EXPORT void simt_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    fence_visibility();
}

// What orders accesses within a block, and shows other blocks nothing.
SIMT_EXPORT void simt_fence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

SIMT_EXPORT void simt_grid_wait() { current_thread().waited = true; }

SIMT_EXPORT void simt_grid_launch_dependents() {
    if (this_worker->launch->dependent && !current_thread().waited)
        fail_current(CUDA_ERROR_LAUNCH_FAILED,
                     "grid_launch_dependents before grid_wait: the kernel after this one would wait for this one, and not for the one before it",
                     call_site(__builtin_return_address(0)));
}
SIMT_EXPORT void simt_yield() { yield_current("a polling loop", call_site(__builtin_return_address(0))); }
SIMT_EXPORT void simt_trap() { fail_current(CUDA_ERROR_LAUNCH_FAILED, "the kernel stopped itself with __trap()", call_site(__builtin_return_address(0))); }
