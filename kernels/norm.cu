// Normalisation of rows, alone and after a residual connection. x, y, residual, sum [rows, columns] of ELEMENT; weight,
// bias [columns] of PARAMETER (both float or bfloat16, -D); statistics in float, rounded once.
//   rms_norm        y = x / √(mean(x²) + epsilon) · weight
//   layer_norm      y = (x − mean(x)) / √(mean((x − mean(x))²) + epsilon) · weight + bias
//   add_rms_norm    sum = residual + x, y = rms_norm(sum): of the rounded sum, so that it has the bits of the two ops
//                   one after the other
//   add_layer_norm  likewise
// Outputs may be inputs (y = x; sum = residual, y = x): a thread reads its elements before it writes them.
// Launch: see common/row.cuh. Rows of one warp (ROW_THREADS = 32) come four to a block of 128 threads, others one to a
// block; BlockSum::bytes of shared memory. One read of x, which stays in registers, at any number of columns up to 4096
// packs.
// FLOPs: 4 (RMS) to 7 (layer) per element, one more for the sum. Bytes: 2·n·sizeof(ELEMENT), with the sum
// 4·n·sizeof(ELEMENT).
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a, bfloat16: at most 48 (RMS) and 56 (layer) registers with 4 packs, 80 and 94 with 8, no
// spills.
#include "common/reduce.cuh"
#include "common/row.cuh"
#include "common/shared.cuh"
#include "ptx/grid.cuh"

using T = ELEMENT;
using W = PARAMETER;

constexpr int rows_per_block = ROW_THREADS == 32 ? 4 : 1;
constexpr int block_threads = ROW_THREADS * rows_per_block;

__device__ __forceinline__ long long row_index() {
    return (long long)blockIdx.x * rows_per_block + threadIdx.x / ROW_THREADS;
}

// Reads a row, stores and keeps the sum with `residual` where there is one; returns the thread's part of Σx or Σx².
template <bool squares>
__device__ __forceinline__ float read_row(RowPacks<T>& x, const T* residual, T* sum, int columns) {
    float total = 0;
    each_pack(columns, [&](int i, int column) {
        Pack<T, VECTOR> pack = x.load(i, column);
        if (residual != nullptr) {
            const Pack<T, VECTOR> other = load_pack<VECTOR>(residual + column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                pack.set(e, other.get(e) + pack.get(e));
            store_pack<VECTOR>(sum + column, pack);
            x.kept[i] = pack;
        }
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            total += squares ? pack.get(e) * pack.get(e) : pack.get(e);
    });
    // What is not kept is read again from where it was stored.
    if (residual != nullptr)
        x.row = sum;
    return total;
}

__device__ __forceinline__ void rms_row(const T* residual, const T* x, const W* weight, T* sum, T* y, int columns,
                                        float epsilon) {
    SKYLIGHT_SHARED(shared);
    BlockSum<ROW_THREADS> total(shared);
    RowPacks<T> row{x, {}};
    const float squares = total.one(read_row<true>(row, residual, sum, columns));
    const float scale = 1.0f / sqrtf(squares / columns + epsilon);
    each_pack(columns, [&](int i, int column) {
        Pack<T, VECTOR> pack = row.again(i, column);
        const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            pack.set(e, pack.get(e) * scale * factor.get(e));
        store_pack<VECTOR>(y + column, pack);
    });
}

__device__ __forceinline__ void layer_row(const T* residual, const T* x, const W* weight, const W* bias, T* sum, T* y,
                                          int columns, float epsilon) {
    SKYLIGHT_SHARED(shared);
    BlockSum<ROW_THREADS> total(shared);
    RowPacks<T> row{x, {}};
    const float mean = total.one(read_row<false>(row, residual, sum, columns)) / columns;
    float squares = 0;
    each_pack(columns, [&](int i, int column) {
        const Pack<T, VECTOR> pack = row.again(i, column);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            squares += (pack.get(e) - mean) * (pack.get(e) - mean);
    });
    const float scale = 1.0f / sqrtf(total.one(squares) / columns + epsilon);
    each_pack(columns, [&](int i, int column) {
        Pack<T, VECTOR> pack = row.again(i, column);
        const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column), offset = load_pack<VECTOR>(bias + column);
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            pack.set(e, (pack.get(e) - mean) * scale * factor.get(e) + offset.get(e));
        store_pack<VECTOR>(y + column, pack);
    });
}

// Without a row to do, whole warps leave; blocks of several warps to a row always have one.
extern "C" __global__ void __launch_bounds__(block_threads)
    rms_norm(const T* x, const W* weight, T* y, int rows, int columns, float epsilon) {
    grid_wait();
    grid_launch_dependents();
    const long long row = row_index();
    if (row < rows)
        rms_row(nullptr, x + row * columns, weight, nullptr, y + row * columns, columns, epsilon);
}

extern "C" __global__ void __launch_bounds__(block_threads)
    add_rms_norm(const T* residual, const T* x, const W* weight, T* sum, T* y, int rows, int columns, float epsilon) {
    grid_wait();
    grid_launch_dependents();
    const long long row = row_index(), first = row * columns;
    if (row < rows)
        rms_row(residual + first, x + first, weight, sum + first, y + first, columns, epsilon);
}

extern "C" __global__ void __launch_bounds__(block_threads)
    layer_norm(const T* x, const W* weight, const W* bias, T* y, int rows, int columns, float epsilon) {
    grid_wait();
    grid_launch_dependents();
    const long long row = row_index();
    if (row < rows)
        layer_row(nullptr, x + row * columns, weight, bias, nullptr, y + row * columns, columns, epsilon);
}

extern "C" __global__ void __launch_bounds__(block_threads)
    add_layer_norm(const T* residual, const T* x, const W* weight, const W* bias, T* sum, T* y, int rows, int columns,
                   float epsilon) {
    grid_wait();
    grid_launch_dependents();
    const long long row = row_index(), first = row * columns;
    if (row < rows)
        layer_row(residual + first, x + first, weight, bias, sum + first, y + first, columns, epsilon);
}
