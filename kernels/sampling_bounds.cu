// The bound of what may be drawn from logits [rows, vocabulary] float32: by top_k, top_p and min_p, each row by its
// own.
//   weigh_segments  sums [rows, segments]: the weights of the 1024 tokens of each segment; empties the bins of the row
//   bound_tokens    three times: the next digit of the key at which a row is bounded
//   weigh_eligible  sums and ties [rows, segments]: the weights of what is eligible, and how many tokens are at the
//                   bound
// In this order, after reduce_logits and finish_rows of logits.cu; choose_tokens of sampling.cu comes next.
// The bound is found by a histogram of 11, 11 and 10 bits of a key that has the order of the logits. It is made by
// several blocks, in shared memory, and added up in global memory; the block that adds last looks for the bound and
// leaves the bins empty. A weight is three limbs of 15 bits there, because only 32-bit additions are one instruction in
// shared memory: of up to 2¹⁷ weights their sums fit. Most logits fall into some forty bins, whose additions wait for
// each other: the more multiprocessors, the fewer wait in each.
// Launch: weigh_segments and weigh_eligible 256 threads, a warp for a segment; bound_tokens 256 threads, 8192 columns
// of one row. Rows that need nothing of a kernel leave it at once.
// FLOPs: about 20 per logit and pass. Bytes: the logits once for the weights, four times with a bound (from the
// second-level cache: reduce_logits has just read them), 8 for 1024 logits beside, and 24 KiB of bins for a row and
// each block of bound_tokens.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills; registers: see budget.json.
#include "common/sampling.cuh"
#include "ptx/memory.cuh"

constexpr int weigh_threads = 256;
constexpr int bound_threads = 256;
constexpr int bound_columns = 8192;  // of a block; at most 2¹⁷, see above

extern "C" __global__ void __launch_bounds__(weigh_threads)
    weigh_segments(const float* logits, const float* temperatures, const float* maximum, Weight* sums,
                   RowBins* row_bins, int segments, int vocabulary) {
    const int row_blocks = divide_up(segments, weigh_threads / 32);
    const int row = blockIdx.x / row_blocks, block = blockIdx.x % row_blocks,
              segment = block * (weigh_threads / 32) + threadIdx.x / 32;
    const float temperature = temperatures[row];
    if (temperature == 0.0f)
        return;
    RowBins& own = row_bins[row];
    for (int bin = block * weigh_threads + threadIdx.x; bin < bins; bin += row_blocks * weigh_threads) {
        own.weights[bin] = 0;
        own.counts[bin] = 0;
        if (bin == 0)
            own.bound = {};
    }

    if (segment >= segments)
        return;
    const float* line = logits + (long long)row * vocabulary;
    const float largest = maximum[row];
    Weight sum = 0;
#pragma unroll 8
    for (int i = 0; i < lane_columns; i++) {
        const int column = segment * segment_columns + i * 32 + threadIdx.x % 32;
        if (column < vocabulary)
            sum += eligible_weight(line[column], temperature, largest, 0);
    }

    sum = warp_total(sum);
    if (threadIdx.x % 32 == 0)
        sums[(long long)row * segments + segment] = sum;
}

// The tokens of a row in order of falling keys: the first that are `limit`, or that weigh `needed` together. One digit
// of the key at which they end, in one launch each. Bytes of shared memory: 16 for each of 2048 bins, and a Board.
extern "C" __global__ void __launch_bounds__(bound_threads)
    bound_tokens(const float* logits, const float* temperatures, const int* top_k, const float* top_p,
                 const float* min_p, const float* maximum, const float* log_sum, const Weight* sums, RowBins* row_bins,
                 int level, int segments, int vocabulary) {
    SKYLIGHT_SHARED(memory);
    unsigned int* counts = reinterpret_cast<unsigned int*>(memory);
    unsigned int* limbs = counts + bins;
    Board* board = reinterpret_cast<Board*>(memory + 4 * bins * sizeof(int));
    const int row_blocks = divide_up(vocabulary, bound_columns), row = blockIdx.x / row_blocks;
    const RowChoice choice = Choices{temperatures, top_k, top_p, min_p, maximum, log_sum}.of(row);
    if (!choice.has_bound(vocabulary))
        return;
    const float* line = logits + (long long)row * vocabulary;
    RowBins& own = row_bins[row];
    const uint32_t prefix = own.bound.key;
    const int shift = level == 0 ? 21 : level == 1 ? 10 : 0, prefix_shift = level == 1 ? 21 : 10;
    const uint32_t mask = level == 2 ? 1023 : 2047;
    for (int i = threadIdx.x; i < 4 * bins; i += bound_threads)
        counts[i] = 0;
    synchronize_block();

    constexpr int loads = 8;  // in flight
    const int first = blockIdx.x % row_blocks * bound_columns, end = min(vocabulary, first + bound_columns);
#pragma unroll 1
    for (int begin = first + threadIdx.x; begin < end; begin += loads * bound_threads) {
        float logit[loads];
#pragma unroll
        for (int i = 0; i < loads; i++)
            logit[i] = begin + i * bound_threads < end ? line[begin + i * bound_threads] : 0.0f;
#pragma unroll
        for (int i = 0; i < loads; i++) {
            const uint32_t key = key_of(logit[i]);
            if (begin + i * bound_threads >= end || (level > 0 && key >> prefix_shift != prefix))
                continue;
            const uint32_t bin = key >> shift & mask;
            atomicAdd(&counts[bin], 1u);
            const Weight weight = eligible_weight(logit[i], choice.temperature, choice.largest, 0);
#pragma unroll
            for (int limb = 0; limb < 3; limb++) {
                const unsigned int part = (unsigned int)(weight >> (15 * limb)) & 0x7FFF;
                if (part != 0)
                    atomicAdd(&limbs[limb * bins + bin], part);
            }
        }
    }

    synchronize_block();
    for (int bin = threadIdx.x; bin < bins; bin += bound_threads) {
        if (counts[bin] == 0)
            continue;
        atomicAdd(&own.counts[bin], (int)counts[bin]);
        atomicAdd(&own.weights[bin],
                  limbs[bin] + ((Weight)limbs[bins + bin] << 15) + ((Weight)limbs[2 * bins + bin] << 30));
    }

    synchronize_block();
    if (threadIdx.x == 0) {
        fence_device();
        board->place = (int)atomicAdd(&own.bound.blocks, 1u) == row_blocks - 1;
        fence_device();
    }

    synchronize_block();
    if (board->place == 0)
        return;

    // The last block of the row: all others have added what they have.
    Weight* weights = reinterpret_cast<Weight*>(limbs);
    for (int bin = threadIdx.x; bin < bins; bin += bound_threads) {
        counts[bin] = (unsigned int)atomicExch(&own.counts[bin], 0);
        weights[bin] = atomicExch(&own.weights[bin], (Weight)0);
    }

    synchronize_block();
    if (threadIdx.x >= 32)
        return;
    Bound bound = own.bound;
    if (level == 0) {
        Weight sum = 0;
        for (int segment = threadIdx.x; segment < segments; segment += 32)
            sum += sums[(long long)row * segments + segment];
        const Weight total = warp_total(sum);
        bound.needed = ~(Weight)0;
        if (choice.nucleus < 1) {
            bound.needed = (Weight)ceil((double)choice.nucleus * (double)(long long)total);
            bound.needed = bound.needed < total ? bound.needed : total;
        }
    }

    // From the greatest bin down, 64 for each lane; the bins of the third level are the lower half.
    constexpr int own_bins = bins / 32;
    const int limit = choice.limit > 0 ? choice.limit : 0x7FFFFFFF;
    const int last = bins - 1 - (int)threadIdx.x * own_bins;
    int own_count = 0;
    Weight own_weight = 0;
#pragma unroll 4
    for (int i = 0; i < own_bins; i++) {
        own_count += (int)counts[last - i];
        own_weight += weights[last - i];
    }

    int count = bound.count_before + warp_before(own_count);
    Weight weight = bound.weight_before + warp_before(own_weight);
    const unsigned int crossing = ballot(count + own_count >= limit || weight + own_weight >= bound.needed);
    if ((int)threadIdx.x != __ffs((int)crossing) - 1)
        return;
    int bin = last;
#pragma unroll 1
    while (count + (int)counts[bin] < limit && weight + weights[bin] < bound.needed) {
        count += (int)counts[bin];
        weight += weights[bin--];
    }

    bound.key = bound.key << (level == 2 ? 10 : 11) | (uint32_t)bin;
    bound.count_before = count;
    bound.weight_before = weight;
    bound.blocks = 0;
    if (level == 2) {
        // All of the last bin have one logit, so one weight.
        const Weight each = weights[bin] / (Weight)counts[bin], missing = bound.needed - weight;
        const Weight by_weight = each == 0 ? ~(Weight)0 : missing / each + (missing % each == 0 ? 0 : 1);
        const Weight by_count = (Weight)min(limit - count, (int)counts[bin]);
        bound.ties = (int)(by_count < by_weight ? by_count : by_weight);
    }

    own.bound = bound;
}

extern "C" __global__ void __launch_bounds__(weigh_threads)
    weigh_eligible(const float* logits, const float* temperatures, const int* top_k, const float* top_p,
                   const float* min_p, const float* maximum, const float* log_sum, const RowBins* row_bins,
                   Weight* sums, int* ties, int segments, int vocabulary) {
    const int row_blocks = divide_up(segments, weigh_threads / 32);
    const int row = blockIdx.x / row_blocks,
              segment = blockIdx.x % row_blocks * (weigh_threads / 32) + threadIdx.x / 32;
    const RowChoice choice = Choices{temperatures, top_k, top_p, min_p, maximum, log_sum}.of(row);
    if (segment >= segments || !choice.is_truncated(vocabulary))
        return;
    const float* line = logits + (long long)row * vocabulary;
    const uint32_t bound = row_bins[row].bound.key;
    Weight sum = 0;
    int at_bound = 0;
#pragma unroll 8
    for (int i = 0; i < lane_columns; i++) {
        const int column = segment * segment_columns + i * 32 + threadIdx.x % 32;
        if (column >= vocabulary)
            continue;
        const float logit = line[column];
        const uint32_t key = key_of(logit);
        at_bound += key == bound;
        if (key > bound)
            sum += eligible_weight(logit, choice.temperature, choice.largest, choice.share);
    }

    sum = warp_total(sum);
    at_bound = warp_total(at_bound);
    if (threadIdx.x % 32 == 0) {
        sums[(long long)row * segments + segment] = sum;
        ties[(long long)row * segments + segment] = at_bound;
    }
}
