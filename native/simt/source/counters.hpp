// What kernels do to memory and to the matrix units, counted per kernel name. The numbers follow from the kernel and its data alone:
// they are the same under every schedule and number of workers.
#pragma once

#include <cstdint>
#include <string>

namespace simt {

// The layout that simtCountersRead writes. A request is one instruction of a warp.
struct KernelCounters {
    std::uint64_t launches;
    std::uint64_t blocks;
    std::uint64_t global_load_requests;
    std::uint64_t global_load_sectors;  // of 32 bytes
    std::uint64_t global_load_bytes;    // that lanes asked for
    std::uint64_t global_store_requests;
    std::uint64_t global_store_sectors;
    std::uint64_t global_store_bytes;
    std::uint64_t global_atomic_requests;
    std::uint64_t shared_load_requests;
    std::uint64_t shared_load_transactions;  // passes over the 32 banks of 4 bytes
    std::uint64_t shared_store_requests;
    std::uint64_t shared_store_transactions;
    std::uint64_t shared_atomic_requests;
    std::uint64_t shared_bank_conflicts;      // transactions beyond what the same bytes need without a conflict
    std::uint64_t matrix_instructions;        // mma.sync
    std::uint64_t warpgroup_instructions;     // wgmma
    std::uint64_t barriers;                   // phases of block and cluster barriers that were completed
    std::uint64_t bulk_copies;                // cp.async.bulk in both directions
    std::uint64_t bulk_load_bytes;            // read from global memory; a multicast reads once
    std::uint64_t bulk_store_bytes;

    void add(const KernelCounters& other);
};

// One access of one lane to global or shared memory, waiting to be put together with the same instruction of the other lanes.
struct TracedAccess {
    enum Kind : std::uint32_t { global_load, global_store, global_atomic, shared_load, shared_store, shared_atomic };

    const void* instruction;
    std::uintptr_t address;
    std::uint32_t bytes;
    Kind kind;
};

struct Warp;

// Notes an access of the running thread, in pieces of at most 16 bytes.
void trace(const void* instruction, std::uintptr_t address, std::size_t bytes, TracedAccess::Kind kind);

// All lanes of the warp are at the same point of the kernel: counts what they have done since the last one. Accesses of different
// lanes belong together when they come from the same instruction, executed equally often since then.
void count_traces(Warp& warp);

// The totals of all launches since the start or the last clear.
void merge_counters(const std::string& kernel, const KernelCounters& counters);
void clear_counters();

// The counters of a kernel, of all kernels together for an empty name; false when no such kernel was counted.
bool read_counters(const std::string& kernel, KernelCounters& counters);

}  // namespace simt
