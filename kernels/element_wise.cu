// Element-wise ops on whole tensors, in any storage order.
//   add        sum[i] = a[i] + b[i]
//   multiply   product[i] = a[i] · b[i]
//   scale      y[i] = factor · x[i]
//   broadcast  y[i] = x[0], x float
//   fill       y[i] = value
// ELEMENT is float or bfloat16 (-D); arithmetic in float, rounded once. Outputs may be inputs.
// Launch: 256 threads, each with one 16-byte pack; the grid covers the elements. The last pack may be incomplete.
// FLOPs: one per element. Bytes: every operand once (add and multiply 3·n·sizeof(ELEMENT), scale 2·n·sizeof(ELEMENT),
// the others n·sizeof(ELEMENT)).
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: at most 25 registers, no spills.
#include "common/element_wise.cuh"

using T = ELEMENT;

extern "C" __global__ void __launch_bounds__(256) add(const T* a, const T* b, T* sum, long long count) {
    map_elements(a, b, sum, count, [](float left, float right) { return left + right; });
}

extern "C" __global__ void __launch_bounds__(256) multiply(const T* a, const T* b, T* product, long long count) {
    map_elements(a, b, product, count, [](float left, float right) { return left * right; });
}

extern "C" __global__ void __launch_bounds__(256) scale(const T* x, T* y, long long count, float factor) {
    map_elements(x, y, count, [=](float value) { return factor * value; });
}

extern "C" __global__ void __launch_bounds__(256) broadcast(const float* x, T* y, long long count) {
    fill_elements(y, count, *x);
}

extern "C" __global__ void __launch_bounds__(256) fill(T* y, long long count, float value) {
    fill_elements(y, count, value);
}
