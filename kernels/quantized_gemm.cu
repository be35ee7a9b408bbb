// Products with weights that stay quantised in memory.
//   quantized_product  y [rows, columns] = x [rows, inner] · weightᵀ (+ bias [columns]), weight [columns, inner]
// x is bfloat16; the weight is as common/quantized.cuh says (CODE_BITS, CODE_KIND, CODE_BIAS, SCALE_BITS, OFFSET_KIND,
// BLOCK_SIZE). Its tiles become bfloat16 in shared memory; sums are float32; bias is BIAS and the result RESULT (float
// or bfloat16), rounded once, after the bias; ACTIVATION says what is made of it before it is stored
// (common/product_epilogue.cuh). With SwiGLU `columns` are y's, half of the weight's rows, and multiples of 16, because
// scales are copied for 16 outputs at a time.
// Any extents, also inner = 0 (the bias, or zeros). ALIGNED 1: inner is a multiple of 8.
// The bits are those of matrix_product (gemm.cu) with the weight's values rounded to bfloat16, for any tile and number
// of rows.
// Launch: tiles blocks of 32·WARPS_DOWN·WARPS_ACROSS threads; shared memory: STAGES tiles of x and of the weight as it
// lies, two of its values (QuantizedWeightLayout.SharedBytes).
// FLOPs: 2·rows·columns·inner. Bytes: x, the weight as it lies, and y once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, sm_80 and sm_90a, no spills in any of these; registers of a
// thread with ALIGNED, by tile, over the formats that were compiled (4 and 8 bits, with and without zeros or minimums):
//   16×16×128  16×32×64  16×64×64  32×16×128  32×64×64  64×32×64  128×128×32
//      80–122     84–96     80–88    105–128   115–120    87–102  126–128 (at most 128, so that two blocks fit)
// Decided without timing: codes wait in shared memory as they are, because what a loader holds in registers is one tile
// ahead at most; the integers become floats by bit operations and a subtraction, without conversion instructions.
#include "common/product_epilogue.cuh"
#include "common/shared.cuh"
#include "common/weight_product.cuh"
#include "ptx/grid.cuh"

using Product =
    MatrixTile<TILE_ROWS, TILE_COLUMNS, TILE_INNER, WARPS_DOWN, WARPS_ACROSS, STAGES, false, true, is_gated>;

extern "C" __global__ void __launch_bounds__(Product::threads, Product::threads >= 256 && ALIGNED != 0 ? 2 : 1)
    quantized_product(const bfloat16* x, const WeightElement* weight, const BIAS* bias, RESULT* y, int rows,
                      int columns, int inner) {
    SKYLIGHT_SHARED(shared);
    const TilePosition position((int)blockIdx.x, divide_up(rows, Product::tile_rows),
                                divide_up(columns, Product::result_columns));
    const int first_row = position.row * Product::tile_rows, first_column = position.column * Product::result_columns;
    const int outputs = is_gated ? 2 * columns : columns;
    using Weight = WeightProduct<Product, ALIGNED != 0>;
    if constexpr (grids_overlap)
        Weight::prefetch(weight, outputs, first_column, inner);
    grid_wait();
    grid_launch_dependents();
    TileLoader<Product::Left, Product::threads, ALIGNED != 0> left(x, inner, rows, inner);
    Product::Sums sums;
    Weight::multiply(sums, shared, left, weight, outputs, first_row, first_column, inner);

    store_product<Product>(sums, bias, y, columns, first_row, first_column, rows, columns);
}
