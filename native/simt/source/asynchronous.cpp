// Asynchronous copies of a thread (cp.async): issued into groups, complete when a wait covers them, and hold NaN until then.
#include <cstring>

#include "access.hpp"
#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "scheduler.hpp"

namespace simt {

namespace {

void perform(const PendingCopy& copy, bool was_pending) {
    Worker& worker = *this_worker;
    SharedPlace place{};
    find_shared(copy.destination, place);
    if (configuration().checks) {
        if (was_pending) worker.shadow->end_fill(place.rank, place.offset, copy.bytes);
        worker.shadow->touch(place.rank, place.offset, copy.bytes, Access::write, copy.site);
    }
    std::memcpy(copy.destination, copy.source, copy.source_bytes);
    std::memset(copy.destination + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT void simt_copy_async(unsigned shared, const void* global, int bytes, int source_bytes) {
    const Site site = call_site(__builtin_return_address(0));
    if (source_bytes < 0 || source_bytes > bytes)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "cp.async of " + std::to_string(source_bytes) + " bytes into " + std::to_string(bytes), site);
    const auto size = static_cast<unsigned>(bytes);
    PendingCopy copy{shared_pointer(shared, size, size, "cp.async", site), static_cast<const char*>(global), size,
                     static_cast<unsigned>(source_bytes), site};
    check_global(global, copy.source_bytes, size, Access::read, site);
    if (this_worker->counting) {
        if (copy.source_bytes > 0) trace(site.address, reinterpret_cast<std::uintptr_t>(global), copy.source_bytes, TracedAccess::global_load);
        trace(site.address, reinterpret_cast<std::uintptr_t>(copy.destination), size, TracedAccess::shared_store);
    }
    if (!configuration().asynchronous_late) {
        perform(copy, false);
        return;
    }
    if (configuration().checks) {
        SharedPlace place{};
        find_shared(copy.destination, place);
        this_worker->shadow->touch(place.rank, place.offset, size, Access::write, site);
        this_worker->shadow->begin_fill(place.rank, place.offset, size, site);
    }
    std::memset(copy.destination, 0xFF, size);
    current_thread().open_copies.push_back(copy);
}

SIMT_EXPORT void simt_copy_async_commit() {
    Thread& thread = current_thread();
    thread.committed_copies.push_back(std::move(thread.open_copies));
    thread.open_copies.clear();
}

SIMT_EXPORT void simt_copy_async_wait(int newest) {
    Thread& thread = current_thread();
    while (thread.committed_copies.size() > static_cast<std::size_t>(newest)) {
        for (const PendingCopy& copy : thread.committed_copies.front()) perform(copy, true);
        thread.committed_copies.pop_front();
    }
}
