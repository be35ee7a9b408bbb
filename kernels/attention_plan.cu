// Cuts the sequences of a packed batch into tiles for the attention kernels, and zeroes what belongs to no sequence.
//   starts int32 [sequences + 1], lengths int32 [sequences] or null → tiles [tile_count]
// Sequence s owns rows starts[s] to starts[s + 1] − 1; its (rows · group) pairs become tiles of tile_pairs, the last ones first: in causal
// attention they are the longest, and blocks start in order. Unused tiles get rows = 0. Bad starts and lengths are reported, and
// their sequences get no tiles, so that no later kernel touches memory through them.
// Up to three tensors of 2-byte units, widths[i] units in a row, get zeros in the rows outside of all sequences.
// Launch: block 0 plans, 256 threads with 1 KiB of shared memory; every other block clears.
// FLOPs: none. Bytes: 4·sequences read, 16·tile_count written, and the cleared rows.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4: 38 registers on sm_80, 33 on sm_90a; no spills.
#include "common/attention_tile.cuh"
#include "common/shared.cuh"
#include "common/status.cuh"
#include "ptx/warp.cuh"

constexpr int plan_threads = 256;

__device__ __forceinline__ void clear_outside(uint16_t* tensor, long long width, int before, int after, int rows) {
    if (tensor == nullptr) return;
    const long long step = (long long)(gridDim.x - 1) * plan_threads;
    const long long begin = (long long)(blockIdx.x - 1) * plan_threads + threadIdx.x;
    for (long long i = begin; i < before * width; i += step) tensor[i] = 0;
    for (long long i = after * width + begin; i < rows * width; i += step) tensor[i] = 0;
}

extern "C" __global__ void __launch_bounds__(plan_threads)
    attention_plan(const int* starts, const int* lengths, int sequences, int rows, int group, int tile_pairs, int length_limit, AttentionTile* tiles,
                   int tile_count, uint16_t* first, long long first_width, uint16_t* second, long long second_width, uint16_t* third,
                   long long third_width, Status* status, int starts_tag, Status*, int short_tag, Status*, int long_tag) {
    if (blockIdx.x > 0) {
        const int before = min(max(starts[0], 0), rows), after = max(min(max(starts[sequences], 0), rows), before);
        clear_outside(first, first_width, before, after, rows);
        clear_outside(second, second_width, before, after, rows);
        clear_outside(third, third_width, before, after, rows);
        return;
    }

    SKYLIGHT_SHARED(shared);
    int* totals = reinterpret_cast<int*>(shared);
    const int each = divide_up(sequences, plan_threads);
    const int begin = min((int)threadIdx.x * each, sequences), end = min(begin + each, sequences);
    if (threadIdx.x == 0 && (starts[0] < 0 || starts[0] > rows)) report_status(status, starts_tag, 0, starts[0]);

    // The rows of a sequence, 0 where its numbers are wrong.
    auto usable_rows = [&](int sequence, bool report) {
        const int start = starts[sequence], stop = starts[sequence + 1], count = stop - start;
        if (start < 0 || stop < start || stop > rows) {
            if (report && (stop < start || stop > rows)) report_status(status, starts_tag, sequence + 1, stop);
            return 0;
        }
        if (lengths == nullptr) return count;
        const int length = lengths[sequence];
        if (length >= count && length <= length_limit) return count;
        if (report) report_status(status, length < count ? short_tag : long_tag, sequence, length);
        return 0;
    };

    int mine = 0;
    for (int sequence = begin; sequence < end; sequence++) mine += divide_up(usable_rows(sequence, true) * group, tile_pairs);
    totals[threadIdx.x] = mine;
    synchronize_block();
    for (int distance = 1; distance < plan_threads; distance *= 2) {
        const int other = (int)threadIdx.x >= distance ? totals[threadIdx.x - distance] : 0;
        synchronize_block();
        totals[threadIdx.x] += other;
        synchronize_block();
    }

    int next = totals[threadIdx.x] - mine;
    for (int sequence = begin; sequence < end; sequence++) {
        const int count = usable_rows(sequence, false);
        for (int tile = divide_up(count * group, tile_pairs); tile-- > 0; next++)
            if (next < tile_count) tiles[next] = AttentionTile{starts[sequence], count, tile * tile_pairs, sequence};
    }
    for (int tile = totals[plan_threads - 1] + threadIdx.x; tile < tile_count; tile += plan_threads) tiles[tile] = AttentionTile{0, 0, 0, 0};
}
