// The unit of work that the attention kernels share: some consecutive pairs (row, query head) of one sequence; and what
// they do with rows of none. A plan of tiles (attention_plan.cu) is the same memory on the CPU (PagedAttentionPlan.cs).
#pragma once

#include "common/types.cuh"

// Pair p of a sequence is row p / group and head p % group of those heads that one block computes.
struct alignas(16) AttentionTile {
    int start;     // the sequence's first row in the batch
    int rows;      // the sequence's rows; 0: nothing to do
    int first;     // the tile's first pair within the sequence
    int sequence;  // which sequence
};

// Some pairs that see keys of one span: of one sequence, or of several in a row that have the same pages there.
struct alignas(16) SpanTile {
    int start;     // the first sequence's first row in the batch
    int rows;      // the rows of the sequences; 0: nothing to do
    int first;     // the tile's first pair within them
    int sequence;  // the first sequence
    // 1: all rows of some sequences see the whole span, and the tile has up to shared_pairs; 0: one sequence, up to
    // decode_pairs
    int shared;
    int unused[3];
};

constexpr int prefill_pairs = 128;
constexpr int decode_pairs = 16;
constexpr int shared_pairs = 64;

// Zeroes the rows outside of all sequences, in units of 2 bytes, by some threads of which this is one.
__device__ __forceinline__ void clear_outside(uint16_t* tensor, long long width, const int* starts, int sequences,
                                              int rows, long long thread, long long threads) {
    const int before = min(max(starts[0], 0), rows), after = max(min(max(starts[sequences], 0), rows), before);
    for (long long i = thread; i < before * width; i += threads)
        tensor[i] = 0;
    for (long long i = after * width + thread; i < rows * width; i += threads)
        tensor[i] = 0;
}
