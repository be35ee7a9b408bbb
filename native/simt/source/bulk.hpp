// The bulk copy engine.
#pragma once

#include "state.hpp"

namespace simt {

// A thread has returned: its stores must have read their shared memory by now, and are written.
void finish_stores(Thread& thread);

}  // namespace simt
