// What a running launch consists of: worker → cluster of blocks → warps → threads. All of it belongs to one operating system
// thread (the worker), so none of it is locked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "counters.hpp"
#include "fiber.hpp"

namespace simt {

using Result = int;  // a CUresult

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    std::uint64_t volume() const noexcept { return std::uint64_t{x} * y * z; }
};

// A place in a kernel: the return address of a call into the emulator, or a file and line given by a default argument.
struct Site {
    const void* address = nullptr;
    const char* file = nullptr;
    int line = 0;
};

struct Block;
struct Warp;
struct Worker;
struct Launch;
struct Thread;

// One asynchronous copy into shared memory that has been issued and not completed.
struct PendingCopy {
    char* destination;
    const char* source;
    unsigned bytes;         // written to the destination
    unsigned source_bytes;  // read from the source; the rest is zero
    Site site;
};

// A copy of the bulk engine into shared memory that has been issued and has not arrived.
struct BulkLoad {
    unsigned rank, offset, bytes;             // where it goes
    std::uint32_t barrier;                    // key of the mbarrier that its bytes are counted on
    std::function<void(char* window)> fill;  // writes the bytes, given the start of the block's shared memory
    unsigned warp;                            // who issued it, and its epoch: the write in the shadow
    std::uint32_t epoch;
    Site site;
};

// A box of a tensor that a block has asked the second-level cache for, and not yet loaded.
struct PrefetchedBox {
    std::array<char, 128> map;
    std::array<int, 3> coordinates;
    Site site;
};

// A copy of the bulk engine out of shared memory.
struct BulkStore {
    unsigned rank, offset, bytes;
    std::function<std::vector<char>(const char* window)> read;
    std::function<void(const std::vector<char>& data)> write;
    std::vector<char> data;  // read, and not yet written
    bool captured = false;
    Site site;
};

// An mbarrier. Its eight bytes in shared memory hold a mark only.
struct MemoryBarrier {
    unsigned count = 0;    // arrivals that end a phase
    unsigned pending = 0;  // of them missing in this phase
    long bytes = 0;        // expected minus arrived
    unsigned phase = 0;    // phases that have ended
    std::vector<std::uint32_t> arriving, completed;  // what the arrivals of this and of the last phase know
    std::vector<std::uint32_t> leaving, left;        // the same of those that show nothing, but let it be overwritten
    std::vector<Thread*> waiting;
    Site initialized;
};

// One wgmma of a warp: its 16 rows of the product.
struct WarpgroupProduct {
    int columns;
    bool a_in_registers, transpose_a, transpose_b, accumulate;
    std::uint64_t a_descriptor, b_descriptor;
    std::array<std::array<unsigned, 4>, 32> a;
    std::array<const unsigned*, 32> a_registers;  // where they came from
    float* accumulator;  // lane 0's registers: names the accumulator
    Site site;
};

// Registers of a warp that matrix products in flight accumulate into; the registers themselves hold NaN meanwhile.
struct FlyingAccumulator {
    std::array<float*, 32> registers{};
    int columns = 0;
    std::vector<float> values;  // [16, columns]
    unsigned products = 0;
};

enum class ThreadState : std::uint8_t { ready, blocked, finished };

struct Thread {
    void* stack_pointer = nullptr;
    Dim3 index;
    unsigned number = 0;  // within the block
    unsigned slot = 0;    // within the cluster: numbers ready bits and stacks
    unsigned lane = 0;
    Warp* warp = nullptr;
    Block* block = nullptr;
    ThreadState state = ThreadState::ready;
    const char* waiting_for = "";
    Site site;
    unsigned long idle_polls = 0;  // polls of a condition since the cluster last made progress
    std::vector<PendingCopy> open_copies;
    std::deque<std::vector<PendingCopy>> committed_copies;
    std::vector<BulkStore> open_stores;
    std::deque<std::vector<BulkStore>> committed_stores;
    std::uint64_t last_atomic = 0;      // where visibility is looked at
    bool waited = false;                // for the kernels before this one
    bool arrived_at_cluster = false;    // barrier.cluster.arrive without its wait so far
    std::uint32_t cluster_phase = 0;    // the phase it arrived in
    std::vector<TracedAccess> trace;  // since the warp was last at one point together, when counting
};

// A warp-wide operation some lanes have arrived at. `arguments[lane]` points into the lane's own stack.
struct Collective {
    const char* name = nullptr;
    std::uint32_t mask = 0;
    std::uint32_t arrived = 0;
    std::array<void*, 32> arguments{};
};

struct Warp {
    Block* block = nullptr;
    unsigned slot = 0;  // within the cluster
    unsigned first_thread = 0;
    unsigned lanes = 0;
    std::uint32_t finished = 0;  // lanes that have returned from the kernel
    std::uint32_t existing() const noexcept { return lanes == 32 ? 0xFFFFFFFFu : (1u << lanes) - 1; }
    std::array<Collective, 32> collectives;  // one per lowest lane of a mask
    std::uint32_t epoch = 0;                 // stamps this warp's accesses to shared memory
    std::uint32_t barriers_fenced = 0;       // up to here fence.mbarrier_init lets the cluster see what it wrote
    // Per warp of the cluster the newest epoch that is ordered before this warp's next access; then the same once more for what is
    // also visible to tensor cores and the copy engine, through a proxy fence.
    std::vector<std::uint32_t> known;
    std::vector<std::uint32_t> overwritable;  // the same for what this warp may write over, but not read
    std::vector<WarpgroupProduct> open_products;
    std::deque<std::vector<WarpgroupProduct>> committed_products;
    std::map<float*, FlyingAccumulator> accumulators;
    std::map<float*, std::uint64_t> finished_accumulators;  // hash of what the last product left in the registers
    bool registers_fenced = false;                          // wgmma.fence since the last wait
    std::size_t products = 0;                               // issued so far
};

// A barrier of a block (bar.sync), or the barrier of a cluster.
struct Barrier {
    unsigned expected = 0;
    unsigned arrived = 0;
    Site first_site;
    std::vector<Thread*> waiting;
    std::vector<std::uint32_t> released;  // what the arrivals know, joined
    int predicate_count = 0;
    bool predicate_and = true, predicate_or = false;
};

struct Block {
    Dim3 index;
    unsigned rank = 0;  // within the cluster
    unsigned threads = 0, warps = 0;
    unsigned finished = 0;
    Thread* first_thread = nullptr;
    Warp* first_warp = nullptr;
    char* shared = nullptr;
    unsigned shared_bytes = 0;
    std::array<Barrier, 16> barriers;
    std::vector<std::vector<std::uint64_t>> product_log;  // per warpgroup: a hash of every wgmma, which its warps must agree on
    std::vector<unsigned> register_limits;                // per warpgroup, from setmaxnreg; 0: not set
    std::vector<PrefetchedBox> prefetches;
};

struct Module;

// A kernel entry point of a loaded module.
struct Kernel {
    Module* module = nullptr;
    std::string name;
    void (*invoke)(void** parameters) = nullptr;
    std::vector<std::size_t> parameter_bytes;
    unsigned maximum_threads = 1024;
    unsigned maximum_dynamic_shared = 48 * 1024;
};

// One launch: everything the workers share.
struct Launch {
    const Kernel* kernel = nullptr;
    Dim3 grid, block, cluster;
    unsigned shared_bytes = 0;
    bool dependent = false;  // started beside the kernel before it, for which it waits itself (programmatic stream serialization)
    void** parameters = nullptr;
    std::vector<std::uint64_t> order;  // cluster numbers in the order in which they are started; empty: ascending
    std::uint64_t clusters = 0;
    std::atomic<std::uint64_t> next{0};
    std::atomic<bool> aborted{false};
    std::mutex failure;
    Result result = 0;
};

class SharedShadow;

struct Worker {
    unsigned number = 0;
    Launch* launch = nullptr;
    Thread* current = nullptr;
    void* scheduler_stack_pointer = nullptr;
    StackPool stacks;
    char* shared_low = nullptr;  // the shared windows of a cluster's blocks, one every window_stride bytes
    std::size_t shared_bytes = 0;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Block> blocks;
    Barrier cluster_barrier;
    std::uint32_t cluster_phase = 0;
    std::vector<std::uint32_t> cluster_completed;  // what the arrivals of its last phase know
    std::map<std::uint32_t, MemoryBarrier> memory_barriers;  // by rank and offset
    std::vector<BulkLoad> bulk_loads;                        // in the order of issue
    std::vector<std::uint64_t> ready;  // one bit per thread slot
    unsigned live = 0;                 // threads that have not returned
    std::uint64_t random = 0;
    std::uint32_t now = 0;      // the newest epoch handed out
    std::uint32_t started = 0;  // epochs up to this one belong to earlier clusters
    std::unique_ptr<SharedShadow> shadow;
    struct CachedRange {
        std::uintptr_t low = 0;
        std::size_t bytes = 0;
    };
    std::array<CachedRange, 4> recent;  // live global allocations hit last
    unsigned recent_next = 0;
    bool counting = false;
    KernelCounters counters{};  // of this launch

    static constexpr std::size_t window_stride = 512 * 1024;

    Worker();
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
};

// The worker of this operating system thread; null outside of a kernel.
extern thread_local Worker* this_worker __attribute__((tls_model("initial-exec")));

inline Thread& current_thread() noexcept { return *this_worker->current; }

inline Site call_site(const void* address) noexcept { return Site{address, nullptr, 0}; }

}  // namespace simt
