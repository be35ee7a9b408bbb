// Device memory: every allocation is its own mapping with inaccessible pages around it, and addresses are not used twice.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace simt {

struct Allocation {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;    // as asked for: accesses are checked against this, not against whole pages
    std::size_t mapped = 0;   // pages from `mapping`
    std::uintptr_t mapping = 0;
    bool host = false;        // pinned host memory
    bool freed = false;
};

class DeviceMemory {
public:
    DeviceMemory();

    // Zero when the limit would be passed or the host has no memory. Fresh memory holds 0xFF bytes: NaN in every floating type.
    std::uintptr_t allocate(std::size_t bytes);
    std::uintptr_t allocate_host(std::size_t bytes);

    // False when the address is not the start of a live allocation of that kind.
    bool release(std::uintptr_t address, bool host);

    // The live or freed allocation that covers the address or lies just below it; null when there is none.
    const Allocation* find(std::uintptr_t address) const;

    // Whether [address, address + bytes) lies inside one live allocation.
    bool covers(std::uintptr_t address, std::size_t bytes) const;

    // "16 bytes past the end of the 4096 bytes at 0x…", "in freed memory …", for reports.
    std::string describe(const void* address) const;

    bool contains(std::uintptr_t address) const noexcept { return address - low_ < reserved_; }

    std::size_t used() const noexcept { return used_; }

    // Frees everything.
    void clear();

private:
    std::uintptr_t map(std::size_t bytes, bool host);

    std::uintptr_t low_ = 0;
    std::size_t reserved_ = 0;
    std::uintptr_t next_ = 0;
    std::size_t used_ = 0;
    std::size_t page_ = 4096;
    std::map<std::uintptr_t, Allocation> allocations_;
};

// The memory of the one emulated device. Guarded by the driver's lock; kernels only read it, while a launch holds that lock.
DeviceMemory& memory();

}  // namespace simt
