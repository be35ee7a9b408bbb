// mbarrier objects in shared memory, and the bulk copies that end on them.
#pragma once

#include "state.hpp"

namespace simt {

// Names the barrier at a shared address, which must be initialised; reports when it is not.
std::uint32_t barrier_key(std::uint32_t address, const char* what, const Site& site);

// A bulk load that ends on a barrier: it arrives now, or as late as it may.
void add_load(BulkLoad load);

// Lets the oldest load arrive that a blocked thread waits for; false when there is none. Runs outside of any fiber, too.
bool deliver_awaited_load();

// For hang reports: what is missing at each barrier that somebody waits at.
std::string describe_memory_barriers(const Worker& worker);

}  // namespace simt
