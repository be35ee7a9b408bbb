// Copies of a vector.
//   fill_rows  result[row, column] = bias[column]
// BIAS and RESULT are float or bfloat16 (-D). It precedes a library product that adds to its result; the own product
// adds a bias itself.
// Launch: 256 threads, each with one element; the grid covers the elements.
// FLOPs: none. Bytes: the result once.
// Measured: nothing yet (no GPU has run it).
#include "common/types.cuh"

extern "C" __global__ void __launch_bounds__(256)
    fill_rows(const BIAS* bias, RESULT* result, long long count, int columns) {
    const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count)
        result[index] = from_float<RESULT>(to_float(bias[index % columns]));
}
