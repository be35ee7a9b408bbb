// Columns that move from one matrix into another: splitting rows into pieces, and joining pieces to rows, with one
// launch per piece; and columns in another order.
//   copy_columns      target[row, c] = source[row, c] for c < columns; the rows of both lie their own strides (in
//                     elements) apart
//   permute_columns   target[row, c] = source[row, order[c]]; an index outside of [0, columns) is reported and gives
//                     zero
// ELEMENT is float or bfloat16 (-D); WIDTH elements are one access, and WIDTH divides columns, strides and the offsets
// of both pointers.
// permute_columns reads single elements of a row, which lies in the caches, and writes packs.
// Launch: 256 threads, each with one pack. FLOPs: none. Bytes: 2·rows·columns·sizeof(T), and 4·columns for the order.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// copy_columns 14 / 14, permute_columns 24 / 24.
#include "common/places.cuh"
#include "common/status.cuh"

using T = ELEMENT;
constexpr int width = WIDTH;

extern "C" __global__ void __launch_bounds__(256)
    copy_columns(const T* source, T* target, int rows, int columns, int source_stride, int target_stride) {
    const Place place = this_place<width>(rows, columns);
    if (place.inside)
        store_pack<width>(target + (long long)place.row * target_stride + place.column,
                          load_pack<width>(source + (long long)place.row * source_stride + place.column));
}

extern "C" __global__ void __launch_bounds__(256)
    permute_columns(const T* source, const int* order, T* target, int rows, int columns, Status* status, int tag) {
    const Place place = this_place<width>(rows, columns);
    if (!place.inside)
        return;
    const T* const row = source + (long long)place.row * columns;
    Pack<T, width> pack = zero_pack<T, width>();
#pragma unroll
    for (int i = 0; i < width; i++) {
        const int column = order[place.column + i];
        if (column >= 0 && column < columns)
            pack.elements[i] = row[column];
        else if (place.row == 0)
            report_status(status, tag, place.column + i, column);
    }
    store_pack<width>(target + (long long)place.row * columns + place.column, pack);
}
