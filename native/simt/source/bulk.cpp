// The bulk copy engine: loads that end on an mbarrier, stores that end with their group. Both read and write as late as they may.
#include "bulk.hpp"

#include <algorithm>
#include <cstring>

#include "access.hpp"
#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "memory_barrier.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "tensor_map.hpp"
#include "visibility.hpp"

namespace simt {

namespace {

constexpr unsigned tensor_alignment = 128;

SharedPlace check_place(unsigned address, unsigned bytes, unsigned alignment, const char* what, const Site& site) {
    SharedPlace place{};
    find_shared(shared_pointer(address, bytes, alignment, what, site), place);
    const Block& block = this_worker->blocks[place.rank];
    if (block.finished == block.threads)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + " into shared memory of block " + std::to_string(block.rank) + " of the cluster, which has returned", site);
    return place;
}

// Issues one load: its destination holds NaN and belongs to the engine until it arrives.
void issue_load(const SharedPlace& place, unsigned bytes, std::uint32_t barrier, std::function<void(char*)> fill, const Site& site) {
    Worker& worker = *this_worker;
    Warp& warp = *current_thread().warp;
    // An epoch of its own, so that whoever sees the barrier's phase end is ordered after this write and after nothing else.
    warp.epoch = ++worker.now;
    const std::uint32_t epoch = warp.epoch;
    if (configuration().checks) {
        worker.shadow->touch(place.rank, place.offset, bytes, Access::write, site, Proxy::asynchronous);
        worker.shadow->begin_fill(place.rank, place.offset, bytes, site);
    }
    warp.epoch = ++worker.now;
    std::memset(worker.blocks[place.rank].shared + place.offset, 0xFF, bytes);
    worker.counters.bulk_copies++;
    worker.counters.bulk_load_bytes += bytes;
    add_load(BulkLoad{place.rank, place.offset, bytes, barrier, std::move(fill), warp.slot, epoch, site});
}

EncodedTensorMap check_map(const void* pointer, unsigned rank, const char* what, const Site& site) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % 64 != 0)
        fail_current(CUDA_ERROR_MISALIGNED_ADDRESS, std::string(what) + ": the tensor map at " + hexadecimal(pointer) + " does not lie on a multiple of 64 bytes", site);
    EncodedTensorMap map;
    std::memcpy(&map, pointer, sizeof map);
    if (map.magic != EncodedTensorMap::mark)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + ": what lies at " + hexadecimal(pointer) + " was not made by cuTensorMapEncodeTiled", site);
    if (map.rank != rank)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + " with a tensor map of rank " + std::to_string(map.rank), site);
    return map;
}

void check_rows(const TensorBox& box, Access access, const Site& site) {
    box.rows([&](unsigned, unsigned, unsigned bytes, const char* global) { check_global(global, bytes, 1, access, site); });
}

// What a store writes is there when its wait has come, and no fence before that makes it visible.
void note_written(const void* global, std::size_t bytes, const Site& site) {
    if (configuration().visibility) note_visibility(reinterpret_cast<std::uintptr_t>(global), bytes, Access::write, site);
}

// Returns the bytes that it brings.
unsigned tensor_load(const void* pointer, unsigned rank, unsigned address, unsigned barrier, const std::array<int, 5>& coordinates,
                     const Site& site) {
    const TensorBox box(check_map(pointer, rank, "a tensor load", site), coordinates);
    const SharedPlace place = check_place(address, box.bytes(), tensor_alignment, "a tensor load", site);
    const std::uint32_t key = barrier_key(barrier, "a tensor load", site);
    check_rows(box, Access::read, site);
    issue_load(place, box.bytes(), key, [box, offset = place.offset](char* window) { box.load(window, offset); }, site);
    std::vector<PrefetchedBox>& prefetches = current_thread().block->prefetches;
    const auto is_this = [&](const PrefetchedBox& prefetched) {
        return std::equal(prefetched.coordinates.begin(), prefetched.coordinates.end(), coordinates.begin()) &&
               std::memcmp(prefetched.map.data(), pointer, prefetched.map.size()) == 0;
    };
    prefetches.erase(std::remove_if(prefetches.begin(), prefetches.end(), is_this), prefetches.end());
    return box.bytes();
}

void capture(BulkStore& store) {
    if (store.captured) return;
    Worker& worker = *this_worker;
    store.data = store.read(worker.blocks[store.rank].shared);
    store.captured = true;
    if (configuration().checks) worker.shadow->end_read(store.rank, store.offset, store.bytes);
}

void issue_store(BulkStore store) {
    Worker& worker = *this_worker;
    if (configuration().checks) {
        worker.shadow->touch(store.rank, store.offset, store.bytes, Access::read, store.site, Proxy::asynchronous);
        worker.shadow->begin_read(store.rank, store.offset, store.bytes, store.site);
    }
    worker.counters.bulk_copies++;
    worker.counters.bulk_store_bytes += store.bytes;
    if (!configuration().asynchronous_late) {
        capture(store);
        store.write(store.data);
        return;
    }
    current_thread().open_stores.push_back(std::move(store));
}

// Each sum is one step that no other thread's addition comes between; the order of several is whatever it happens to be.
void add_floats(float* target, const std::vector<char>& data) {
    for (std::size_t index = 0; index < data.size() / sizeof(float); index++) {
        float addend;
        std::memcpy(&addend, data.data() + index * sizeof addend, sizeof addend);
        auto* bits = reinterpret_cast<std::uint32_t*>(target + index);
        std::uint32_t seen = __atomic_load_n(bits, __ATOMIC_SEQ_CST), wanted;
        do {
            float sum;
            std::memcpy(&sum, &seen, sizeof sum);
            sum += addend;
            std::memcpy(&wanted, &sum, sizeof wanted);
        } while (!__atomic_compare_exchange_n(bits, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    }
}

void check_bulk_bytes(unsigned bytes, const char* what, const Site& site) {
    if (bytes == 0 || bytes % 16 != 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + " of " + std::to_string(bytes) + " bytes, not a positive multiple of 16", site);
}

}  // namespace

void finish_stores(Thread& thread) {
    if (!thread.open_stores.empty())
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "the thread returned without tma_store_commit for this store", thread.open_stores.front().site);
    for (auto& group : thread.committed_stores)
        for (BulkStore& store : group) {
            if (!store.captured)
                fail_current(CUDA_ERROR_LAUNCH_FAILED, "the thread returned while this store may still be reading shared memory: no tma_store_wait_read covers it", store.site);
            store.write(store.data);
        }
    thread.committed_stores.clear();
}

}  // namespace simt

using namespace simt;

SIMT_EXPORT void simt_tensor_prefetch(const void* map) {
    const Site site = call_site(__builtin_return_address(0));
    EncodedTensorMap decoded;
    std::memcpy(&decoded, map, sizeof decoded);
    check_map(map, decoded.rank, "prefetch.tensormap", site);
}

// There is no cache to fill, and nothing is read: it may come before grid_wait. The block must load the same box later.
SIMT_EXPORT void simt_tensor_prefetch_3d(const void* map, int x, int y, int z) {
    const Site site = call_site(__builtin_return_address(0));
    check_map(map, 3, "cp.async.bulk.prefetch.tensor", site);
    PrefetchedBox box{{}, {x, y, z}, site};
    std::memcpy(box.map.data(), map, box.map.size());
    current_thread().block->prefetches.push_back(box);
}

SIMT_EXPORT void simt_tensor_load_2d(unsigned shared, const void* map, unsigned barrier, int x, int y) {
    tensor_load(map, 2, shared, barrier, {x, y, 0, 0, 0}, call_site(__builtin_return_address(0)));
}

SIMT_EXPORT void simt_tensor_load_3d(unsigned shared, const void* map, unsigned barrier, int x, int y, int z) {
    tensor_load(map, 3, shared, barrier, {x, y, z, 0, 0}, call_site(__builtin_return_address(0)));
}

SIMT_EXPORT void simt_tensor_load_multicast(unsigned shared, const void* map, unsigned barrier, unsigned rank, int x, int y, int z,
                                            unsigned blocks) {
    const Site site = call_site(__builtin_return_address(0));
    const auto count = static_cast<unsigned>(this_worker->blocks.size());
    if (blocks == 0 || blocks >> count != 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "a multicast to blocks " + std::to_string(blocks) + " (one bit each) in a cluster of " + std::to_string(count), site);
    bool is_read = false;
    for (unsigned block = 0; block < count; block++) {
        if ((blocks >> block & 1) == 0) continue;
        const unsigned bytes =
            tensor_load(map, rank, (block + 1) << 24 | (shared & 0xFFFFFF), (block + 1) << 24 | (barrier & 0xFFFFFF), {x, y, z, 0, 0},
                        site);
        if (is_read) this_worker->counters.bulk_load_bytes -= bytes;  // memory is read once, whoever gets it
        is_read = true;
    }
}

SIMT_EXPORT void simt_bulk_load(unsigned shared, const void* global, unsigned bytes, unsigned barrier) {
    const Site site = call_site(__builtin_return_address(0));
    check_bulk_bytes(bytes, "a bulk load", site);
    const SharedPlace place = check_place(shared, bytes, 16, "a bulk load", site);
    const std::uint32_t key = barrier_key(barrier, "a bulk load", site);
    check_global(global, bytes, 16, Access::read, site);
    issue_load(place, bytes, key, [=](char* window) { std::memcpy(window + place.offset, global, bytes); }, site);
}

SIMT_EXPORT void simt_tensor_store_2d(const void* map, unsigned shared, int x, int y) {
    const Site site = call_site(__builtin_return_address(0));
    const TensorBox box(check_map(map, 2, "a tensor store", site), {x, y, 0, 0, 0});
    const SharedPlace place = check_place(shared, box.bytes(), tensor_alignment, "a tensor store", site);
    check_rows(box, Access::begun_write, site);
    issue_store(BulkStore{place.rank, place.offset, box.bytes(), [box, offset = place.offset](const char* window) { return box.read(window, offset); },
                          [box, site](const std::vector<char>& data) {
                              box.store(data);
                              box.rows([&](unsigned, unsigned, unsigned count, const char* global) { note_written(global, count, site); });
                          },
                          {}, false, site});
}

SIMT_EXPORT void simt_bulk_store(void* global, unsigned shared, unsigned bytes, int adds) {
    const Site site = call_site(__builtin_return_address(0));
    const char* const what = adds != 0 ? "a bulk addition" : "a bulk store";
    check_bulk_bytes(bytes, what, site);
    const SharedPlace place = check_place(shared, bytes, 16, what, site);
    if (adds != 0) check_global(global, bytes, 16, Access::read, site);
    check_global(global, bytes, 16, Access::begun_write, site);
    issue_store(BulkStore{place.rank, place.offset, bytes, [=](const char* window) { return std::vector<char>(window + place.offset, window + place.offset + bytes); },
                          [=](const std::vector<char>& data) {
                              if (adds != 0) add_floats(static_cast<float*>(global), data);
                              else std::memcpy(global, data.data(), bytes);
                              note_written(global, bytes, site);
                          },
                          {}, false, site});
}

SIMT_EXPORT void simt_bulk_store_commit() {
    Thread& thread = current_thread();
    thread.committed_stores.push_back(std::move(thread.open_stores));
    thread.open_stores.clear();
}

SIMT_EXPORT void simt_bulk_store_wait(int newest, int only_read) {
    auto& groups = current_thread().committed_stores;
    for (std::size_t index = 0; index + static_cast<std::size_t>(newest) < groups.size(); index++)
        for (BulkStore& store : groups[index]) capture(store);
    while (only_read == 0 && groups.size() > static_cast<std::size_t>(newest)) {
        for (const BulkStore& store : groups.front()) store.write(store.data);
        groups.pop_front();
    }
}
