// Whether what one block of a launch wrote to global memory may be read by another: not without a fence and an atomic of
// the writer's behind it, and an atomic and a fence of the reader's before. Looked at where the setting `visibility` is on: it remembers every write.
#pragma once

#include "access.hpp"

namespace simt {

// Forgets the launch before.
void begin_visibility();

// An access of the running thread to global memory.
void note_visibility(std::uintptr_t address, std::size_t bytes, Access access, const Site& site);

// The running thread's atomic at that address is done: what other blocks' atomics there said before it is known from here on. (They
// are noted before they are done.)
void finish_atomic(const void* pointer);

// A fence for the device by the running thread: for what it wrote itself, and what a barrier has shown it of the block's other threads.
void fence_visibility();

}  // namespace simt
