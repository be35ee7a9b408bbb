// Activation functions and their gradients, in any storage order; the functions are those of common/activation.cuh.
//   gelu_forward, silu_forward    y[i] = f(x[i])
//   gelu_backward, silu_backward  dx[i] = dy[i] · f'(x[i])
// ELEMENT is float or bfloat16 (-D); arithmetic in float, rounded once. Outputs may be inputs.
// Launch: 256 threads, each with one 16-byte pack; the grid covers the elements. The last pack may be incomplete.
// FLOPs: 4 (silu) to 30 (gelu_backward, with the polynomials of erf) per element. Bytes: 2·n·sizeof(ELEMENT), backward
// 3·n·sizeof(ELEMENT).
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: at most 32 registers, no spills.
#include "common/activation.cuh"
#include "common/element_wise.cuh"

using T = ELEMENT;

extern "C" __global__ void __launch_bounds__(256) gelu_forward(const T* x, T* y, long long count) {
    map_elements(x, y, count, [](float value) { return gelu(value); });
}

extern "C" __global__ void __launch_bounds__(256) gelu_backward(const T* x, const T* dy, T* dx, long long count) {
    map_elements(x, dy, dx, count, [](float value, float gradient) { return gradient * gelu_slope(value); });
}

extern "C" __global__ void __launch_bounds__(256) silu_forward(const T* x, T* y, long long count) {
    map_elements(x, y, count, [](float value) { return silu(value); });
}

extern "C" __global__ void __launch_bounds__(256) silu_backward(const T* x, const T* dy, T* dx, long long count) {
    map_elements(x, dy, dx, count, [](float value, float gradient) { return gradient * silu_slope(value); });
}
