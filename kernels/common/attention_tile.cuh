// The unit of work that the attention kernels share: some consecutive pairs (row, query head) of one sequence.
#pragma once

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
    int shared;    // 1: all rows of some sequences see the whole span, and the tile has up to shared_pairs; 0: one sequence, up to decode_pairs
};

constexpr int decode_pairs = 16;
constexpr int shared_pairs = 64;
