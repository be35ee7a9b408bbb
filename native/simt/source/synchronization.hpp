// Warp-wide operations and block barriers.
#pragma once

#include "state.hpp"

namespace simt {

// Computes a warp-wide operation: `arguments[lane]` is what each lane of the mask brought, results go back through it.
using Compute = void (*)(void* const* arguments, std::uint32_t mask);

// Waits until every lane of the mask has come here, lets the last one compute, and orders what the lanes did before against what
// they do after. A lane that is not in its own mask, a different operation or a lane that has returned is reported.
void collective(const char* name, std::uint32_t mask, void* arguments, Compute compute, const Site& site);

enum class Arrival { wait, leave };

// bar.sync / bar.arrive: `threads` 0 means all of the block. `strict` wants one source line for the whole block (__syncthreads),
// otherwise one per warp is enough.
void arrive_at_barrier(unsigned number, unsigned threads, Arrival arrival, bool strict, const char* name, const Site& site);

// __syncthreads with a reduction of a predicate.
enum class Vote { count, all, any };
int vote_at_barrier(Vote vote, bool predicate, const char* name, const Site& site);

// A lane has returned from the kernel.
void lane_finished(Thread& thread);

// Joins what `source` knows into `target`: afterwards everything ordered before the source is ordered before the target.
void join(std::vector<std::uint32_t>& target, const std::vector<std::uint32_t>& source);

// Releases everything the warp has done so far into `clock` and starts a new epoch for what it does next.
void release(Warp& warp, std::vector<std::uint32_t>& clock);

// Orders everything released into `clock` before the warp's next accesses.
void acquire(Warp& warp, const std::vector<std::uint32_t>& clock);

}  // namespace simt
