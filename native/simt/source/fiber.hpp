// Fibers: user-level threads that switch in a few instructions. One CUDA thread runs on one fiber.
#pragma once

#include <cstddef>

namespace simt {

// Saves the callee-saved registers of the running fiber, stores its stack pointer in *save and continues the fiber whose stack
// pointer is `load`. A system call for the signal mask, as in swapcontext, would cost twenty times as much.
extern "C" void simt_fiber_switch(void** save, void* load) noexcept;

// Prepares a fresh fiber on the stack that ends at `top` and returns the stack pointer to switch to. `entry` must never return.
void* prepare_fiber(void* top, void (*entry)()) noexcept;

// A pool of stacks of equal size in one mapping, each with an inaccessible page below it.
class StackPool {
public:
    StackPool() = default;
    ~StackPool();
    StackPool(const StackPool&) = delete;
    StackPool& operator=(const StackPool&) = delete;

    // Makes room for at least `count` stacks; stacks handed out before are lost. Throws std::bad_alloc.
    void reserve(std::size_t count);

    // The end of stack `index`, staggered so that the hot tops of different stacks do not fall on the same cache lines.
    void* top(std::size_t index) const noexcept;

    char* low() const noexcept { return base_; }
    std::size_t bytes() const noexcept { return count_ * stride; }

    static constexpr std::size_t stride = 128 * 1024;

private:
    char* base_ = nullptr;
    std::size_t count_ = 0;
};

}  // namespace simt
