// Element-wise ops on whole tensors, in any storage order.
//   add    sum[i] = a[i] + b[i]
//   scale  y[i] = factor · x[i]
// ELEMENT is float or bfloat16 (-D); arithmetic in float, rounded once. Outputs may be inputs.
// Launch: 256 threads, each with one 16-byte pack; the grid covers the elements. The last pack may be incomplete.
// FLOPs: one per element. Bytes: every operand once (add 3·n·sizeof(T), scale 2·n·sizeof(T)).
// Measured: nothing yet.
#include "common/types.cuh"

using T = ELEMENT;
constexpr int width = pack_width<T>;

__device__ __forceinline__ long long first_element() { return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * width; }

extern "C" __global__ void __launch_bounds__(256) add(const T* a, const T* b, T* sum, long long count) {
    const long long first = first_element();
    if (first + width <= count) {
        const Pack<T, width> left = load_pack<width>(a + first);
        const Pack<T, width> right = load_pack<width>(b + first);
        Pack<T, width> result;
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, left.get(i) + right.get(i));
        store_pack<width>(sum + first, result);
        return;
    }

    for (long long i = first; i < count; i++)
        sum[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
}

extern "C" __global__ void __launch_bounds__(256) scale(const T* x, T* y, long long count, float factor) {
    const long long first = first_element();
    if (first + width <= count) {
        Pack<T, width> pack = load_pack<width>(x + first);
#pragma unroll
        for (int i = 0; i < width; i++)
            pack.set(i, factor * pack.get(i));
        store_pack<width>(y + first, pack);
        return;
    }

    for (long long i = first; i < count; i++)
        y[i] = from_float<T>(factor * to_float(x[i]));
}
