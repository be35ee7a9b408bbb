// Host bodies of kernels/ptx/grid.cuh.
#pragma once

constexpr bool grids_overlap = true;

__device__ __forceinline__ void grid_wait() { simt_grid_wait(); }

__device__ __forceinline__ void grid_launch_dependents() { simt_grid_launch_dependents(); }
