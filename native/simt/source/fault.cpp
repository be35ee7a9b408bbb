#include "fault.hpp"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <ucontext.h>

#include "cuda_abi.hpp"
#include "memory.hpp"
#include "report.hpp"
#include "scheduler.hpp"

namespace simt {

namespace {

struct sigaction previous_segv, previous_bus, previous_fpe;

thread_local int fault_signal = 0;
thread_local const void* fault_address = nullptr;
thread_local const void* fault_instruction = nullptr;
thread_local void* rescue_stack = nullptr;
constexpr std::size_t rescue_bytes = 256 * 1024;

// Runs on the rescue stack, after the handler has returned: everything may be called here.
[[noreturn]] void report_fault() {
    const auto address = reinterpret_cast<std::uintptr_t>(fault_address);
    const Worker& worker = *this_worker;
    std::string message;
    if (fault_signal == SIGFPE) {
        message = "integer division by zero or overflow";
    } else if (address - reinterpret_cast<std::uintptr_t>(worker.stacks.low()) < worker.stacks.bytes()) {
        message = "the thread's stack is full (" + std::to_string(StackPool::stride / 1024) +
                  " KiB in the emulator): local arrays are too large or the recursion is too deep";
    } else {
        message = "access to " + hexadecimal(fault_address) + ", " + memory().describe(fault_address);
    }
    fail_current(CUDA_ERROR_ILLEGAL_ADDRESS, message, call_site(fault_instruction));
}

void on_fault(int number, siginfo_t* information, void* context) {
    auto* machine = static_cast<ucontext_t*>(context);
    if (this_worker != nullptr && this_worker->current != nullptr && rescue_stack != nullptr) {
        fault_signal = number;
        fault_address = information->si_addr;
        auto top = (reinterpret_cast<std::uintptr_t>(rescue_stack) + rescue_bytes) & ~std::uintptr_t{15};
#if defined(__x86_64__)
        // One past the instruction, as a return address is.
        fault_instruction = reinterpret_cast<const void*>(machine->uc_mcontext.gregs[REG_RIP] + 1);
        machine->uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(top - 8);
        machine->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&report_fault);
#else
        fault_instruction = reinterpret_cast<const void*>(machine->uc_mcontext.pc + 1);
        machine->uc_mcontext.sp = top;
        machine->uc_mcontext.pc = reinterpret_cast<std::uintptr_t>(&report_fault);
#endif
        return;
    }
    const struct sigaction& previous = number == SIGSEGV ? previous_segv : number == SIGBUS ? previous_bus : previous_fpe;
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
        previous.sa_sigaction(number, information, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        signal(number, SIG_DFL);  // the instruction faults again and ends the process
    }
}

}  // namespace

void install_fault_handler() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        sigaction(SIGSEGV, &action, &previous_segv);
        sigaction(SIGBUS, &action, &previous_bus);
        sigaction(SIGFPE, &action, &previous_fpe);
    });
}

void prepare_fault_stack() {
    constexpr std::size_t bytes = 64 * 1024;
    stack_t stack{};
    stack.ss_sp = std::malloc(bytes);
    stack.ss_size = bytes;
    if (stack.ss_sp != nullptr) sigaltstack(&stack, nullptr);
    rescue_stack = std::malloc(rescue_bytes);
}

}  // namespace simt
