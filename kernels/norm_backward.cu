// Gradients of the norms of norm.cu, in one pass over x, dy and (where the norm followed a residual connection) the
// sum's own gradient `more`.
// x, dy, more, dx [rows, columns] of ELEMENT, weight [columns] of PARAMETER. With n = the normalised row and g = dy ·
// weight:
//   rms_norm_backward    dx = (g − n·mean(g·n)) / rms + more                     partial[b] = Σ dy·n
//   layer_norm_backward  dx = (g − mean(g) − n·mean(g·n)) / deviation + more     partial[b] = Σ dy·n, bias_partial[b] =
//                        Σ dy
// Each sum goes over the rows of block b, rows_per_block of them in order; column_sum (reduction.cu) adds the blocks'
// sums in order. The number of rows in a block depends on the number of rows alone, so the same batch always gives the
// same bits. dx may be dy.
// Launch: one block of ROW_THREADS threads for rows_per_block rows (see common/row.cuh); BlockSum::bytes of shared
// memory. partial is [blocks, columns] float. A thread has the same columns in every row: its sums stay in registers,
// or in `partial` where PACKS is 0.
// FLOPs: 11 (RMS) to 16 (layer) per element. Bytes: 3·n·sizeof(ELEMENT), 4 with `more`; 4·blocks·columns written for
// each parameter.
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a, bfloat16, 128 threads with one pack: 53 (RMS) and 56 (layer) registers; with two at
// most 80 and 114, no spills.
#include "common/reduce.cuh"
#include "common/row.cuh"
#include "common/shared.cuh"

using T = ELEMENT;
using W = PARAMETER;

// A thread's float sums, one for each of its columns.
struct ColumnSums {
    float* memory;
    float kept[PACKS > 0 ? PACKS* VECTOR : 1];

    __device__ __forceinline__ ColumnSums(float* target, int columns) : memory(target) {
        if constexpr (PACKS > 0) {
#pragma unroll
            for (int i = 0; i < PACKS * VECTOR; i++)
                kept[i] = 0;
        } else {
            each_pack(columns, [&](int, int column) {
                for (int e = 0; e < VECTOR; e++)
                    memory[column + e] = 0;
            });
        }
    }

    __device__ __forceinline__ void add(int i, int column, int e, float value) {
        if constexpr (PACKS > 0)
            kept[i * VECTOR + e] += value;
        else
            memory[column + e] += value;
    }

    __device__ __forceinline__ void store(int columns) {
        if constexpr (PACKS > 0) {
            each_pack(columns, [&](int i, int column) {
                Pack<float, VECTOR> pack;
#pragma unroll
                for (int e = 0; e < VECTOR; e++)
                    pack.set(e, kept[i * VECTOR + e]);
                store_pack<VECTOR>(memory + column, pack);
            });
        }
    }
};

// dx = (g − offset − centred·slope) · scale, and `more`. centred = x − mean.
__device__ __forceinline__ void store_gradient(const RowPacks<T>& x, const RowPacks<T>& dy, const W* weight,
                                               const T* more, T* dx, int columns, float mean, float offset, float slope,
                                               float scale) {
    each_pack(columns, [&](int i, int column) {
        const Pack<T, VECTOR> value = x.again(i, column), gradient = dy.again(i, column);
        const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column);
        float result[VECTOR];
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            result[e] = (gradient.get(e) * factor.get(e) - offset - (value.get(e) - mean) * slope) * scale;
        if (more != nullptr) {
            const Pack<T, VECTOR> other = load_pack<VECTOR>(more + column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                result[e] += other.get(e);
        }
        Pack<T, VECTOR> pack;
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            pack.set(e, result[e]);
        store_pack<VECTOR>(dx + column, pack);
    });
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    rms_norm_backward(const T* x, const W* weight, const T* dy, const T* more, T* dx, float* partial, int rows,
                      int columns, int rows_per_block, float epsilon) {
    SKYLIGHT_SHARED(shared);
    BlockSum<ROW_THREADS, float, 2> total(shared);
    ColumnSums weight_sums(partial + (long long)blockIdx.x * columns, columns);
    const long long begin = (long long)blockIdx.x * rows_per_block, end = min(begin + rows_per_block, (long long)rows);
    for (long long row = begin; row < end; row++) {
        const long long first = row * columns;
        RowPacks<T> value{x + first, {}}, gradient{dy + first, {}};
        float sums[2] = {0, 0};  // Σx², Σg·x
        each_pack(columns, [&](int i, int column) {
            const Pack<T, VECTOR> a = value.load(i, column), b = gradient.load(i, column);
            const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                sums[0] += a.get(e) * a.get(e);
                sums[1] += b.get(e) * factor.get(e) * a.get(e);
            }
        });
        total(sums);
        const float scale = 1.0f / sqrtf(sums[0] / columns + epsilon);
        each_pack(columns, [&](int i, int column) {
            const Pack<T, VECTOR> a = value.again(i, column), b = gradient.again(i, column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                weight_sums.add(i, column, e, b.get(e) * (a.get(e) * scale));
        });
        store_gradient(value, gradient, weight, more == nullptr ? nullptr : more + first, dx + first, columns, 0, 0,
                       sums[1] * scale * scale / columns, scale);
    }
    weight_sums.store(columns);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    layer_norm_backward(const T* x, const W* weight, const T* dy, const T* more, T* dx, float* partial,
                        float* bias_partial, int rows, int columns, int rows_per_block, float epsilon) {
    SKYLIGHT_SHARED(shared);
    BlockSum<ROW_THREADS, float, 3> total(shared);
    ColumnSums weight_sums(partial + (long long)blockIdx.x * columns, columns),
        bias_sums(bias_partial + (long long)blockIdx.x * columns, columns);
    const long long begin = (long long)blockIdx.x * rows_per_block, end = min(begin + rows_per_block, (long long)rows);
    for (long long row = begin; row < end; row++) {
        const long long first = row * columns;
        RowPacks<T> value{x + first, {}}, gradient{dy + first, {}};
        float sum[1] = {0};
        each_pack(columns, [&](int i, int column) {
            const Pack<T, VECTOR> a = value.load(i, column);
            gradient.load(i, column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                sum[0] += a.get(e);
        });
        total(sum);
        const float mean = sum[0] / columns;
        float sums[3] = {0, 0, 0};  // Σ(x − mean)², Σg, Σg·(x − mean)
        each_pack(columns, [&](int i, int column) {
            const Pack<T, VECTOR> a = value.again(i, column), b = gradient.again(i, column);
            const Pack<W, VECTOR> factor = load_pack<VECTOR>(weight + column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                const float centred = a.get(e) - mean, g = b.get(e) * factor.get(e);
                sums[0] += centred * centred;
                sums[1] += g;
                sums[2] += g * centred;
            }
        });
        total(sums);
        const float scale = 1.0f / sqrtf(sums[0] / columns + epsilon);
        each_pack(columns, [&](int i, int column) {
            const Pack<T, VECTOR> a = value.again(i, column), b = gradient.again(i, column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                weight_sums.add(i, column, e, b.get(e) * ((a.get(e) - mean) * scale));
                bias_sums.add(i, column, e, b.get(e));
            }
        });
        store_gradient(value, gradient, weight, more == nullptr ? nullptr : more + first, dx + first, columns, mean,
                       sums[1] / columns, sums[2] * scale * scale / columns, scale);
    }
    weight_sums.store(columns);
    bias_sums.store(columns);
}
