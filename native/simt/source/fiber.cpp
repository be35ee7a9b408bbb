#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__x86_64__)
asm(R"(
    .text
    .globl simt_fiber_switch
    .hidden simt_fiber_switch
    .type simt_fiber_switch, @function
simt_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simt_fiber_switch, . - simt_fiber_switch
)");
#elif defined(__aarch64__)
asm(R"(
    .text
    .globl simt_fiber_switch
    .hidden simt_fiber_switch
    .type simt_fiber_switch, %function
simt_fiber_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size simt_fiber_switch, . - simt_fiber_switch
)");
#else
#error "the emulator knows how to switch fibers on x86-64 and aarch64 only"
#endif

namespace simt {

void* prepare_fiber(void* top, void (*entry)()) noexcept {
    auto end = reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15};
#if defined(__x86_64__)
    // Six saved registers, then the address `ret` goes to; at entry the stack pointer must be 8 off a multiple of 16.
    auto* frame = reinterpret_cast<void**>(end - 8 * sizeof(void*));
    for (int slot = 0; slot < 8; slot++) frame[slot] = nullptr;
    frame[6] = reinterpret_cast<void*>(entry);
#else
    auto* frame = reinterpret_cast<void**>(end - 160);
    for (int slot = 0; slot < 20; slot++) frame[slot] = nullptr;
    frame[11] = reinterpret_cast<void*>(entry);
#endif
    return frame;
}

StackPool::~StackPool() {
    if (base_ != nullptr) munmap(base_, bytes());
}

void StackPool::reserve(std::size_t count) {
    if (count <= count_) return;
    if (base_ != nullptr) munmap(base_, bytes());
    base_ = nullptr;
    count_ = 0;
    void* mapping = mmap(nullptr, count * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(mapping);
    count_ = count;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (std::size_t index = 0; index < count; index++) mprotect(base_ + index * stride, page, PROT_NONE);
}

void* StackPool::top(std::size_t index) const noexcept {
    return base_ + (index + 1) * stride - (index % 64) * 64;
}

}  // namespace simt
