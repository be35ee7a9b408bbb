#include "synchronization.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "bulk.hpp"
#include "cuda_abi.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "warpgroup.hpp"

namespace simt {

namespace {

std::string mask_text(std::uint32_t mask) {
    char text[16];
    std::snprintf(text, sizeof text, "0x%08x", mask);
    return text;
}

bool same_place(const Site& left, const Site& right) {
    if (left.file == nullptr || right.file == nullptr) return left.address == right.address;
    return left.line == right.line && std::strcmp(left.file, right.file) == 0;
}

void complete(Warp& warp, Collective& pending, Compute compute) {
    if (compute != nullptr) compute(pending.arguments.data(), pending.mask);
    if (this_worker->counting && (pending.mask & warp.existing()) == warp.existing()) count_traces(warp);
    const std::uint32_t waiting = pending.arrived;
    pending.arrived = 0;
    warp.epoch = ++this_worker->now;  // lanes are ordered by the operation
    Thread* first = warp.block->first_thread + warp.first_thread;
    for (std::uint32_t bits = waiting; bits != 0; bits &= bits - 1) wake(first[__builtin_ctz(bits)]);
}

// Warps of which every lane waits are at one point together.
void count_whole_warps(const Barrier& barrier) {
    std::map<Warp*, std::uint32_t> lanes;
    for (const Thread* thread : barrier.waiting) lanes[thread->warp] |= 1u << thread->lane;
    for (const auto& [warp, mask] : lanes)
        if (mask == warp->existing()) count_traces(*warp);
}

void complete(Barrier& barrier) {
    Worker& worker = *this_worker;
    Warp* last = nullptr;
    for (Thread* thread : barrier.waiting) {
        if (thread->warp != last) {
            last = thread->warp;
            acquire(*last, barrier.released);
            last->epoch = ++worker.now;
        }
    }
    worker.counters.barriers++;
    if (worker.counting) count_whole_warps(barrier);
    for (Thread* thread : barrier.waiting) wake(*thread);
    barrier.waiting.clear();
    barrier.arrived = 0;
    barrier.released.clear();
}

}  // namespace

void join(std::vector<std::uint32_t>& target, const std::vector<std::uint32_t>& source) {
    if (target.size() < source.size()) target.resize(source.size(), 0);
    for (std::size_t index = 0; index < source.size(); index++) target[index] = std::max(target[index], source[index]);
}

void release(Warp& warp, std::vector<std::uint32_t>& clock) {
    join(clock, warp.known);
    clock[warp.slot] = std::max(clock[warp.slot], warp.epoch);
}

void acquire(Warp& warp, const std::vector<std::uint32_t>& clock) { join(warp.known, clock); }

void collective(const char* name, std::uint32_t mask, void* arguments, Compute compute, const Site& site) {
    Thread& thread = current_thread();
    Warp& warp = *thread.warp;
    const std::uint32_t self = 1u << thread.lane;
    if ((mask & self) == 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(name) + " with the mask " + mask_text(mask) + ", which does not name the calling lane " +
                                                   std::to_string(thread.lane), site);
    const bool only_waits = compute == nullptr;
    if (!only_waits && (mask & warp.finished) != 0)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(name) + " waits for lane " + std::to_string(__builtin_ctz(mask & warp.finished)) +
                                                   ", which does not exist or has returned from the kernel (mask " + mask_text(mask) + ")", site);
    Collective& pending = warp.collectives[static_cast<unsigned>(__builtin_ctz(mask))];
    if (pending.arrived == 0) {
        pending.name = name;
        pending.mask = mask;
    } else if (pending.mask != mask || pending.name != name) {
        const Thread& other = warp.block->first_thread[warp.first_thread + static_cast<unsigned>(__builtin_ctz(pending.arrived))];
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string("the lanes of a warp do not agree: lane ") + std::to_string(thread.lane) + " is at " + name +
                                                   " (mask " + mask_text(mask) + "), lane " + std::to_string(other.lane) + " at " +
                                                   pending.name + " (mask " + mask_text(pending.mask) + "), " + describe(other.site), site);
    }
    pending.arguments[thread.lane] = arguments;
    pending.arrived |= self;
    const std::uint32_t needed = only_waits ? mask & ~warp.finished : mask;
    if (pending.arrived == needed) {
        pending.arrived &= ~self;  // this lane is running
        complete(warp, pending, compute);
        return;
    }
    block_current(name, site);
}

void lane_finished(Thread& thread) {
    Warp& warp = *thread.warp;
    finish_stores(thread);
    warp.finished |= 1u << thread.lane;
    if (this_worker->counting && warp.finished == 0xFFFFFFFFu) count_traces(warp);
    if (warp.finished == 0xFFFFFFFFu) finish_products(warp);
    for (Collective& pending : warp.collectives)
        if (pending.arrived != 0 && std::strcmp(pending.name, "__syncwarp") == 0 && pending.arrived == (pending.mask & ~warp.finished))
            complete(warp, pending, nullptr);
}

void arrive_at_barrier(unsigned number, unsigned threads, Arrival arrival, bool strict, const char* name, const Site& site) {
    Thread& thread = current_thread();
    Block& block = *thread.block;
    if (number >= block.barriers.size())
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "barrier " + std::to_string(number) + ": there are 16, numbered from 0", site);
    if (threads == 0) threads = block.threads;
    const unsigned rounded = (block.threads + 31) / 32 * 32;
    if (threads > rounded || (threads % 32 != 0 && threads != block.threads))
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "barrier " + std::to_string(number) + " for " + std::to_string(threads) +
                                                   " threads: the count must be a multiple of 32 and at most the block's " +
                                                   std::to_string(block.threads), site);
    Barrier& barrier = block.barriers[number];
    if (barrier.arrived == 0) {
        barrier.expected = threads;
        barrier.first_site = site;
    } else if (barrier.expected != threads) {
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "divergent barrier: barrier " + std::to_string(number) + " is used for " + std::to_string(threads) +
                                                   " threads here and for " + std::to_string(barrier.expected) + " at " +
                                                   describe(barrier.first_site), site);
    } else if (strict && !same_place(barrier.first_site, site)) {
        fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string("divergent barrier: this thread is at ") + name + " here while another is at " +
                                                   describe(barrier.first_site), site);
    }
    release(*thread.warp, barrier.released);
    barrier.arrived++;
    if (barrier.arrived > barrier.expected)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "more than the expected " + std::to_string(barrier.expected) + " threads arrive at barrier " +
                                                   std::to_string(number), site);
    if (arrival == Arrival::leave) {
        thread.warp->epoch = ++this_worker->now;
        if (barrier.arrived == barrier.expected) complete(barrier);
        return;
    }
    barrier.waiting.push_back(&thread);
    if (barrier.arrived == barrier.expected) {
        complete(barrier);
        return;
    }
    block_current(name, site);
}

int vote_at_barrier(Vote vote, bool predicate, const char* name, const Site& site) {
    Block& block = *current_thread().block;
    // Two slots in turn would race with late readers of the first result; the result is kept until the second barrier instead.
    Barrier& barrier = block.barriers[0];
    if (barrier.arrived == 0) {
        barrier.predicate_count = 0;
        barrier.predicate_and = true;
        barrier.predicate_or = false;
    }
    barrier.predicate_count += predicate ? 1 : 0;
    barrier.predicate_and &= predicate;
    barrier.predicate_or |= predicate;
    arrive_at_barrier(0, 0, Arrival::wait, true, name, site);
    const int result = vote == Vote::count ? barrier.predicate_count : vote == Vote::all ? barrier.predicate_and : barrier.predicate_or;
    arrive_at_barrier(0, 0, Arrival::wait, true, name, site);
    if (current_thread().number == 0) this_worker->counters.barriers--;  // one barrier to the kernel
    return result;
}

}  // namespace simt
