#include "scheduler.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <new>
#include <sstream>
#include <thread>

#include <sys/mman.h>

#include "cluster.hpp"
#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "memory_barrier.hpp"
#include "report.hpp"
#include "shadow.hpp"
#include "synchronization.hpp"

namespace simt {

thread_local Worker* this_worker __attribute__((tls_model("initial-exec"))) = nullptr;

Worker::Worker() : shadow(std::make_unique<SharedShadow>()) {}

Worker::~Worker() {
    if (shared_low != nullptr) munmap(shared_low, shared_bytes);
}

namespace {

constexpr unsigned long idle_poll_limit = 1'000'000;

std::uint64_t mix(std::uint64_t value) noexcept {  // splitmix64
    value += 0x9E3779B97F4A7C15ULL;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

std::uint64_t next_random(Worker& worker) noexcept {
    return worker.random = mix(worker.random);
}

// The first ready slot at or after `from`, cyclically; -1 when none is ready.
int ready_from(const Worker& worker, unsigned from) noexcept {
    const std::size_t words = worker.ready.size();
    std::size_t word = from / 64;
    std::uint64_t bits = worker.ready[word] & (~std::uint64_t{0} << (from % 64));
    for (std::size_t step = 0; step <= words; step++) {
        if (bits != 0) return static_cast<int>(word * 64 + static_cast<unsigned>(__builtin_ctzll(bits)));
        word = word + 1 == words ? 0 : word + 1;
        bits = worker.ready[word];
    }
    return -1;
}

int last_ready(const Worker& worker) noexcept {
    for (std::size_t word = worker.ready.size(); word-- > 0;)
        if (worker.ready[word] != 0) return static_cast<int>(word * 64 + 63 - static_cast<unsigned>(__builtin_clzll(worker.ready[word])));
    return -1;
}

Thread* pick(Worker& worker) noexcept {
    int slot;
    switch (configuration().schedule) {
        case Schedule::reverse: slot = last_ready(worker); break;
        case Schedule::seeded:
            slot = ready_from(worker, static_cast<unsigned>(next_random(worker) % worker.threads.size()));
            break;
        default: slot = ready_from(worker, 0); break;
    }
    return slot < 0 ? nullptr : &worker.threads[static_cast<unsigned>(slot)];
}

void set_ready(Worker& worker, unsigned slot) noexcept { worker.ready[slot / 64] |= std::uint64_t{1} << (slot % 64); }
void clear_ready(Worker& worker, unsigned slot) noexcept { worker.ready[slot / 64] &= ~(std::uint64_t{1} << (slot % 64)); }

// Leaves the running fiber for `next`, or for the scheduler when there is none or the launch has been given up.
void leave(Worker& worker, Thread& thread, Thread* next) noexcept {
    if (next == &thread) return;
    if (next == nullptr || worker.launch->aborted.load(std::memory_order_relaxed)) {
        simt_fiber_switch(&thread.stack_pointer, worker.scheduler_stack_pointer);
        return;
    }
    worker.current = next;
    simt_fiber_switch(&thread.stack_pointer, next->stack_pointer);
}

void fiber_main() {
    Worker& worker = *this_worker;
    worker.launch->kernel->invoke(worker.launch->parameters);
    Thread& thread = *worker.current;
    thread.state = ThreadState::finished;
    thread.block->finished++;
    worker.live--;
    clear_ready(worker, thread.slot);
    lane_finished(thread);
    cluster_thread_finished();
    leave(worker, thread, pick(worker));
    __builtin_unreachable();
}

// The shared windows: one reservation, of which the first `bytes` of each window are accessible.
void prepare_windows(Worker& worker, unsigned blocks) {
    const std::size_t needed = blocks * Worker::window_stride;
    if (needed <= worker.shared_bytes) return;
    if (worker.shared_low != nullptr) munmap(worker.shared_low, worker.shared_bytes);
    worker.shared_low = nullptr;
    worker.shared_bytes = 0;
    void* mapping = mmap(nullptr, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    worker.shared_low = static_cast<char*>(mapping);
    worker.shared_bytes = needed;
    worker.shadow->reserve(blocks);
}

Dim3 unflatten(std::uint64_t number, const Dim3& extent) noexcept {
    return Dim3{static_cast<unsigned>(number % extent.x), static_cast<unsigned>(number / extent.x % extent.y),
                static_cast<unsigned>(number / extent.x / extent.y)};
}

void prepare_cluster(Worker& worker, Launch& launch, std::uint64_t cluster) {
    const auto blocks = static_cast<unsigned>(launch.cluster.volume());
    const auto threads = static_cast<unsigned>(launch.block.volume());
    const unsigned warps = (threads + 31) / 32;
    const unsigned slots = blocks * threads;
    if (worker.threads.size() != slots || worker.blocks.size() != blocks) {
        worker.threads = std::vector<Thread>(slots);
        worker.warps = std::vector<Warp>(std::size_t{blocks} * warps);
        worker.blocks = std::vector<Block>(blocks);
        worker.stacks.reserve(slots);
    }
    prepare_windows(worker, blocks);
    worker.ready.assign((slots + 63) / 64, 0);
    worker.live = slots;
    worker.random = mix(configuration().seed * 0x10001 + cluster);
    worker.shadow->begin_cluster(worker);
    worker.cluster_barrier = Barrier{};
    worker.cluster_phase = 0;
    worker.memory_barriers.clear();
    worker.bulk_loads.clear();

    const Dim3 clusters{launch.grid.x / launch.cluster.x, launch.grid.y / launch.cluster.y, launch.grid.z / launch.cluster.z};
    const Dim3 origin = unflatten(cluster, clusters);
    for (unsigned rank = 0; rank < blocks; rank++) {
        Block& block = worker.blocks[rank];
        const Dim3 offset = unflatten(rank, launch.cluster);
        block.index = Dim3{origin.x * launch.cluster.x + offset.x, origin.y * launch.cluster.y + offset.y,
                           origin.z * launch.cluster.z + offset.z};
        block.rank = rank;
        block.threads = threads;
        block.warps = warps;
        block.finished = 0;
        block.first_thread = &worker.threads[std::size_t{rank} * threads];
        block.first_warp = &worker.warps[std::size_t{rank} * warps];
        block.shared = worker.shared_low + rank * Worker::window_stride;
        block.shared_bytes = launch.shared_bytes;
        for (Barrier& barrier : block.barriers) {
            barrier.arrived = 0;
            barrier.waiting.clear();
            barrier.released.clear();
        }
        block.product_log.assign((warps + 3) / 4, {});
        block.register_limits.assign((warps + 3) / 4, 0);
        block.prefetches.clear();
        std::fill_n(block.shared, launch.shared_bytes, static_cast<char>(0xFF));  // NaN in every floating type
        for (unsigned number = 0; number < warps; number++) {
            Warp& warp = block.first_warp[number];
            warp.block = &block;
            warp.slot = rank * warps + number;
            warp.first_thread = number * 32;
            warp.lanes = std::min(32u, threads - number * 32);
            // Lanes that do not exist count as lanes that have returned.
            warp.finished = warp.lanes == 32 ? 0 : ~((1u << warp.lanes) - 1);
            for (Collective& collective : warp.collectives) collective.arrived = 0;
            warp.epoch = ++worker.now;
            warp.barriers_fenced = 0;
            warp.known.assign(2 * worker.warps.size(), 0);
            warp.overwritable.assign(2 * worker.warps.size(), 0);
            warp.open_products.clear();
            warp.committed_products.clear();
            warp.accumulators.clear();
            warp.finished_accumulators.clear();
            warp.registers_fenced = false;
            warp.products = 0;
        }
        for (unsigned number = 0; number < threads; number++) {
            Thread& thread = block.first_thread[number];
            thread.index = unflatten(number, launch.block);
            thread.number = number;
            thread.slot = rank * threads + number;
            thread.lane = number % 32;
            thread.warp = &block.first_warp[number / 32];
            thread.block = &block;
            thread.state = ThreadState::ready;
            thread.idle_polls = 0;
            thread.open_copies.clear();
            thread.committed_copies.clear();
            thread.open_stores.clear();
            thread.committed_stores.clear();
            thread.last_atomic = 0;
            thread.waited = false;
            thread.arrived_at_cluster = false;
            thread.trace.clear();
            thread.stack_pointer = prepare_fiber(worker.stacks.top(thread.slot), fiber_main);
            set_ready(worker, thread.slot);
        }
    }
}

std::string coordinates(const Dim3& index) {
    std::ostringstream text;
    text << '(' << index.x << ',' << index.y << ',' << index.z << ')';
    return text.str();
}

// Words for a cluster in which nothing can run any more: who waits where.
std::string describe_hang(const Worker& worker) {
    struct Group {
        unsigned count = 0;
        const Thread* first = nullptr;
    };
    std::map<std::string, Group> groups;
    unsigned finished = 0;
    for (const Thread& thread : worker.threads) {
        if (thread.state == ThreadState::finished) {
            finished++;
            continue;
        }
        // The same instruction at the same place makes one group; describing a place is slow, so the address is the key.
        std::ostringstream key;
        key << thread.waiting_for << '|' << thread.site.address << '|' << (thread.site.file ? thread.site.file : "") << thread.site.line;
        Group& group = groups[key.str()];
        group.count++;
        if (group.first == nullptr) group.first = &thread;
    }
    std::ostringstream text;
    for (const auto& entry : groups) {
        const Group& group = entry.second;
        text << "\n  " << group.count << (group.count == 1 ? " thread waits" : " threads wait") << " at " << group.first->waiting_for
             << ", " << describe(group.first->site) << " (first: block " << coordinates(group.first->block->index) << ", thread "
             << coordinates(group.first->index) << ')';
    }
    text << describe_memory_barriers(worker);
    if (finished > 0) text << "\n  " << finished << (finished == 1 ? " thread has" : " threads have") << " returned from the kernel";
    return text.str();
}

void fail(Launch& launch, Result result, const std::string& message) {
    const std::lock_guard<std::mutex> lock(launch.failure);
    if (launch.aborted.load()) return;
    launch.result = result;
    report(message);
    launch.aborted.store(true);
}

void run_cluster(Worker& worker, Launch& launch, std::uint64_t cluster) {
    prepare_cluster(worker, launch, cluster);
    while (!launch.aborted.load(std::memory_order_relaxed)) {
        Thread* next = pick(worker);
        if (next == nullptr) {
            // Nobody can go on without a copy: now is the last moment at which one may arrive.
            if (deliver_awaited_load()) continue;
            break;
        }
        worker.current = next;
        simt_fiber_switch(&worker.scheduler_stack_pointer, next->stack_pointer);
    }
    if (worker.live == 0 && !launch.aborted.load() && launch.dependent)
        for (const Block& block : worker.blocks)
            if (std::none_of(block.first_thread, block.first_thread + block.threads, [](const Thread& thread) { return thread.waited; })) {
                fail(launch, CUDA_ERROR_LAUNCH_FAILED, describe(launch, *block.first_thread) +
                                                           ": the block ended without grid_wait, in a kernel that was started beside the one before it");
                break;
            }
    if (worker.live == 0 && !launch.aborted.load())
        for (const Block& block : worker.blocks)
            if (!block.prefetches.empty()) {
                fail(launch, CUDA_ERROR_LAUNCH_FAILED, "kernel '" + launch.kernel->name + "', " + describe(block.prefetches.front().site) +
                                                           ": the block never loads the box that it prefetches here");
                break;
            }
    if (worker.live == 0 && !launch.aborted.load() && !worker.bulk_loads.empty()) {
        const BulkLoad& load = worker.bulk_loads.front();
        fail(launch, CUDA_ERROR_LAUNCH_FAILED, "kernel '" + launch.kernel->name + "', " + describe(load.site) +
                                                   ": the kernel ended before this copy into shared memory arrived: nobody waited for its mbarrier");
    }
    if (worker.live > 0 && !launch.aborted.load()) {
        bool returned = false, barrier = false;
        const Thread* waiting = nullptr;
        for (const Thread& thread : worker.threads) {
            returned |= thread.state == ThreadState::finished;
            if (thread.state == ThreadState::finished) continue;
            if (waiting == nullptr) waiting = &thread;
            barrier |= std::string(thread.waiting_for) == "__syncthreads";
        }
        const bool divergent = barrier && returned;
        fail(launch, divergent ? CUDA_ERROR_LAUNCH_FAILED : CUDA_ERROR_LAUNCH_TIMEOUT,
             describe(launch, *waiting) + (divergent ? ": divergent barrier: some threads wait that others never reach"
                                                     : ": deadlock: no thread can go on") +
                 describe_hang(worker));
    }
}

}  // namespace

void run_worker(Worker& worker, Launch& launch) {
    this_worker = &worker;
    worker.launch = &launch;
    worker.recent = {};
    worker.counting = configuration().counters;
    worker.counters = KernelCounters{};
    try {
        for (std::uint64_t turn = launch.next++; turn < launch.clusters && !launch.aborted.load(); turn = launch.next++)
            run_cluster(worker, launch, launch.order.empty() ? turn : launch.order[turn]);
    } catch (const std::bad_alloc&) {
        fail(launch, CUDA_ERROR_OUT_OF_MEMORY, "kernel '" + launch.kernel->name + "': no host memory for the stacks of its threads");
    }
    if (worker.counting) merge_counters(launch.kernel->name, worker.counters);
    worker.current = nullptr;
    worker.launch = nullptr;
    this_worker = nullptr;
}

void block_current(const char* waiting_for, const Site& site) {
    Worker& worker = *this_worker;
    Thread& thread = *worker.current;
    thread.state = ThreadState::blocked;
    thread.waiting_for = waiting_for;
    thread.site = site;
    clear_ready(worker, thread.slot);
    leave(worker, thread, pick(worker));
}

void wake(Thread& thread) {
    Worker& worker = *this_worker;
    if (thread.state != ThreadState::blocked) return;
    thread.state = ThreadState::ready;
    thread.idle_polls = 0;
    set_ready(worker, thread.slot);
}

void yield_current(const char* waiting_for, const Site& site) {
    Worker& worker = *this_worker;
    Thread& thread = *worker.current;
    thread.waiting_for = waiting_for;
    thread.site = site;
    if (++thread.idle_polls > idle_poll_limit)
        fail_current(CUDA_ERROR_LAUNCH_TIMEOUT, std::string("hang: this thread has polled a million times at ") + waiting_for + describe_hang(worker), site);
    const auto after = (thread.slot + 1) % static_cast<unsigned>(worker.threads.size());
    const int slot = ready_from(worker, after);
    // Nobody else here can go on: it waits for another block, which may have failed, or needs the processor.
    if (slot == static_cast<int>(thread.slot)) {
        if (worker.launch->aborted.load(std::memory_order_relaxed)) abandon_current();
        std::this_thread::sleep_for(std::chrono::microseconds(10));
    }
    leave(worker, thread, slot < 0 ? nullptr : &worker.threads[static_cast<unsigned>(slot)]);
}

void abandon_current() {
    Worker& worker = *this_worker;
    void* discarded;
    simt_fiber_switch(&discarded, worker.scheduler_stack_pointer);
    __builtin_unreachable();
}

void fail_current(Result result, const std::string& message, const Site& site) {
    Launch& launch = *this_worker->launch;
    fail(launch, result, describe(launch, current_thread()) + ", " + describe(site) + ": " + message);
    abandon_current();
}

}  // namespace simt
