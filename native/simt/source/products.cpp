#include "products.hpp"

namespace simt {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v3", "default"), optimize("O3")))
#endif
void multiply_add(const float* __restrict__ a, int a_stride, const float* __restrict__ b, int b_stride, float* __restrict__ d, int d_stride,
                  int rows, int columns, int depth) {
    if (columns == 8 && rows % 8 == 0) {
        // Eight rows at a time: their chains of additions do not wait for each other.
        for (int row = 0; row < rows; row += 8) {
            float sums[8][8];
            for (int i = 0; i < 8; i++)
                for (int column = 0; column < 8; column++) sums[i][column] = d[(row + i) * d_stride + column];
            for (int k = 0; k < depth; k++)
                for (int i = 0; i < 8; i++) {
                    const float factor = a[(row + i) * a_stride + k];
                    for (int column = 0; column < 8; column++) sums[i][column] += factor * b[k * b_stride + column];
                }
            for (int i = 0; i < 8; i++)
                for (int column = 0; column < 8; column++) d[(row + i) * d_stride + column] = sums[i][column];
        }
        return;
    }
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < depth; k++) {
            const float factor = a[row * a_stride + k];
            for (int column = 0; column < columns; column++) d[row * d_stride + column] += factor * b[k * b_stride + column];
        }
}

}  // namespace simt
