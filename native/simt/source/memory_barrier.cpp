#include "memory_barrier.hpp"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "access.hpp"
#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "synchronization.hpp"

namespace simt {

namespace {

constexpr unsigned barrier_bytes = 8;
constexpr long largest_count = (1 << 20) - 1;

std::uint64_t mark_of(std::uint32_t key) { return 0x5EEDBA1200000000ULL | key; }

char* place_of(std::uint32_t key) { return this_worker->blocks[key >> 24].shared + (key & 0xFFFFFF); }

// The key of a checked address; the access is noted in the shadow.
std::uint32_t touch(std::uint32_t address, Access access, const char* what, const Site& site) {
    char* pointer = shared_pointer(address, barrier_bytes, barrier_bytes, what, site);
    SharedPlace place{};
    find_shared(pointer, place);
    if (configuration().checks) this_worker->shadow->touch(place.rank, place.offset, barrier_bytes, access, site);
    return place.rank << 24 | place.offset;
}

MemoryBarrier& find(std::uint32_t key, const char* what, const Site& site) {
    const auto entry = this_worker->memory_barriers.find(key);
    const std::string name = std::string(what) + ": the 8 bytes at offset " + std::to_string(key & 0xFFFFFF) + " of shared memory";
    if (entry == this_worker->memory_barriers.end()) fail_current(CUDA_ERROR_LAUNCH_FAILED, name + " are no initialised mbarrier", site);
    std::uint64_t mark;
    std::memcpy(&mark, place_of(key), sizeof mark);
    if (mark != mark_of(key))
        fail_current(CUDA_ERROR_LAUNCH_FAILED, name + " were an mbarrier, initialised at " + describe(entry->second.initialized) + ", and have been overwritten", site);
    return entry->second;
}

// A barrier of another block of the cluster must still be there.
void check_block(std::uint32_t key, const char* what, const Site& site) {
    const Block& block = this_worker->blocks[key >> 24];
    if (block.finished == block.threads)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + " on shared memory of block " + std::to_string(block.rank) +
                                                   " of the cluster, which has returned", site);
}

void learn(Warp& warp, const MemoryBarrier& barrier) {
    acquire(warp, barrier.completed);
    join(warp.overwritable, barrier.left);
    warp.epoch = ++this_worker->now;
}

void end_phase_when_complete(MemoryBarrier& barrier) {
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    barrier.phase++;
    barrier.pending = barrier.count;
    barrier.completed = std::move(barrier.arriving);
    barrier.arriving.clear();
    barrier.left = std::move(barrier.leaving);
    barrier.leaving.clear();
    for (Thread* thread : barrier.waiting) {
        learn(*thread->warp, barrier);
        wake(*thread);
    }
    barrier.waiting.clear();
}

bool ended(const MemoryBarrier& barrier, unsigned parity) { return (barrier.phase & 1) != parity; }

void deliver(std::size_t index) {
    Worker& worker = *this_worker;
    const BulkLoad load = std::move(worker.bulk_loads[index]);
    worker.bulk_loads.erase(worker.bulk_loads.begin() + static_cast<std::ptrdiff_t>(index));
    if (configuration().checks) worker.shadow->end_fill(load.rank, load.offset, load.bytes);
    load.fill(worker.blocks[load.rank].shared);
    MemoryBarrier& barrier = worker.memory_barriers.at(load.barrier);
    if (barrier.arriving.empty()) barrier.arriving.resize(2 * worker.warps.size(), 0);
    barrier.arriving[load.warp] = std::max(barrier.arriving[load.warp], load.epoch);
    barrier.bytes -= load.bytes;
    end_phase_when_complete(barrier);
}

bool deliver_for(std::uint32_t key) {
    const auto& loads = this_worker->bulk_loads;
    for (std::size_t index = 0; index < loads.size(); index++)
        if (loads[index].barrier == key) {
            deliver(index);
            return true;
        }
    return false;
}

void arrive(std::uint32_t address, unsigned bytes, bool only_leaves, const char* what, const Site& site) {
    const std::uint32_t key = touch(address, Access::atomic, what, site);
    check_block(key, what, site);
    MemoryBarrier& barrier = find(key, what, site);
    if (barrier.pending == 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + ": more than the " + std::to_string(barrier.count) +
                                                   " arrivals that the mbarrier, initialised at " + describe(barrier.initialized) + ", expects in a phase", site);
    Warp& warp = *current_thread().warp;
    release(warp, only_leaves ? barrier.leaving : barrier.arriving);
    warp.epoch = ++this_worker->now;
    barrier.bytes += bytes;
    if (barrier.bytes > largest_count)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + ": " + std::to_string(barrier.bytes) + " bytes expected in one phase; an mbarrier counts to 2^20 - 1", site);
    barrier.pending--;
    end_phase_when_complete(barrier);
}

unsigned checked_parity(unsigned parity, const Site& site) {
    if (parity > 1) fail_current(CUDA_ERROR_LAUNCH_FAILED, "a wait for parity " + std::to_string(parity) + " of an mbarrier: it is 0 or 1", site);
    return parity;
}

void take_phase(const MemoryBarrier& barrier) {
    Thread& thread = current_thread();
    learn(*thread.warp, barrier);
    thread.idle_polls = 0;
}

}  // namespace

std::uint32_t barrier_key(std::uint32_t address, const char* what, const Site& site) {
    const std::uint32_t key = touch(address, Access::atomic, what, site);
    check_block(key, what, site);
    find(key, what, site);
    return key;
}

void add_load(BulkLoad load) {
    this_worker->bulk_loads.push_back(std::move(load));
    if (!configuration().asynchronous_late) deliver(this_worker->bulk_loads.size() - 1);
}

bool deliver_awaited_load() {
    Worker& worker = *this_worker;
    for (std::size_t index = 0; index < worker.bulk_loads.size(); index++)
        if (!worker.memory_barriers.at(worker.bulk_loads[index].barrier).waiting.empty()) {
            deliver(index);
            return true;
        }
    return false;
}

std::string describe_memory_barriers(const Worker& worker) {
    std::ostringstream text;
    for (const auto& [key, barrier] : worker.memory_barriers) {
        if (barrier.waiting.empty()) continue;
        text << "\n  the mbarrier at offset " << (key & 0xFFFFFF);
        if (worker.blocks.size() > 1) text << " of block " << (key >> 24) << " of the cluster";
        text << ", initialised at " << describe(barrier.initialized) << ", has had " << barrier.count - barrier.pending << " of " << barrier.count
             << " arrivals in phase " << barrier.phase << " and misses " << barrier.bytes << " bytes";
    }
    return text.str();
}

}  // namespace simt

using namespace simt;

SIMT_EXPORT void simt_memory_barrier_initialize(unsigned address, unsigned count) {
    const Site site = call_site(__builtin_return_address(0));
    if (count == 0 || count > largest_count)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "mbarrier.init for " + std::to_string(count) + " arrivals: 1 to 2^20 - 1 are possible", site);
    const std::uint32_t key = touch(address, Access::write, "mbarrier.init", site);
    MemoryBarrier barrier;
    barrier.count = count;
    barrier.pending = count;
    barrier.initialized = site;
    if (!this_worker->memory_barriers.emplace(key, barrier).second)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "mbarrier.init of an mbarrier that is in use: invalidate it first", site);
    const std::uint64_t mark = mark_of(key);
    std::memcpy(place_of(key), &mark, sizeof mark);
}

SIMT_EXPORT void simt_memory_barrier_invalidate(unsigned address) {
    const Site site = call_site(__builtin_return_address(0));
    const std::uint32_t key = touch(address, Access::write, "mbarrier.inval", site);
    const MemoryBarrier& barrier = find(key, "mbarrier.inval", site);
    for (const BulkLoad& load : this_worker->bulk_loads)
        if (load.barrier == key) fail_current(CUDA_ERROR_LAUNCH_FAILED, "mbarrier.inval while the copy issued at " + describe(load.site) + " has not arrived", site);
    if (!barrier.waiting.empty()) fail_current(CUDA_ERROR_LAUNCH_FAILED, "mbarrier.inval while threads wait at it", site);
    this_worker->memory_barriers.erase(key);
    std::memset(place_of(key), 0xFF, barrier_bytes);
}

SIMT_EXPORT void simt_memory_barrier_arrive(unsigned address, unsigned bytes) {
    arrive(address, bytes, false, bytes == 0 ? "mbarrier.arrive" : "mbarrier.arrive.expect_tx", call_site(__builtin_return_address(0)));
}

SIMT_EXPORT void simt_memory_barrier_leave(unsigned address) {
    arrive(address, 0, true, "mbarrier.arrive", call_site(__builtin_return_address(0)));
}

// One look at the barrier, after the other threads have had their turn.
SIMT_EXPORT int simt_memory_barrier_try_wait(unsigned address, unsigned parity) {
    const Site site = call_site(__builtin_return_address(0));
    checked_parity(parity, site);
    const std::uint32_t key = touch(address, Access::atomic, "mbarrier.try_wait", site);
    if (!ended(find(key, "mbarrier.try_wait", site), parity)) {
        yield_current("mbarrier.try_wait", site);
        while (!ended(find(key, "mbarrier.try_wait", site), parity) && deliver_for(key)) {
        }
        // A thread that polls must not keep the copies of those that wait from arriving.
        if (current_thread().idle_polls % 64 == 63) deliver_awaited_load();
    }
    const MemoryBarrier& barrier = find(key, "mbarrier.try_wait", site);
    if (!ended(barrier, parity)) return 0;
    take_phase(barrier);
    return 1;
}

// The loop of try_wait that everybody writes: the thread sleeps instead, so that a phase that never ends is seen at once.
SIMT_EXPORT void simt_memory_barrier_wait(unsigned address, unsigned parity) {
    const Site site = call_site(__builtin_return_address(0));
    checked_parity(parity, site);
    const std::uint32_t key = touch(address, Access::atomic, "mbarrier_wait", site);
    MemoryBarrier& barrier = find(key, "mbarrier_wait", site);
    if (ended(barrier, parity)) {
        take_phase(barrier);
        return;
    }
    barrier.waiting.push_back(&current_thread());
    block_current("mbarrier_wait", site);
}

SIMT_EXPORT void simt_fence_memory_barriers() {
    Warp& warp = *current_thread().warp;
    warp.barriers_fenced = warp.epoch;
    warp.epoch = ++this_worker->now;
}

SIMT_EXPORT void simt_fence_proxy() {
    Worker& worker = *this_worker;
    Warp& warp = *current_thread().warp;
    const std::size_t warps = worker.warps.size();
    for (std::size_t index = 0; index < warps; index++) warp.known[warps + index] = std::max(warp.known[warps + index], warp.known[index]);
    warp.known[warps + warp.slot] = warp.epoch;
    warp.epoch = ++worker.now;
}
