#include "memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "configuration.hpp"
#include "report.hpp"

namespace simt {

namespace {

constexpr std::size_t alignment = 256;  // what cuMemAlloc promises

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

DeviceMemory& memory() {
    static DeviceMemory& instance = *new DeviceMemory();
    return instance;
}

DeviceMemory::DeviceMemory() {
    page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    // Address space only. A smaller share is tried where the process is limited.
    for (reserved_ = std::size_t{1} << 40; reserved_ >= (std::size_t{1} << 34); reserved_ /= 4) {
        void* mapping = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED) continue;
        low_ = reinterpret_cast<std::uintptr_t>(mapping);
        next_ = low_ + page_;
        return;
    }
    throw std::bad_alloc();
}

std::uintptr_t DeviceMemory::map(std::size_t bytes, bool host) {
    const std::size_t body = round_up(bytes, alignment);
    const std::size_t mapped = round_up(body, page_);
    if (mapped + 2 * page_ > reserved_) return 0;
    if (next_ + mapped + page_ > low_ + reserved_) {
        // The address space has been gone through once: forget what was freed and look for the first gap.
        for (auto entry = allocations_.begin(); entry != allocations_.end();)
            entry = entry->second.freed ? allocations_.erase(entry) : std::next(entry);
        std::uintptr_t candidate = low_ + page_;
        for (const auto& entry : allocations_) {
            if (entry.second.mapping >= candidate + mapped + page_) break;
            candidate = entry.second.mapping + entry.second.mapped + page_;
        }
        if (candidate + mapped + page_ > low_ + reserved_) return 0;
        next_ = candidate;
    }
    const std::uintptr_t mapping = next_;
    if (mprotect(reinterpret_cast<void*>(mapping), mapped, PROT_READ | PROT_WRITE) != 0) return 0;
    next_ = mapping + mapped + page_;
    Allocation allocation;
    allocation.mapping = mapping;
    allocation.mapped = mapped;
    allocation.address = mapping + mapped - body;  // the end touches the guard page
    allocation.bytes = bytes;
    allocation.host = host;
    allocations_[allocation.address] = allocation;
    std::memset(reinterpret_cast<void*>(mapping), 0xFF, mapped);
    return allocation.address;
}

std::uintptr_t DeviceMemory::allocate(std::size_t bytes) {
    if (bytes == 0 || bytes > configuration().memory || used_ + bytes > configuration().memory) return 0;
    const std::uintptr_t address = map(bytes, false);
    if (address != 0) used_ += bytes;
    return address;
}

std::uintptr_t DeviceMemory::allocate_host(std::size_t bytes) { return bytes == 0 ? 0 : map(bytes, true); }

bool DeviceMemory::release(std::uintptr_t address, bool host) {
    const auto entry = allocations_.find(address);
    if (entry == allocations_.end() || entry->second.freed || entry->second.host != host) return false;
    Allocation& allocation = entry->second;
    void* mapping = reinterpret_cast<void*>(allocation.mapping);
    // Give the pages back and keep the addresses: an access to them is then a use after free.
    if (mmap(mapping, allocation.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        mprotect(mapping, allocation.mapped, PROT_NONE);
    allocation.freed = true;
    if (!host) used_ -= allocation.bytes;
    return true;
}

const Allocation* DeviceMemory::find(std::uintptr_t address) const {
    auto entry = allocations_.upper_bound(address);
    if (entry == allocations_.begin()) return nullptr;
    return &std::prev(entry)->second;
}

bool DeviceMemory::covers(std::uintptr_t address, std::size_t bytes) const {
    const Allocation* allocation = find(address);
    return allocation != nullptr && !allocation->freed && address - allocation->address <= allocation->bytes &&
           bytes <= allocation->bytes - (address - allocation->address);
}

std::string DeviceMemory::describe(const void* pointer) const {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    if (address < 65536) return "a null pointer or an index added to one";
    if (!contains(address)) return "which is no device memory (a host pointer, or a pointer that was never set)";
    const Allocation* allocation = find(address);
    const auto above = allocations_.upper_bound(address);
    const auto text = [](const Allocation& target) {
        return "the " + std::to_string(target.bytes) + " bytes at " + hexadecimal(reinterpret_cast<const void*>(target.address)) +
               (target.freed ? ", which have been freed" : "");
    };
    if (allocation != nullptr && address - allocation->address < allocation->bytes)
        return "byte " + std::to_string(address - allocation->address) + " of " + text(*allocation);
    const std::size_t below_distance = allocation == nullptr ? SIZE_MAX : address - allocation->address - allocation->bytes;
    const std::size_t above_distance = above == allocations_.end() ? SIZE_MAX : above->second.address - address;
    if (allocation != nullptr && below_distance <= above_distance)
        return std::to_string(below_distance) + " bytes past the end of " + text(*allocation);
    if (above != allocations_.end()) return std::to_string(above_distance) + " bytes before the start of " + text(above->second);
    return "where nothing has been allocated";
}

void DeviceMemory::clear() {
    for (auto& entry : allocations_)
        if (!entry.second.freed) release(entry.first, entry.second.host);
}

}  // namespace simt
