// Columns that move from one matrix into another: splitting rows into pieces, and joining pieces to rows, with one launch per piece.
//   copy_columns   target[row, c] = source[row, c] for c < columns; the rows of both lie their own strides (in elements) apart
// ELEMENT is float or bfloat16 (-D); WIDTH elements are one access, and WIDTH divides columns, strides and the offsets of both pointers.
// Launch: 256 threads, each with one pack. FLOPs: none. Bytes: 2·rows·columns·sizeof(T).
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// 14 / 14.
#include "common/places.cuh"

using T = ELEMENT;
constexpr int width = WIDTH;

extern "C" __global__ void __launch_bounds__(256)
    copy_columns(const T* source, T* target, int rows, int columns, int source_stride, int target_stride) {
    const Place place = this_place<width>(rows, columns);
    if (place.inside)
        store_pack<width>(target + (long long)place.row * target_stride + place.column, load_pack<width>(source + (long long)place.row * source_stride + place.column));
}
