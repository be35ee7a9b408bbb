// Running a launch: which cluster a worker takes, which fiber runs next, and how a fiber stops.
#pragma once

#include <string>

#include "state.hpp"

namespace simt {

// Runs every block of the launch and returns when all have ended: 0, or the error of the first failure (which has been reported).
Result run(Launch& launch);

// Stops the running fiber until wake() is called for it.
void block_current(const char* waiting_for, const Site& site);

// Makes a blocked thread runnable.
void wake(Thread& thread);

// Lets other fibers run: for kernels that poll. Reports a hang when nothing has moved for a long time.
void yield_current(const char* waiting_for, const Site& site);

// Reports the message, gives the launch up and never returns to the kernel.
[[noreturn]] void fail_current(Result result, const std::string& message, const Site& site);

// The fiber's last words: leaves it for good. Also the target of the signal handler.
[[noreturn]] void abandon_current();

}  // namespace simt
