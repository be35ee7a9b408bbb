// Clusters: their barrier, each other's shared memory, and the registers that warpgroups hand over.
#include "cluster.hpp"

#include <algorithm>

#include "access.hpp"
#include "cuda_abi.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "synchronization.hpp"

namespace simt {

namespace {

void end_phase_when_complete() {
    Worker& worker = *this_worker;
    Barrier& barrier = worker.cluster_barrier;
    if (barrier.arrived == 0 || barrier.arrived < worker.live) return;
    worker.cluster_phase++;
    worker.counters.barriers++;
    barrier.arrived = 0;
    worker.cluster_completed = std::move(barrier.released);
    barrier.released.clear();
    for (Thread* thread : barrier.waiting) wake(*thread);
    barrier.waiting.clear();
}

char* remote(unsigned address, Access access, const char* what, const Site& site) {
    char* pointer = shared_pointer(address, 4, 4, what, site);
    SharedPlace place{};
    find_shared(pointer, place);
    const Block& block = this_worker->blocks[place.rank];
    if (block.finished == block.threads)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(what) + " of shared memory of block " + std::to_string(block.rank) +
                                                   " of the cluster, which has returned: a cluster barrier must keep it alive", site);
    check_access(pointer, 4, 4, access, site);
    return pointer;
}

struct RegisterChange {
    int registers;
    bool increase;
};

void change_registers(void* const* arguments, std::uint32_t) {
    const auto& change = *static_cast<const RegisterChange*>(arguments[0]);
    Block& block = *current_thread().block;
    block.register_limits[current_thread().number / 128] = static_cast<unsigned>(change.registers);
}

}  // namespace

void cluster_thread_finished() { end_phase_when_complete(); }

}  // namespace simt

using namespace simt;

SIMT_EXPORT unsigned simt_cluster_rank() { return current_thread().block->rank; }
SIMT_EXPORT unsigned simt_cluster_size() { return static_cast<unsigned>(this_worker->blocks.size()); }

SIMT_EXPORT void simt_cluster_arrive(int relaxed) {
    const Site site = call_site(__builtin_return_address(0));
    Thread& thread = current_thread();
    Worker& worker = *this_worker;
    if (thread.arrived_at_cluster) fail_current(CUDA_ERROR_LAUNCH_FAILED, "barrier.cluster.arrive a second time without barrier.cluster.wait", site);
    std::vector<std::uint32_t>& released = worker.cluster_barrier.released;
    if (relaxed == 0) {
        release(*thread.warp, released);
    } else {
        released.resize(2 * worker.warps.size(), 0);
        released[thread.warp->slot] = std::max(released[thread.warp->slot], thread.warp->barriers_fenced);
    }
    thread.warp->epoch = ++worker.now;
    thread.arrived_at_cluster = true;
    thread.cluster_phase = worker.cluster_phase;
    worker.cluster_barrier.arrived++;
    end_phase_when_complete();
}

SIMT_EXPORT void simt_cluster_wait() {
    const Site site = call_site(__builtin_return_address(0));
    Thread& thread = current_thread();
    Worker& worker = *this_worker;
    if (!thread.arrived_at_cluster) fail_current(CUDA_ERROR_LAUNCH_FAILED, "barrier.cluster.wait without barrier.cluster.arrive", site);
    if (thread.cluster_phase == worker.cluster_phase) {
        worker.cluster_barrier.waiting.push_back(&thread);
        block_current("barrier.cluster.wait", site);
    }
    thread.arrived_at_cluster = false;
    acquire(*thread.warp, worker.cluster_completed);  // nobody can end the next phase before this wait
    thread.warp->epoch = ++worker.now;
}

SIMT_EXPORT unsigned simt_map_shared(unsigned shared, unsigned rank) {
    const Site site = call_site(__builtin_return_address(0));
    if (rank >= this_worker->blocks.size())
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "mapa to block " + std::to_string(rank) + " of a cluster of " + std::to_string(this_worker->blocks.size()), site);
    return (rank + 1) << 24 | (shared & 0xFFFFFF);
}

SIMT_EXPORT float simt_load_cluster(unsigned address) {
    return *reinterpret_cast<const float*>(remote(address, Access::read, "a read", call_site(__builtin_return_address(0))));
}

SIMT_EXPORT void simt_store_cluster(unsigned address, float value) {
    *reinterpret_cast<float*>(remote(address, Access::write, "a write", call_site(__builtin_return_address(0)))) = value;
}

SIMT_EXPORT void simt_set_registers(int registers, int increase) {
    const Site site = call_site(__builtin_return_address(0));
    if (registers < 24 || registers > 256 || registers % 8 != 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "setmaxnreg to " + std::to_string(registers) + " registers: a multiple of 8 from 24 to 256", site);
    RegisterChange change{registers, increase != 0};
    collective("setmaxnreg", 0xFFFFFFFFu, &change, change_registers, site);
    // When every warpgroup has said what it wants, all of it must exist.
    unsigned total = 0;
    for (const unsigned limit : current_thread().block->register_limits) {
        if (limit == 0) return;
        total += 128 * limit;
    }
    if (total > 65536)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "setmaxnreg: the warpgroups of the block want " + std::to_string(total) + " registers together; there are 65536", site);
}
