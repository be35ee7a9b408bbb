#include "counters.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "state.hpp"

namespace simt {

namespace {

constexpr std::uintptr_t sector_bytes = 32;
constexpr unsigned banks = 32;

std::mutex totals_lock;

std::map<std::string, KernelCounters>& totals() {
    static auto& instance = *new std::map<std::string, KernelCounters>();
    return instance;
}

// The accesses of one warp instruction; lanes that did not take part have none.
struct Request {
    const TracedAccess* lanes[32] = {};
};

unsigned count_sectors(const Request& request) {
    std::uintptr_t sectors[96];
    unsigned count = 0;
    bool ascending = true;
    for (const TracedAccess* access : request.lanes) {
        if (access == nullptr) continue;
        for (std::uintptr_t sector = access->address / sector_bytes; sector <= (access->address + access->bytes - 1) / sector_bytes; sector++) {
            if (count > 0 && sectors[count - 1] == sector) continue;
            ascending &= count == 0 || sectors[count - 1] < sector;
            sectors[count++] = sector;
        }
    }
    if (ascending) return count;
    std::sort(sectors, sectors + count);
    return static_cast<unsigned>(std::unique(sectors, sectors + count) - sectors);
}

// A pass serves one 4-byte word of every bank. Accesses of 8 bytes go half a warp at a time, those of 16 bytes a quarter (the eight
// rows of one tile of ldmatrix).
void count_transactions(const Request& request, std::uint64_t& transactions, std::uint64_t& conflicts) {
    std::uint32_t bytes = 0;
    for (const TracedAccess* access : request.lanes)
        if (access != nullptr) bytes = std::max(bytes, access->bytes);
    const unsigned together = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
    for (unsigned first = 0; first < 32; first += together) {
        std::uintptr_t words[160];
        unsigned count = 0;
        for (unsigned lane = first; lane < first + together; lane++) {
            const TracedAccess* access = request.lanes[lane];
            if (access == nullptr) continue;
            for (std::uintptr_t word = access->address / 4; word <= (access->address + access->bytes - 1) / 4; word++) words[count++] = word;
        }
        if (count == 0) continue;
        std::sort(words, words + count);
        count = static_cast<unsigned>(std::unique(words, words + count) - words);
        unsigned per_bank[banks] = {}, most = 0;
        for (unsigned index = 0; index < count; index++) most = std::max(most, ++per_bank[words[index] % banks]);
        transactions += most;
        conflicts += most - 1;
    }
}

void count(const Request& request, TracedAccess::Kind kind, KernelCounters& counters) {
    std::uint64_t bytes = 0;
    for (const TracedAccess* access : request.lanes)
        if (access != nullptr) bytes += access->bytes;
    switch (kind) {
        case TracedAccess::global_load:
            counters.global_load_requests++;
            counters.global_load_sectors += count_sectors(request);
            counters.global_load_bytes += bytes;
            break;
        case TracedAccess::global_store:
            counters.global_store_requests++;
            counters.global_store_sectors += count_sectors(request);
            counters.global_store_bytes += bytes;
            break;
        case TracedAccess::global_atomic: counters.global_atomic_requests++; break;
        case TracedAccess::shared_load:
            counters.shared_load_requests++;
            count_transactions(request, counters.shared_load_transactions, counters.shared_bank_conflicts);
            break;
        case TracedAccess::shared_store:
            counters.shared_store_requests++;
            count_transactions(request, counters.shared_store_transactions, counters.shared_bank_conflicts);
            break;
        case TracedAccess::shared_atomic: counters.shared_atomic_requests++; break;
    }
}

// Whether every lane that has a trace did the same instructions in the same order: the common case.
bool convergent(const Thread* const* active, unsigned lanes) {
    const auto& model = active[0]->trace;
    for (unsigned lane = 1; lane < lanes; lane++) {
        const auto& other = active[lane]->trace;
        if (other.size() != model.size()) return false;
        for (std::size_t index = 0; index < model.size(); index++)
            if (other[index].instruction != model[index].instruction || other[index].kind != model[index].kind) return false;
    }
    return true;
}

}  // namespace

void KernelCounters::add(const KernelCounters& other) {
    static_assert(sizeof(KernelCounters) == 21 * sizeof(std::uint64_t), "only counters, so that they add as an array");
    auto* mine = reinterpret_cast<std::uint64_t*>(this);
    const auto* theirs = reinterpret_cast<const std::uint64_t*>(&other);
    for (std::size_t index = 0; index < sizeof(KernelCounters) / sizeof(std::uint64_t); index++) mine[index] += theirs[index];
}

void trace(const void* instruction, std::uintptr_t address, std::size_t bytes, TracedAccess::Kind kind) {
    auto& accesses = current_thread().trace;
    for (std::size_t done = 0; done < bytes; done += 16)
        accesses.push_back({instruction, address + done, static_cast<std::uint32_t>(std::min<std::size_t>(16, bytes - done)), kind});
}

void count_traces(Warp& warp) {
    KernelCounters& counters = this_worker->counters;
    Thread* threads = warp.block->first_thread + warp.first_thread;
    const Thread* active[32];
    unsigned lanes = 0;
    for (unsigned lane = 0; lane < warp.lanes; lane++)
        if (!threads[lane].trace.empty()) active[lanes++] = &threads[lane];
    if (lanes == 0) return;
    if (convergent(active, lanes)) {
        for (std::size_t index = 0; index < active[0]->trace.size(); index++) {
            Request request;
            for (unsigned lane = 0; lane < lanes; lane++) request.lanes[active[lane]->lane] = &active[lane]->trace[index];
            count(request, active[0]->trace[index].kind, counters);
        }
    } else {
        using Instruction = std::pair<const void*, TracedAccess::Kind>;
        std::map<std::tuple<const void*, TracedAccess::Kind, unsigned>, Request> requests;
        for (unsigned lane = 0; lane < lanes; lane++) {
            std::map<Instruction, unsigned> executed;
            for (const TracedAccess& access : active[lane]->trace) {
                const unsigned occurrence = executed[{access.instruction, access.kind}]++;
                requests[{access.instruction, access.kind, occurrence}].lanes[active[lane]->lane] = &access;
            }
        }
        for (const auto& [key, request] : requests) count(request, std::get<1>(key), counters);
    }
    for (unsigned lane = 0; lane < warp.lanes; lane++) threads[lane].trace.clear();
}

void merge_counters(const std::string& kernel, const KernelCounters& counters) {
    const std::lock_guard<std::mutex> lock(totals_lock);
    totals()[kernel].add(counters);
}

void clear_counters() {
    const std::lock_guard<std::mutex> lock(totals_lock);
    totals().clear();
}

bool read_counters(const std::string& kernel, KernelCounters& counters) {
    const std::lock_guard<std::mutex> lock(totals_lock);
    counters = KernelCounters{};
    bool found = kernel.empty();
    for (const auto& [name, values] : totals()) {
        if (!kernel.empty() && name != kernel) continue;
        counters.add(values);
        found = true;
    }
    return found;
}

}  // namespace simt
