#include "visibility.hpp"

#include <algorithm>
#include <unordered_map>

#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "scheduler.hpp"

namespace simt {

namespace {

constexpr std::uintptr_t granule = 4;

struct Write {
    std::uint64_t block;
    unsigned warp, thread;
    std::uint32_t epoch;
    unsigned fencing;       // the thread whose fence came behind it, plus 1; 0: none
    std::uint64_t visible;  // the atomic of that thread behind its fence, by which other blocks may know of it; 0: none so far
};

std::mutex guard;
std::unordered_map<std::uintptr_t, Write> writes;
std::unordered_map<std::uint64_t, std::vector<std::uintptr_t>> pending;  // by block: what no fence came behind
std::unordered_map<std::uint64_t, std::vector<std::uintptr_t>> held;     // by block: behind which no atomic of the fencing thread came
std::unordered_map<std::uint64_t, std::uint64_t> acquired;               // by block: the last atomic that a fence of the same thread came after
std::uint64_t now = 0;

std::uint64_t block_number(const Block& block) {
    const Dim3& grid = this_worker->launch->grid;
    return block.index.x + std::uint64_t{grid.x} * (block.index.y + std::uint64_t{grid.y} * block.index.z);
}

bool knows(const Thread& thread, const Write& write) {
    if (write.warp == thread.warp->slot) return write.thread == thread.number || write.epoch < thread.warp->epoch;
    return thread.warp->known[write.warp] >= write.epoch;
}

}  // namespace

void begin_visibility() {
    const std::lock_guard<std::mutex> lock(guard);
    writes.clear();
    pending.clear();
    held.clear();
    acquired.clear();
    now = 0;
}

void note_visibility(std::uintptr_t address, std::size_t bytes, Access access, const Site& site) {
    Thread& thread = current_thread();
    const std::uint64_t own = block_number(*thread.block);
    if (access == Access::atomic) {
        const std::lock_guard<std::mutex> lock(guard);
        ++now;
        auto& open = held[own];
        std::vector<std::uintptr_t> rest;
        for (const std::uintptr_t at : open) {
            Write& write = writes[at];
            if (write.block == own && write.fencing == thread.number + 1)
                write.visible = now;
            else
                rest.push_back(at);
        }
        open.swap(rest);
        return;
    }
    const char* mistake = nullptr;
    std::uint64_t writer = 0;
    {
        const std::lock_guard<std::mutex> lock(guard);
        for (std::uintptr_t at = address / granule; at <= (address + bytes - 1) / granule; at++) {
            if (access != Access::read) {
                writes[at] = Write{own, thread.warp->slot, thread.number, thread.warp->epoch, 0, 0};
                if (access == Access::write) pending[own].push_back(at);
                continue;
            }
            const auto found = writes.find(at);
            if (found == writes.end() || found->second.block == own) continue;
            writer = found->second.block;
            if (found->second.visible == 0)
                mistake = ", and no fence and atomic of one thread are behind that write";
            else if (acquired[own] <= found->second.visible)
                mistake = ", and this block has not come behind it by an atomic and a fence";
        }
    }
    if (mistake != nullptr)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "reads global memory that block number " + std::to_string(writer) + " of the same launch wrote" + mistake, site);
}

void finish_atomic(const void* pointer) {
    SharedPlace place;
    if (!configuration().visibility || find_shared(pointer, place)) return;
    const std::lock_guard<std::mutex> lock(guard);
    current_thread().last_atomic = ++now;
}

void fence_visibility() {
    if (this_worker == nullptr || !configuration().visibility) return;
    const Thread& thread = current_thread();
    const std::uint64_t own = block_number(*thread.block);
    const std::lock_guard<std::mutex> lock(guard);
    acquired[own] = std::max(acquired[own], thread.last_atomic);
    auto& open = pending[own];
    std::vector<std::uintptr_t> rest;
    for (const std::uintptr_t at : open) {
        Write& write = writes[at];
        if (write.block != own) continue;
        if (knows(thread, write)) {
            write.fencing = thread.number + 1;
            held[own].push_back(at);
        } else {
            rest.push_back(at);
        }
    }
    open.swap(rest);
}

}  // namespace simt
