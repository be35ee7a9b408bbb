// Matrix products with a batch-invariant order of summation.
//   matrix_product  result [rows, columns] = left [rows, inner] · right [inner, columns] (+ bias [columns]), for each
//                   matrix of a batch
// left is stored [inner, rows] where TRANSPOSE_LEFT is 1; right is stored [columns, inner], as weights are, where
// TRANSPOSE_RIGHT is 1. So
//   x · weightᵀ   x [m, k],        weight [n, k]      TRANSPOSE_RIGHT
//   dy · weight   dy [m, n],       weight [n, k]      neither
//   dyᵀ · x       dy [rows, n],    x [rows, k]        TRANSPOSE_LEFT
// Factors are bfloat16, sums float32; bias is BIAS and the result RESULT (float or bfloat16), rounded once, after the
// bias; ACTIVATION says what is made of it before it is stored (common/product_epilogue.cuh). With SwiGLU `columns` are
// the result's, half of right's.
// Any extents, also inner = 0 (the bias, or zeros). ALIGNED 1: both factors, of every matrix of the batch, begin at
// multiples of 16 bytes, and their strides are multiples of 8 elements.
// Every element is one chain of m16n8k16 steps with the inner index ascending, so the tile shape changes no bit
// (common/matrix_tile.cuh).
// Launch: batch · tiles blocks of 32·WARPS_DOWN·WARPS_ACROSS threads, STAGES·(TILE_ROWS + TILE_COLUMNS)·TILE_INNER·2
// bytes of shared memory.
// FLOPs: 2·rows·columns·inner. Bytes: both factors and the result once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, sm_80 and sm_90a, no spills in any of these; registers of a
// thread with ALIGNED:
//   tile         16×16×128  16×32×64  16×64×64  32×16×128  32×64×64  64×32×64  64×64×64  128×128×32  128×256×32
//   x · weightᵀ         64        56        54      80–88        75        77       100         125         222
//   others                                          94–96               80–88   106–108     125–128     226–228
//   SwiGLU                        64        61                   83        76
// (128×128×32: at most 128, so that two blocks fit.) Without ALIGNED 117–204; 128×128×32 then spills and is not chosen,
// 128×256×32 neither.
// A pass of the main loop of 16×16×128 has 103 instructions for eight HMMA, which wait for one another: one
// accumulator, whose chain no tile may cut. Rejected: 16×16×64 with eight stages, 66 for four. What else a step took
// were addresses (207 before a chunk took one predicate).
#include "common/matrix_tile.cuh"
#include "common/product_epilogue.cuh"
#include "common/shared.cuh"
#include "ptx/grid.cuh"

using Product = MatrixTile<TILE_ROWS, TILE_COLUMNS, TILE_INNER, WARPS_DOWN, WARPS_ACROSS, STAGES, TRANSPOSE_LEFT != 0,
                           TRANSPOSE_RIGHT != 0, is_gated>;

constexpr int blocks = Product::tile_rows * Product::tile_columns == 128 * 128 && ALIGNED != 0 ? 2 : 1;

extern "C" __global__ void __launch_bounds__(Product::threads, blocks)
    matrix_product(const bfloat16* left, const bfloat16* right, const BIAS* bias, RESULT* result, int rows, int columns,
                   int inner, int left_stride, int right_stride, int result_stride, long long left_batch_stride,
                   long long right_batch_stride, long long result_batch_stride) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const int tile_rows = divide_up(rows, Product::tile_rows),
              tile_columns = divide_up(columns, Product::result_columns);
    const int batch = (int)blockIdx.x / (tile_rows * tile_columns);
    const TilePosition position((int)blockIdx.x % (tile_rows * tile_columns), tile_rows, tile_columns);
    const int first_row = position.row * Product::tile_rows, first_column = position.column * Product::result_columns;
    const int right_columns = is_gated ? 2 * columns : columns;

    // Where the inner index counts rows of both factors, what a thread knows of its rows beforehand would not fit two
    // blocks' registers.
    constexpr bool by_rows = Product::transpose_left && !Product::transpose_right;
    TileLoader<Product::Left, Product::threads, ALIGNED != 0, false, by_rows> left_loader(
        left + batch * left_batch_stride, left_stride, Product::transpose_left ? inner : rows,
        Product::transpose_left ? rows : inner);
    TileLoader<Product::Right, Product::threads, ALIGNED != 0, is_gated, by_rows> right_loader(
        right + batch * right_batch_stride, right_stride, Product::transpose_right ? right_columns : inner,
        Product::transpose_right ? inner : right_columns, columns - Product::result_columns);
    Product::Sums sums;
    Product::multiply(sums, shared, left_loader, right_loader, first_row, first_column, inner);

    store_product<Product>(sums, bias, result + batch * result_batch_stride, result_stride, first_row, first_column,
                           rows, columns);
}
