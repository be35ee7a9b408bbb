// Between element types, in any storage order.
//   cast        y[i] = x[i], rounded to nearest, ties to even, where TARGET has fewer bits
//   accumulate  target[i] += x[i], in float
// SOURCE and TARGET are float or bfloat16 (-D). Tensors begin at a multiple of 32 bytes.
// Launch: 256 threads, each with 8 elements; the grid covers the elements. The last 8 may be incomplete.
// FLOPs: none, one per element. Bytes: cast n·(sizeof(SOURCE) + sizeof(TARGET)), accumulate n·(sizeof(SOURCE) +
// 2·sizeof(TARGET)).
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: at most 26 registers, no spills.
#include "common/types.cuh"

constexpr int width = 8;

__device__ __forceinline__ long long first_element() {
    return ((long long)blockIdx.x * blockDim.x + threadIdx.x) * width;
}

extern "C" __global__ void __launch_bounds__(256) cast(const SOURCE* x, TARGET* y, long long count) {
    const long long first = first_element();
    if (first + width <= count) {
        const Pack<SOURCE, width> pack = load_pack<width>(x + first);
        Pack<TARGET, width> result;
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, pack.get(i));
        store_pack<width>(y + first, result);
        return;
    }

    for (long long i = first; i < count; i++)
        y[i] = from_float<TARGET>(to_float(x[i]));
}

extern "C" __global__ void __launch_bounds__(256) accumulate(TARGET* target, const SOURCE* x, long long count) {
    const long long first = first_element();
    if (first + width <= count) {
        const Pack<SOURCE, width> pack = load_pack<width>(x + first);
        Pack<TARGET, width> result = load_pack<width>(target + first);
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, result.get(i) + pack.get(i));
        store_pack<width>(target + first, result);
        return;
    }

    for (long long i = first; i < count; i++)
        target[i] = from_float<TARGET>(to_float(target[i]) + to_float(x[i]));
}
