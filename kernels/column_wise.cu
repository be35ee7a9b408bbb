// Ops that treat the columns of a row differently. All but partial in ELEMENT, factor in PARAMETER (float or bfloat16,
// -D); arithmetic in float, rounded once.
//   swiglu                gate_up [rows, 2·columns] → y [rows, columns] = silu(gate) · up, the gate's columns first
//   swiglu_backward       (gate_up, dy) → d_gate_up, which may be gate_up
//   layer_scale           y [rows, columns] = x · factor [columns]; y may be x
//   layer_scale_backward  dx = dy · factor, which may be dy; partial[b] [columns] = Σ dy · x over the rows of block b
//                         in order, to be added by column_sum (reduction.cu)
// Launch: 128 threads, each with VECTOR columns: 16 bytes where the columns are a multiple of that, else one. The
// grid's x goes over rows (in layer_scale_backward over blocks of rows_per_block rows), its y over columns.
// FLOPs: 5, 10, 1 and 3 per element of y. Bytes: 3, 5, 2 and 3 times n·sizeof(ELEMENT), n the elements of y or dx.
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: at most 32 registers, layer_scale_backward 56, no spills.
#include "common/activation.cuh"

using T = ELEMENT;
using W = PARAMETER;

__device__ __forceinline__ int first_column() { return (blockIdx.y * blockDim.x + threadIdx.x) * VECTOR; }

extern "C" __global__ void __launch_bounds__(128) swiglu(const T* gate_up, T* y, int columns) {
    const int column = first_column();
    if (column >= columns)
        return;
    const T* row = gate_up + (long long)blockIdx.x * 2 * columns + column;
    Pack<T, VECTOR> gate = load_pack<VECTOR>(row);
    const Pack<T, VECTOR> up = load_pack<VECTOR>(row + columns);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        gate.set(e, silu(gate.get(e)) * up.get(e));
    store_pack<VECTOR>(y + (long long)blockIdx.x * columns + column, gate);
}

extern "C" __global__ void __launch_bounds__(128)
    swiglu_backward(const T* gate_up, const T* dy, T* result, int columns) {
    const int column = first_column();
    if (column >= columns)
        return;
    const long long first = (long long)blockIdx.x * 2 * columns + column;
    Pack<T, VECTOR> gate = load_pack<VECTOR>(gate_up + first), up = load_pack<VECTOR>(gate_up + first + columns);
    const Pack<T, VECTOR> gradient = load_pack<VECTOR>(dy + (long long)blockIdx.x * columns + column);
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        const float x = gate.get(e), s = sigmoid(x), g = gradient.get(e);
        gate.set(e, g * up.get(e) * (s * (1.0f + x * (1.0f - s))));
        up.set(e, g * (x * s));
    }
    store_pack<VECTOR>(result + first, gate);
    store_pack<VECTOR>(result + first + columns, up);
}

extern "C" __global__ void __launch_bounds__(128) layer_scale(const T* x, const W* factor, T* y, int columns) {
    const int column = first_column();
    if (column >= columns)
        return;
    const long long first = (long long)blockIdx.x * columns + column;
    Pack<T, VECTOR> pack = load_pack<VECTOR>(x + first);
    const Pack<W, VECTOR> scale = load_pack<VECTOR>(factor + column);
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        pack.set(e, pack.get(e) * scale.get(e));
    store_pack<VECTOR>(y + first, pack);
}

extern "C" __global__ void __launch_bounds__(128)
    layer_scale_backward(const T* x, const W* factor, const T* dy, T* dx, float* partial, int rows, int columns,
                         int rows_per_block) {
    const int column = first_column();
    if (column >= columns)
        return;
    const Pack<W, VECTOR> scale = load_pack<VECTOR>(factor + column);
    Pack<float, VECTOR> sum;
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        sum.set(e, 0);
    const long long begin = (long long)blockIdx.x * rows_per_block, end = min(begin + rows_per_block, (long long)rows);
#pragma unroll 4
    for (long long row = begin; row < end; row++) {
        const long long first = row * columns + column;
        const Pack<T, VECTOR> value = load_pack<VECTOR>(x + first);
        Pack<T, VECTOR> gradient = load_pack<VECTOR>(dy + first);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            sum.set(e, sum.get(e) + gradient.get(e) * value.get(e));
            gradient.set(e, gradient.get(e) * scale.get(e));
        }
        store_pack<VECTOR>(dx + first, gradient);
    }
    store_pack<VECTOR>(partial + (long long)blockIdx.x * columns + column, sum);
}
