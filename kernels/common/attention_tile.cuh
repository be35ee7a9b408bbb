// The unit of work that the attention kernels share: some consecutive pairs (row, query head) of one sequence.
#pragma once

// Pair p of a sequence is row p / group and head p % group of those heads that one block computes.
struct alignas(16) AttentionTile {
    int start;     // the sequence's first row in the batch
    int rows;      // the sequence's rows; 0: nothing to do
    int first;     // the tile's first pair within the sequence
    int sequence;  // which sequence
};
