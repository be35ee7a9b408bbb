// Checks of single accesses: bounds, alignment, lifetime, races.
#pragma once

#include "shadow.hpp"
#include "state.hpp"

namespace simt {

// A checked access of the running thread to global, shared or local memory. Does not return when it is wrong.
void check_access(const void* pointer, std::size_t bytes, std::size_t alignment, Access access, const Site& site);

// An address in the shared window of a block of this cluster.
struct SharedPlace {
    unsigned rank;
    unsigned offset;
};

// The window a pointer lies in; false when it is not shared memory.
bool find_shared(const void* pointer, SharedPlace& place);

// Pointer to the bytes at a 32-bit shared address (rank of the block in bits 24 and up, as mapa gives it; plain offsets are the own
// block's), after a bounds and alignment check. Does not note the access in the shadow.
char* shared_pointer(std::uint32_t address, std::size_t bytes, std::size_t alignment, const char* what, const Site& site);

// Checks that bytes lie in live global memory.
void check_global(const void* pointer, std::size_t bytes, std::size_t alignment, Access access, const Site& site);

}  // namespace simt
