// The compiler's ThreadSanitizer instrumentation calls a function before every load and store that may leave the thread. Kernels
// are compiled with it and linked against the functions here instead of its own run-time library.
#include "access.hpp"

#include <cstring>

#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "memory.hpp"
#include "module.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "visibility.hpp"

namespace simt {

namespace {

const char* verb(Access access) {
    return access == Access::read ? "read" : access == Access::atomic ? "atomic update" : "write";
}

void shared_access(std::size_t position, const void* pointer, std::size_t bytes, Access access, const Site& site) {
    Worker& worker = *this_worker;
    const auto rank = static_cast<unsigned>(position / Worker::window_stride);
    const std::size_t offset = position % Worker::window_stride;
    const std::size_t size = worker.launch->shared_bytes;
    if (offset + bytes > size) {
        // Far above the end is just below the next window: an index below zero.
        const bool below = offset > Worker::window_stride / 2;
        fail_current(CUDA_ERROR_ILLEGAL_ADDRESS,
                     std::string("out-of-bounds ") + verb(access) + " of " + std::to_string(bytes) + " bytes of shared memory at " +
                         hexadecimal(pointer) + ": " +
                         (below ? std::to_string(Worker::window_stride - offset) + " bytes before the start"
                                : "offset " + std::to_string(offset)) +
                         " of the block's " + std::to_string(size) + " bytes",
                     site);
    }
    worker.shadow->touch(rank, static_cast<unsigned>(offset), static_cast<unsigned>(bytes), access, site);
}

[[noreturn]] void fail_global(const void* pointer, std::size_t bytes, Access access, const Site& site) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    const Allocation* allocation = memory().contains(address) ? memory().find(address) : nullptr;
    const bool freed = allocation != nullptr && allocation->freed && address - allocation->address < allocation->bytes;
    fail_current(CUDA_ERROR_ILLEGAL_ADDRESS,
                 std::string(freed ? "use after free: " : "out-of-bounds ") + verb(access) + " of " + std::to_string(bytes) + " bytes at " +
                     hexadecimal(pointer) + ", " + memory().describe(pointer),
                 site);
}

void global_access(std::uintptr_t address, std::size_t bytes, Access access, const Site& site) {
    Worker& worker = *this_worker;
    const Thread& thread = current_thread();
    if (worker.launch->dependent && !thread.waited)
        fail_current(CUDA_ERROR_LAUNCH_FAILED,
                     std::string(verb(access)) + " of global memory before grid_wait, in a kernel that was started beside the one before it", site);
    if (configuration().visibility) note_visibility(address, bytes, access, site);
    for (const Worker::CachedRange& range : worker.recent)
        if (address - range.low < range.bytes && bytes <= range.bytes - (address - range.low)) return;
    const Allocation* allocation = memory().find(address);
    if (allocation == nullptr || allocation->freed || address - allocation->address >= allocation->bytes ||
        bytes > allocation->bytes - (address - allocation->address))
        fail_global(reinterpret_cast<const void*>(address), bytes, access, site);
    worker.recent[worker.recent_next++ % worker.recent.size()] = {allocation->address, allocation->bytes};
}

void count_access(std::uintptr_t address, std::size_t bytes, Access access, const void* instruction) {
    const bool shared = address - reinterpret_cast<std::uintptr_t>(this_worker->shared_low) < this_worker->shared_bytes;
    if (!shared && !memory().contains(address)) return;  // constants of the module
    static constexpr TracedAccess::Kind kinds[2][3] = {{TracedAccess::global_load, TracedAccess::global_store, TracedAccess::global_atomic},
                                                       {TracedAccess::shared_load, TracedAccess::shared_store, TracedAccess::shared_atomic}};
    trace(instruction, address, bytes, kinds[shared][static_cast<int>(access)]);
}

void check_alignment(std::uintptr_t address, std::size_t bytes, std::size_t alignment, Access access, const Site& site) {
    if ((address & (alignment - 1)) == 0) return;
    fail_current(CUDA_ERROR_MISALIGNED_ADDRESS,
                 std::string("misaligned ") + verb(access) + " of " + std::to_string(bytes) + " bytes at " +
                     hexadecimal(reinterpret_cast<const void*>(address)) + ", which is not a multiple of " + std::to_string(alignment),
                 site);
}

}  // namespace

void check_access(const void* pointer, std::size_t bytes, std::size_t alignment, Access access, const Site& site) {
    Worker& worker = *this_worker;
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    if (address - reinterpret_cast<std::uintptr_t>(worker.stacks.low()) < worker.stacks.bytes()) return;  // local memory
    if (worker.counting) count_access(address, bytes, access, site.address);
    if (!configuration().checks) return;
    check_alignment(address, bytes, alignment, access, site);
    const auto position = address - reinterpret_cast<std::uintptr_t>(worker.shared_low);
    if (position < worker.shared_bytes) {
        shared_access(position, pointer, bytes, access, site);
    } else if (memory().contains(address)) {
        global_access(address, bytes, access, site);
    } else if (!worker.launch->kernel->module->contains(address)) {
        fail_global(pointer, bytes, access, site);
    }
}

void check_global(const void* pointer, std::size_t bytes, std::size_t alignment, Access access, const Site& site) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    if (!configuration().checks || bytes == 0) return;
    check_alignment(address, bytes, alignment, access, site);
    if (!memory().contains(address)) fail_global(pointer, bytes, access, site);
    global_access(address, bytes, access, site);
}

bool find_shared(const void* pointer, SharedPlace& place) {
    const Worker& worker = *this_worker;
    const auto position = reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(worker.shared_low);
    if (position >= worker.shared_bytes) return false;
    place.rank = static_cast<unsigned>(position / Worker::window_stride);
    place.offset = static_cast<unsigned>(position % Worker::window_stride);
    return true;
}

char* shared_pointer(std::uint32_t address, std::size_t bytes, std::size_t alignment, const char* what, const Site& site) {
    Worker& worker = *this_worker;
    const unsigned code = address >> 24;
    const unsigned rank = code == 0 ? current_thread().block->rank : code - 1;
    const std::size_t offset = address & 0xFFFFFF;
    if (rank >= worker.blocks.size() || offset + bytes > worker.launch->shared_bytes)
        fail_current(CUDA_ERROR_ILLEGAL_ADDRESS, std::string("out-of-bounds ") + what + " of " + std::to_string(bytes) + " bytes of shared memory at offset " +
                                                     std::to_string(offset) + " of the block's " + std::to_string(worker.launch->shared_bytes) + " bytes", site);
    if (offset % alignment != 0)
        fail_current(CUDA_ERROR_MISALIGNED_ADDRESS, std::string("misaligned ") + what + " at offset " + std::to_string(offset) +
                                                        " of shared memory, which is not a multiple of " + std::to_string(alignment), site);
    return worker.blocks[rank].shared + offset;
}

}  // namespace simt

using simt::Access;

namespace {

inline void instrumented(const void* pointer, std::size_t bytes, std::size_t alignment, Access access, const void* address) {
    if (simt::this_worker == nullptr) return;
    simt::check_access(pointer, bytes, alignment, access, simt::Site{address, nullptr, 0});
}

}  // namespace

#define SIMT_INSTRUMENTED(size)                                                                                         \
    SIMT_EXPORT void __tsan_read##size(void* pointer) {                                                                 \
        instrumented(pointer, size, size, Access::read, __builtin_return_address(0));                                   \
    }                                                                                                                   \
    SIMT_EXPORT void __tsan_write##size(void* pointer) {                                                                \
        instrumented(pointer, size, size, Access::write, __builtin_return_address(0));                                  \
    }                                                                                                                   \
    SIMT_EXPORT void __tsan_volatile_read##size(void* pointer) {                                                        \
        instrumented(pointer, size, size, Access::read, __builtin_return_address(0));                                   \
    }                                                                                                                   \
    SIMT_EXPORT void __tsan_volatile_write##size(void* pointer) {                                                       \
        instrumented(pointer, size, size, Access::write, __builtin_return_address(0));                                  \
    }                                                                                                                   \
    SIMT_EXPORT void __tsan_unaligned_read##size(void* pointer) {                                                       \
        instrumented(pointer, size, 1, Access::read, __builtin_return_address(0));                                      \
    }                                                                                                                   \
    SIMT_EXPORT void __tsan_unaligned_write##size(void* pointer) {                                                      \
        instrumented(pointer, size, 1, Access::write, __builtin_return_address(0));                                     \
    }

SIMT_INSTRUMENTED(1)
SIMT_INSTRUMENTED(2)
SIMT_INSTRUMENTED(4)
SIMT_INSTRUMENTED(8)
SIMT_INSTRUMENTED(16)

SIMT_EXPORT void __tsan_read_range(void* pointer, std::size_t bytes) {
    instrumented(pointer, bytes, 1, Access::read, __builtin_return_address(0));
}
SIMT_EXPORT void __tsan_write_range(void* pointer, std::size_t bytes) {
    instrumented(pointer, bytes, 1, Access::write, __builtin_return_address(0));
}
SIMT_EXPORT void* __tsan_memcpy(void* destination, const void* source, std::size_t bytes) {
    instrumented(source, bytes, 1, Access::read, __builtin_return_address(0));
    instrumented(destination, bytes, 1, Access::write, __builtin_return_address(0));
    return std::memcpy(destination, source, bytes);
}
SIMT_EXPORT void* __tsan_memset(void* destination, int value, std::size_t bytes) {
    instrumented(destination, bytes, 1, Access::write, __builtin_return_address(0));
    return std::memset(destination, value, bytes);
}
SIMT_EXPORT void __tsan_init() {}
SIMT_EXPORT void __tsan_func_entry(void*) {}
SIMT_EXPORT void __tsan_func_exit(void*) {}
SIMT_EXPORT void __tsan_vptr_update(void**, void*) {}
SIMT_EXPORT void __tsan_vptr_read(void**) {}
