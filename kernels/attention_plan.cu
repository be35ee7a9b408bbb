// Cuts the sequences of a packed batch into tiles for the attention kernels, and zeroes what belongs to no sequence.
// Over a cache (the op PagedAttentionPlan, whose output is these tiles) both kernels run in one step, each for its own
// sequences: those of up to most_pairs pairs decode. They belong to all layers, so there every attention zeroes its own
// output.
//   starts int32 [sequences + 1], lengths int32 [sequences] or null
// Sequence s owns rows starts[s] to starts[s + 1] − 1. Bad starts and lengths are reported, and their sequences get no
// tiles, so that no later kernel touches memory through them. Unused tiles get rows = 0.
//   attention_plan → tiles [tile_count]: the (rows · group) pairs of a sequence that does not decode become tiles of
//   tile_pairs, the last ones
//     first: in causal attention they are the longest, and blocks start in order. Up to three tensors of 2-byte units,
//     widths[i] units in a row, get zeros in the rows outside of all sequences. Launch: block 0 plans, 256 threads with
//     1 KiB of shared memory; every other block clears.
//   attention_plan_spans (decoding) → tiles [spans, tile_count], visible int32 [rows], how many keys a row sees (0: of
//   no sequence that decodes), and
//     behind it places int32 [rows], where its sums lie: rows_of_sequence places for each sequence, or its own number
//     where that is 0; behind these zeros, with which paged_decode counts arrivals: for each span the tiles of 16 pairs
//     of which some see keys there. Neighbouring sequences whose rows all see the whole span, in the same pages, get
//     tiles together, of 64 pairs: keys and values that a group of completions has in common are then read once for
//     all. What a row computes does not depend on it. Launch: a block for each span, 256 threads with 1 KiB + sequences
//     bytes of shared memory.
// FLOPs: none. Bytes: 4·sequences read (and the page table), the tiles written, and the cleared rows.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills: attention_plan 30 registers on sm_80, 34 on sm_90a;
// attention_plan_spans 32 and 32.
#include "common/attention_core.cuh"
#include "common/attention_tile.cuh"
#include "common/shared.cuh"
#include "common/status.cuh"
#include "ptx/warp.cuh"

constexpr int plan_threads = 256;
constexpr int page_size = 32;
constexpr int span_pages = attention_span / page_size;

struct PlannedSequences {
    const int* starts;
    const int* lengths;
    int sequences;
    int rows;
    int group;
    int most_pairs;
    int length_limit;
    Status* status;
    int starts_tag;
    int short_tag;
    int long_tag;

    __device__ __forceinline__ void report_first() const {
        if (threadIdx.x == 0 && (starts[0] < 0 || starts[0] > rows))
            report_status(status, starts_tag, 0, starts[0]);
    }

    __device__ __forceinline__ bool decodes(int count) const { return count * group <= most_pairs; }

    // The rows of a sequence, 0 where its numbers are wrong.
    __device__ __forceinline__ int usable_rows(int sequence, bool report) const {
        const int start = starts[sequence], stop = starts[sequence + 1], count = stop - start;
        if (start < 0 || stop < start || stop > rows) {
            if (report && (stop < start || stop > rows))
                report_status(status, starts_tag, sequence + 1, stop);
            return 0;
        }
        if (lengths == nullptr)
            return count;
        const int length = lengths[sequence];
        if (length >= count && length <= length_limit)
            return count;
        if (report)
            report_status(status, length < count ? short_tag : long_tag, sequence, length);
        return 0;
    }
};

// The sum of count over the threads up to this one; totals of the block's threads.
__device__ __forceinline__ int add_up(int* totals, int count) {
    totals[threadIdx.x] = count;
    synchronize_block();
    for (int distance = 1; distance < plan_threads; distance *= 2) {
        const int other = (int)threadIdx.x >= distance ? totals[threadIdx.x - distance] : 0;
        synchronize_block();
        totals[threadIdx.x] += other;
        synchronize_block();
    }
    return totals[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(plan_threads)
    attention_plan(const int* starts, const int* lengths, int sequences, int rows, int group, int most_pairs,
                   int tile_pairs, int length_limit, AttentionTile* tiles, int tile_count, uint16_t* first,
                   long long first_width, uint16_t* second, long long second_width, uint16_t* third,
                   long long third_width, Status* status, int starts_tag, Status*, int short_tag, Status*,
                   int long_tag) {
    if (blockIdx.x > 0) {
        auto clear = [&](uint16_t* tensor, long long width) {
            if (tensor != nullptr)
                clear_outside(tensor, width, starts, sequences, rows, (blockIdx.x - 1) * plan_threads + threadIdx.x,
                              (gridDim.x - 1) * plan_threads);
        };
        clear(first, first_width);
        clear(second, second_width);
        clear(third, third_width);
        return;
    }

    SKYLIGHT_SHARED(shared);
    int* totals = reinterpret_cast<int*>(shared);
    const PlannedSequences batch{starts,       lengths, sequences,  rows,      group,   most_pairs,
                                 length_limit, status,  starts_tag, short_tag, long_tag};
    const int each = divide_up(sequences, plan_threads);
    const int begin = min((int)threadIdx.x * each, sequences), end = min(begin + each, sequences);
    batch.report_first();
    int mine = 0;
    auto own_rows = [&](int sequence, bool report) {
        const int count = batch.usable_rows(sequence, report);
        return batch.decodes(count) ? 0 : count;
    };
    for (int sequence = begin; sequence < end; sequence++)
        mine += divide_up(own_rows(sequence, true) * group, tile_pairs);
    int next = add_up(totals, mine) - mine;
    for (int sequence = begin; sequence < end; sequence++) {
        const int count = own_rows(sequence, false);
        for (int tile = divide_up(count * group, tile_pairs); tile-- > 0; next++)
            if (next < tile_count)
                tiles[next] = AttentionTile{starts[sequence], count, tile * tile_pairs, sequence};
    }
    for (int tile = totals[plan_threads - 1] + threadIdx.x; tile < tile_count; tile += plan_threads)
        tiles[tile] = AttentionTile{0, 0, 0, 0};
}

// The tiles of one span that begin with some sequence: those of the sequences that share it, or those of its own pairs
// that see keys.
struct SpanWork {
    int rows;   // of all sequences together
    int first;  // tile, by number
    int tiles;
    int shared;
};

extern "C" __global__ void __launch_bounds__(plan_threads)
    attention_plan_spans(const int* starts, const int* lengths, const int* table, int sequences, int rows, int group,
                         int most_pairs, int length_limit, int table_width, SpanTile* tiles, int tile_count,
                         int* visible, int rows_of_sequence, int arrivals, Status* status, int starts_tag, Status*,
                         int short_tag, Status*, int long_tag) {
    SKYLIGHT_SHARED(shared);
    int* totals = reinterpret_cast<int*>(shared);
    // Whether a sequence shares this span with the one before it.
    unsigned char* follows = shared + plan_threads * sizeof(int);
    const int span = blockIdx.x, first_key = span * attention_span, after = first_key + attention_span;
    const PlannedSequences batch{starts,       lengths, sequences,  rows,      group,   most_pairs,
                                 length_limit, status,  starts_tag, short_tag, long_tag};
    const int each = divide_up(sequences, plan_threads);
    const int begin = min((int)threadIdx.x * each, sequences), end = min(begin + each, sequences);
    if (span == 0) {
        batch.report_first();
        for (int row = threadIdx.x; row < 2 * rows; row += plan_threads)
            visible[row] = 0;
        synchronize_block();
    }
    for (int index = span * plan_threads + threadIdx.x; index < arrivals; index += gridDim.x * plan_threads)
        visible[2 * rows + index] = 0;

    auto sees_all = [&](int sequence) {
        const int count = batch.usable_rows(sequence, false);
        return count > 0 && batch.decodes(count) && lengths[sequence] - count + 1 >= after;
    };
    for (int sequence = threadIdx.x; sequence < sequences; sequence += plan_threads) {
        bool same = sequence > 0 && sees_all(sequence - 1) && sees_all(sequence);
        if (same) {
            const int* own = table + (long long)sequence * table_width + span * span_pages;
#pragma unroll
            for (int page = 0; page < span_pages; page++)
                same &= own[page] == own[page - table_width];
        }
        follows[sequence] = same;
        if (span > 0)
            continue;
        const int count = batch.usable_rows(sequence, true);
        if (!batch.decodes(count))
            continue;
        for (int row = 0; row < count; row++) {
            const int own = starts[sequence] + row;
            visible[own] = lengths[sequence] - count + 1 + row;
            visible[rows + own] = rows_of_sequence > 0 ? sequence * rows_of_sequence + row : own;
        }
    }
    synchronize_block();

    auto work_of = [&](int sequence) {
        if (follows[sequence])
            return SpanWork{};
        int last = sequence;
        while (last + 1 < sequences && follows[last + 1])
            last++;
        if (last > sequence) {
            const int count = starts[last + 1] - starts[sequence];
            return SpanWork{count, 0, divide_up(count * group, shared_pairs), 1};
        }
        const int count = batch.usable_rows(sequence, false),
                  unseeing = max(first_key - (lengths[sequence] - count), 0);
        if (!batch.decodes(count) || unseeing >= count)
            return SpanWork{};
        const int first = unseeing * group / decode_pairs;
        return SpanWork{count, first, divide_up(count * group, decode_pairs) - first, 0};
    };
    int mine = 0;
    for (int sequence = begin; sequence < end; sequence++)
        mine += work_of(sequence).tiles;
    int next = add_up(totals, mine) - mine;
    tiles += (long long)span * tile_count;
    for (int sequence = begin; sequence < end; sequence++) {
        const SpanWork work = work_of(sequence);
        for (int tile = 0; tile < work.tiles; tile++, next++)
            if (next < tile_count)
                tiles[next] =
                    SpanTile{starts[sequence], work.rows,
                             (work.first + tile) * (work.shared ? shared_pairs : decode_pairs), sequence, work.shared};
    }
    for (int tile = totals[plan_threads - 1] + threadIdx.x; tile < tile_count; tile += plan_threads)
        tiles[tile] = SpanTile{};
}
