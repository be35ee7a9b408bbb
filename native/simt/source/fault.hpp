// Faults (SIGSEGV, SIGBUS, SIGFPE) inside kernels become reports instead of ending the process.
#pragma once

namespace simt {

// Installs the handler once; faults outside of kernels go to whoever handled them before.
void install_fault_handler();

// Gives the calling thread a stack for its signal handlers: a fault may be the overflow of a fiber's stack.
void prepare_fault_stack();

}  // namespace simt
