// What becomes of the sums of a product before they are stored. ACTIVATION:
//   undefined or 0  nothing
//   1  GELU of the product
//   2  silu(gate) · up, of a product whose first half of columns is gate, the second up; a tile has as many of either
// An activation is taken of the product as it would have been stored, so that both have the bits of two kernels
// (activation.cu, column_wise.cu).
#pragma once

#include "common/activation.cuh"
#include "common/matrix_tile.cuh"

#ifndef ACTIVATION
#define ACTIVATION 0
#endif

constexpr bool is_gated = ACTIVATION == 2;

// As it would be stored, and read again.
template <class Result>
__device__ __forceinline__ float rounded(float x) {
    return to_float(from_float<Result>(x));
}

template <class Result>
__device__ __forceinline__ float activated(float x) {
    if constexpr (ACTIVATION == 1)
        return gelu(rounded<Result>(x));
    else
        return x;
}

template <class Result>
__device__ __forceinline__ float gated(float gate, float up) {
    return silu(rounded<Result>(gate)) * rounded<Result>(up);
}

// Stores what a thread has of a MatrixTile whose first row and column are given: lines of `stride` elements from target
// on, [rows, columns].
// bias, which may be null, is [columns], or [2·columns] where the product is gated.
template <class Product, class Bias, class Result>
__device__ __forceinline__ void store_product(const typename Product::Sums& sums, const Bias* bias, Result* target,
                                              int stride, int first_row, int first_column, int rows, int columns) {
    static_assert(Product::gated == is_gated, "who gates has both columns");
    const auto biased = [&](float x, int column) { return bias == nullptr ? x : x + to_float(bias[column]); };
    Product::for_each_pair(
        sums, [&](int row, int column, float first, float second, float first_up = 0, float second_up = 0) {
            row += first_row;
            column += first_column;
            if (row >= rows || column >= columns)
                return;
            const bool both = column + 1 < columns;
            const int next = both ? column + 1 : column;
            first = biased(first, column);
            second = biased(second, next);
            if constexpr (is_gated) {
                first = gated<Result>(first, biased(first_up, columns + column));
                second = gated<Result>(second, biased(second_up, columns + next));
            } else {
                first = activated<Result>(first);
                second = activated<Result>(second);
            }

            store_pair(target + (long long)row * stride + column, first, second, both);
        });
}
