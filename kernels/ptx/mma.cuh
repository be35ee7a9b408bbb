// Matrix products of a warp on tensor cores (sm_80).
#pragma once

// mma.m16n8k16.f32.bf16: d [16, 8] += a [16, 16] · b [16, 8], products and sums in float32. With g = lane / 4 and t =
// lane % 4:
//   a[0]: (g, 2t) and (g, 2t + 1); a[1]: (g + 8, 2t..); a[2]: (g, 2t + 8..); a[3]: (g + 8, 2t + 8..)   (row, k), lower
//   half first b[0]: (2t, g) and (2t + 1, g); b[1]: (2t + 8.., g)
//   (k, column) d[0], d[1]: (g, 2t), (g, 2t + 1); d[2], d[3]: (g + 8, 2t), (g + 8, 2t + 1)
//   (row, column)
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned int (&a)[4], unsigned int b0,
                                             unsigned int b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
