// A row that some threads share, in packs of VECTOR elements: thread i has the packs i, i + ROW_THREADS, …
//   ROW_THREADS  threads of a row: 32, or all of the block
//   VECTOR       elements of a pack: those of 16 bytes of ELEMENT where the columns are a multiple of them, else 1
//   PACKS        the most packs of a thread, which are kept in registers; 0 where they are too many: then they are read
//                again
// All are functions of the number of columns alone, so a row's sums have the same bits in any batch.
#pragma once

#include "common/types.cuh"

#if !defined(ROW_THREADS) || !defined(VECTOR) || !defined(PACKS)
#error "row.cuh needs ROW_THREADS, VECTOR and PACKS"
#endif

// visit(i, column): the thread's i-th pack begins at that column. i is a constant after unrolling, 0 where nothing is
// kept.
template <class Visit>
__device__ __forceinline__ void each_pack(int columns, Visit visit) {
    const int thread = threadIdx.x % ROW_THREADS;
    if constexpr (PACKS > 0) {
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const int column = (thread + i * ROW_THREADS) * VECTOR;
            if (column < columns)
                visit(i, column);
        }
    } else {
        for (int column = thread * VECTOR; column < columns; column += ROW_THREADS * VECTOR)
            visit(0, column);
    }
}

// The thread's packs of a row in memory.
template <class T>
struct RowPacks {
    const T* row;
    Pack<T, VECTOR> kept[PACKS > 0 ? PACKS : 1];

    // Reads a pack for the first time.
    __device__ __forceinline__ Pack<T, VECTOR> load(int i, int column) {
        kept[i] = load_pack<VECTOR>(row + column);
        return kept[i];
    }

    // A pack that was loaded.
    __device__ __forceinline__ Pack<T, VECTOR> again(int i, int column) const {
        if constexpr (PACKS > 0)
            return kept[i];
        else
            return load_pack<VECTOR>(row + column);
    }
};
