// The arithmetic of matrix instructions and of cuBLAS.
#pragma once

namespace simt {

// d [rows, columns] += a [rows, depth] · b [depth, columns], row-major with the given row lengths. Every element is one chain of
// float32 additions with k ascending. The products of bfloat16 values are exact in float32, so a fused multiply-add gives the
// same bits as a product and a sum: which processor runs this does not show in the result.
void multiply_add(const float* a, int a_stride, const float* b, int b_stride, float* d, int d_stride, int rows, int columns, int depth);

}  // namespace simt
