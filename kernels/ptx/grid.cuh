// Kernels that start before the one before them in the stream has ended (Hopper and newer); nothing on older cards. A
// kernel launched so waits before it touches global memory, in every thread that does, and lets the next one start only
// after that: then all that came before the kernel before it is done when its own wait ends.
#pragma once

// Whether there is anything to do before grid_wait.
#if __CUDA_ARCH__ >= 900
constexpr bool grids_overlap = true;
#else
constexpr bool grids_overlap = false;
#endif

// griddepcontrol.wait: waits until the kernels before this one have ended and their writes are seen.
__device__ __forceinline__ void grid_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// griddepcontrol.launch_dependents: the next kernel may start as soon as all blocks have come here, or have ended.
__device__ __forceinline__ void grid_launch_dependents() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
