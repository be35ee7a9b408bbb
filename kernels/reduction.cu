// Sums of all elements and of columns, in an order that depends on the shape alone. ELEMENT is float or bfloat16 (-D);
// sums are float.
//   sum         x [count] → partial[b], the sum of the 8192 elements of block b; again with one block and all elements
//               for the total
//   column_sum  x [rows, columns] → partial[b] [columns], the sum of the rows_per_block rows of block b; again with one
//               block for the total
// Launch: 256 threads. sum: one block for each `span` elements; BlockSum::bytes of shared memory. column_sum: a warp
// has 32 · VECTOR columns and every eighth row of the block's, then the eight sums are added in order; x of the grid
// goes over columns, y over row blocks; shared memory 8 · 32 · VECTOR floats. VECTOR: 16 bytes where the columns are a
// multiple of that, else 1.
// FLOPs: one per element. Bytes: n·sizeof(ELEMENT), and the partial sums.
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: at most 36 registers, no spills.
#include "common/reduce.cuh"
#include "common/shared.cuh"

using T = ELEMENT;
constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads) sum(const T* x, float* partial, long long count, long long span) {
    constexpr int width = pack_width<T>;
    SKYLIGHT_SHARED(shared);
    BlockSum<threads> total(shared);
    const long long begin = blockIdx.x * span, end = min(begin + span, count);
    float sum = 0;
    for (long long first = begin + threadIdx.x * width; first < end; first += threads * width) {
        if (first + width <= end) {
            const Pack<T, width> pack = load_pack<width>(x + first);
#pragma unroll
            for (int e = 0; e < width; e++)
                sum += pack.get(e);
        } else {
            for (long long i = first; i < end; i++)
                sum += to_float(x[i]);
        }
    }
    sum = total.one(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(threads)
    column_sum(const T* x, float* partial, int rows, int columns, int rows_per_block) {
    constexpr int warps = threads / 32, width = 32 * VECTOR;
    SKYLIGHT_SHARED(shared);
    float* sums = reinterpret_cast<float*>(shared);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * width,
              column = first + lane * VECTOR;
    Pack<float, VECTOR> sum;
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        sum.set(e, 0);
    if (column < columns) {
        const long long begin = (long long)blockIdx.y * rows_per_block,
                        end = min(begin + rows_per_block, (long long)rows);
#pragma unroll 4
        for (long long row = begin + warp; row < end; row += warps) {
            const Pack<T, VECTOR> pack = load_pack<VECTOR>(x + row * columns + column);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                sum.set(e, sum.get(e) + pack.get(e));
        }
    }
    store_pack<VECTOR>(sums + warp * width + lane * VECTOR, sum);
    synchronize_block();
    for (int i = threadIdx.x; i < width && first + i < columns; i += threads) {
        float result = sums[i];
#pragma unroll
        for (int other = 1; other < warps; other++)
            result += sums[other * width + i];
        partial[(long long)blockIdx.y * columns + first + i] = result;
    }
}
