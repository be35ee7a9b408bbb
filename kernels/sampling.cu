// Tokens drawn from logits [rows, vocabulary] float32, every row with parameters of its own, and single logits changed before that.
//   weigh_segments  sums [rows, segments]: the weights of the 1024 tokens of each segment; empty bins for rows that need them
//   bound_tokens    three times: the next digit of the key at which a row is bounded
//   weigh_eligible  sums and ties [rows, segments]: the weights of what is eligible, and how many tokens are at the bound
//   choose_tokens   the token of each row and its log-probability, after reduce_logits and finish_rows of logits.cu and these, in this order
//   top_tokens      the most likely tokens of each row with their log-probabilities, after choose_tokens
//   adjust_logits   repetition penalties, biases and bans of listed tokens; target may be the logits themselves
//   mask_logits     bans by a bit for each token, in rows that have a mask; target may be the logits themselves
// A token's weight is a whole number: e^(x − max x) in units of 2⁻⁴³, with x = logit / temperature. Sums of whole numbers have no order: so there
// are atomics on numbers here, and yet a row's token depends on nothing but the row, and is that of the CPU (TokenSampler.cs) for
// the same logits. The exponential is that of VectorMath.cs, of exactly rounded operations only.
// Eligible are the first top_k in order of falling logits (ascending ids among equals), of those as many as weigh top_p of all together, and
// of those the ones with min_p of the greatest weight. The bound is found by a histogram of 11, 11 and 10 bits of a key that has the order of the
// logits; the token is where the sum of eligible weights, in vocabulary order, first exceeds ⌊all · r / 2⁶⁴⌋.
// A histogram is made by several blocks, in shared memory, and added up in global memory; the block that adds last looks for the bound and leaves the
// bins empty. A weight is three limbs of 15 bits there, because only 32-bit additions are one instruction in shared memory: of up to 2¹⁷ weights their sums
// fit. Most logits fall into some forty bins, whose additions wait for each other: the more multiprocessors, the fewer wait in each.
// Launch: weigh_segments and weigh_eligible 256 threads, a warp for a segment; bound_tokens 256 threads, 8192 columns of one row; choose_tokens one
// block of 512 threads for a row, which goes through one segment, by one warp; top_tokens one block of 512 threads for a row: the best of each segment,
// then a warp takes the best of those and looks through its segment for the next, as often as tokens are wanted; adjust_logits and mask_logits 256
// threads, 4096 columns of one row. Rows that need nothing of a kernel leave it at once.
// FLOPs: about 20 per logit and pass. Bytes: the logits once for the weights, four times with a bound (from the second-level cache: reduce_logits
// has just read them), 8 for 1024 logits beside, and 24 KiB of bins for a row and each block of bound_tokens; top_tokens reads the logits once more, and
// 4096 for each token that it gives.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills; registers: see budget.json.
#include "common/philox.cuh"
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/status.cuh"
#include "ptx/memory.cuh"

using Weight = unsigned long long;

constexpr int weigh_threads = 256;
constexpr int bound_threads = 256;
constexpr int bound_columns = 8192;  // of a block; at most 2¹⁷, see above
constexpr int choose_threads = 512;
constexpr int adjust_threads = 256;
constexpr int adjust_columns = 4096;
constexpr int bins = 2048;
constexpr int random_words = 6;
constexpr int not_finite = -1;       // SampleTokens.NotFinite
constexpr int nothing_to_draw = -2;  // SampleTokens.NothingToDraw
constexpr int lane_columns = segment_columns / 32;

// VectorMath.Exp for x ≤ 0, operation by operation.
__device__ __forceinline__ float exact_exponential(float x) {
    constexpr float rounder = 12582912.0f, exponent_bias = 8388608.0f + 127.0f;
    x = at_least(x, softmax_floor);
    const float n = __fsub_rn(fmaf(x, 1.44269504088896341f, rounder), rounder);
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, __fmul_rn(r, r), r);
    p = __fadd_rn(p, 1.0f);
    const float half = __fsub_rn(fmaf(n, 0.5f, rounder), rounder), rest = __fsub_rn(n, half);
    p = __fmul_rn(p, __uint_as_float(__float_as_uint(__fadd_rn(half, exponent_bias)) << 23));
    return __fmul_rn(p, __uint_as_float(__float_as_uint(__fadd_rn(rest, exponent_bias)) << 23));
}

__device__ __forceinline__ Weight weight_of(float exponential) { return (Weight)rintf(exponential * 8796093022208.0f); }

// The weight; none below min_p of the greatest.
__device__ __forceinline__ Weight eligible_weight(float logit, float temperature, float maximum, float min_p) {
    const float exponential = exact_exponential(scaled_logit(logit, temperature) - maximum);
    return exponential < min_p ? 0 : weight_of(exponential);
}

// Equal logits have equal keys, greater ones greater keys.
__device__ __forceinline__ uint32_t key_of(float logit) {
    const uint32_t bits = logit == 0.0f ? 0 : __float_as_uint(logit);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

__device__ __forceinline__ Weight shuffle_xor(Weight value, int mask) {
    const uint32_t low = (uint32_t)shuffle_xor((int)value, mask), high = (uint32_t)shuffle_xor((int)(value >> 32), mask);
    return (Weight)high << 32 | low;
}

__device__ __forceinline__ Weight shuffle_up(Weight value, int delta) {
    const uint32_t low = (uint32_t)shuffle_up((int)value, delta), high = (uint32_t)shuffle_up((int)(value >> 32), delta);
    return (Weight)high << 32 | low;
}

template <class T>
__device__ __forceinline__ T warp_total(T value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
        value += shuffle_xor(value, mask);
    return value;
}

// The sum over the lanes before this one.
template <class T>
__device__ __forceinline__ T warp_before(T value) {
    T sum = value;
#pragma unroll
    for (int delta = 1; delta < 32; delta *= 2) {
        const T other = shuffle_up(sum, delta);
        sum += (int)(threadIdx.x % 32) >= delta ? other : 0;
    }

    return sum - value;
}

// How many of some tokens with the same logit are kept: `ties` of the row are, and `before` of them came earlier.
__device__ __forceinline__ int kept_ties(int ties, int before, int count) { return max(0, min(ties - before, count)); }

// What the threads of a block tell each other.
struct Board {
    Weight weight;  // a sum; the weight before a bin or a segment
    Weight bin_weight;
    int count;  // tokens before a bin; ties before a segment
    int bin_count;
    int place;  // a bin, a segment or a column
};

// Where the bound lies: the tokens with a greater key are kept, and the first `ties` of those that have it. Both 0: all are kept. While it is looked for,
// the first digits of the key, and what lies above them.
struct Bound {
    Weight needed;
    Weight weight_before;
    int count_before;
    uint32_t key;
    int ties;
    unsigned int blocks;  // that have added their part to the bins
};

// What is in global memory for each row.
struct RowBins {
    Weight weights[bins];
    int counts[bins];
    Bound bound;
};

// What is asked of a row, and whether a token can be drawn.
struct RowChoice {
    float temperature;
    float nucleus;
    float share;
    int limit;
    float largest;
    float log_sum;

    __device__ __forceinline__ bool has_parameters() const {
        return temperature >= 0 && temperature <= 3.402823466e38f && limit >= 0 && nucleus > 0 && nucleus <= 1 && share >= 0 && share <= 1;
    }

    __device__ __forceinline__ bool has_numbers() const {
        constexpr float largest_float = 3.402823466e38f;
        return log_sum >= -1 && log_sum <= largest_float && largest >= -largest_float && largest <= largest_float;
    }

    // Whether a token is drawn by weight.
    __device__ __forceinline__ bool draws() const { return has_parameters() && has_numbers() && temperature != 0.0f; }

    __device__ __forceinline__ bool has_bound(int vocabulary) const { return draws() && ((limit > 0 && limit < vocabulary) || nucleus < 1); }

    __device__ __forceinline__ bool is_truncated(int vocabulary) const { return has_bound(vocabulary) || (draws() && share > 0); }
};

struct Choices {
    const float* temperatures;
    const int* top_k;
    const float* top_p;
    const float* min_p;
    const float* maximum;
    const float* log_sum;

    __device__ __forceinline__ RowChoice of(int row) const { return {temperatures[row], top_p[row], min_p[row], top_k[row], maximum[row], log_sum[row]}; }
};

extern "C" __global__ void __launch_bounds__(weigh_threads)
    weigh_segments(const float* logits, const float* temperatures, const float* maximum, Weight* sums, RowBins* row_bins, int segments, int vocabulary) {
    const int row_blocks = divide_up(segments, weigh_threads / 32);
    const int row = blockIdx.x / row_blocks, block = blockIdx.x % row_blocks, segment = block * (weigh_threads / 32) + threadIdx.x / 32;
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

// The tokens of a row in order of falling keys: the first that are `limit`, or that weigh `needed` together. One digit of the key at which they end, in
// one launch each. Bytes of shared memory: 16 for each of 2048 bins, and a Board.
extern "C" __global__ void __launch_bounds__(bound_threads)
    bound_tokens(const float* logits, const float* temperatures, const int* top_k, const float* top_p, const float* min_p, const float* maximum,
                 const float* log_sum, const Weight* sums, RowBins* row_bins, int level, int segments, int vocabulary) {
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
        atomicAdd(&own.weights[bin], limbs[bin] + ((Weight)limbs[bins + bin] << 15) + ((Weight)limbs[2 * bins + bin] << 30));
    }

    fence_device();
    synchronize_block();
    if (threadIdx.x == 0)
        board->place = (int)atomicAdd(&own.bound.blocks, 1u) == row_blocks - 1;
    synchronize_block();
    if (board->place == 0)
        return;

    // The last block of the row: all others have added what they have.
    fence_device();
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
    weigh_eligible(const float* logits, const float* temperatures, const int* top_k, const float* top_p, const float* min_p, const float* maximum,
                   const float* log_sum, const RowBins* row_bins, Weight* sums, int* ties, int segments, int vocabulary) {
    const int row_blocks = divide_up(segments, weigh_threads / 32);
    const int row = blockIdx.x / row_blocks, segment = blockIdx.x % row_blocks * (weigh_threads / 32) + threadIdx.x / 32;
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

// Bytes of shared memory: a Board.
extern "C" __global__ void __launch_bounds__(choose_threads)
    choose_tokens(const float* logits, const float* temperatures, const int* top_k, const float* top_p, const float* min_p, const uint32_t* random,
                  const SoftmaxPartial* partials, const float* maximum, const float* log_sum, const Weight* sums, const int* ties, const RowBins* row_bins,
                  int* token, float* log_probability, float* entropy, int segments, int vocabulary, Status* parameter_status, int parameter_tag) {
    SKYLIGHT_SHARED(memory);
    Board* board = reinterpret_cast<Board*>(memory);
    const int row = blockIdx.x, lane = threadIdx.x % 32;
    const float* line = logits + (long long)row * vocabulary;
    const RowChoice choice = Choices{temperatures, top_k, top_p, min_p, maximum, log_sum}.of(row);
    const float temperature = choice.temperature, share = choice.share, largest = choice.largest, own_log_sum = choice.log_sum;
    const bool has_parameters = choice.has_parameters();
    if (!has_parameters || !choice.has_numbers()) {
        // Nothing can be drawn of the row; the others go on.
        if (threadIdx.x == 0) {
            token[row] = largest == negative_infinity() && own_log_sum == negative_infinity() ? nothing_to_draw : not_finite;
            log_probability[row] = entropy[row] = __int_as_float(0x7FC00000);
            if (!has_parameters)
                report_status(parameter_status, parameter_tag, row, 0);
        }

        return;
    }

    const SoftmaxPartial* row_partials = partials + (long long)row * segments;
    if (temperature == 0.0f) {
        if (threadIdx.x == 0) {
            board->place = segments;
            board->count = vocabulary;
        }

        synchronize_block();
        for (int segment = threadIdx.x; segment < segments; segment += choose_threads) {
            if (row_partials[segment].maximum == largest)
                atomicMin(&board->place, segment);
        }

        synchronize_block();
        const int first = board->place * segment_columns, end = min(vocabulary, first + segment_columns);
        for (int column = first + threadIdx.x; column < end; column += choose_threads) {
            if (line[column] == largest)
                atomicMin(&board->count, column);
        }

        synchronize_block();
        if (threadIdx.x == 0) {
            token[row] = board->count;
            log_probability[row] = (line[board->count] - largest) - own_log_sum;
        }

        return;
    }

    if (threadIdx.x >= 32)
        return;
    const Weight* row_sums = sums + (long long)row * segments;
    const int* row_ties = ties + (long long)row * segments;
    const bool has_bound = choice.has_bound(vocabulary), is_truncated = choice.is_truncated(vocabulary);
    const Bound bound = has_bound ? row_bins[row].bound : Bound{};
    const Weight tie_weight = has_bound ? eligible_weight(logit_of(bound.key), temperature, largest, share) : 0;

    // The segment in which the sum exceeds the target: neighbouring segments for each lane.
    const int own_segments = divide_up(segments, 32);
    const int first_segment = min(segments, lane * own_segments), end_segment = min(segments, first_segment + own_segments);
    int own_ties = 0;
    for (int segment = first_segment; segment < end_segment; segment++)
        own_ties += is_truncated ? row_ties[segment] : 0;
    const int ties_before_lane = warp_before(own_ties);
    int ties_before = ties_before_lane;
    Weight own_sum = 0;
    for (int segment = first_segment; segment < end_segment; segment++) {
        const int at_bound = is_truncated ? row_ties[segment] : 0;
        own_sum += row_sums[segment] + (Weight)kept_ties(bound.ties, ties_before, at_bound) * tie_weight;
        ties_before += at_bound;
    }

    const Weight kept = warp_total(own_sum);
    const uint32_t* words = random + (long long)row * random_words;
    const Weight bits = philox_value(words[0] | (Weight)words[1] << 32, words[2] | (Weight)words[3] << 32, words[4] | (Weight)words[5] << 32);
    const Weight target = __umul64hi(kept, bits);
    Weight before = warp_before(own_sum);
    if (before <= target && target < before + own_sum) {
        ties_before = ties_before_lane;
        int segment = first_segment;
        while (true) {
            const int at_bound = is_truncated ? row_ties[segment] : 0;
            const Weight sum = row_sums[segment] + (Weight)kept_ties(bound.ties, ties_before, at_bound) * tie_weight;
            if (target < before + sum)
                break;
            before += sum;
            ties_before += at_bound;
            segment++;
        }

        board->weight = target - before;
        board->count = ties_before;
        board->place = segment;
    }

    synchronize_warp();

    // The token within the segment: neighbouring columns for each lane, read at once.
    const Weight rest = board->weight;
    const int first_column = board->place * segment_columns + lane * lane_columns, columns = min(vocabulary - first_column, lane_columns);
    float own[lane_columns];
#pragma unroll
    for (int i = 0; i < lane_columns; i++)
        own[i] = i < columns ? line[first_column + i] : 0.0f;
    own_ties = 0;
#pragma unroll
    for (int i = 0; i < lane_columns; i++)
        own_ties += i < columns && has_bound && key_of(own[i]) == bound.key;
    const int first_kept = board->count + warp_before(own_ties);
    own_sum = 0;
    before = 0;
#pragma unroll 1
    for (int walk = 0; walk < 2; walk++) {
        ties_before = first_kept;
        // The first of the lane's columns whose weight exceeds the rest.
        int place = -1;
        float found = 0.0f;
#pragma unroll
        for (int i = 0; i < lane_columns; i++) {
            const uint32_t key = key_of(own[i]);
            if (i >= columns || key < bound.key || (key == bound.key && ties_before++ >= bound.ties))
                continue;
            const Weight weight = eligible_weight(own[i], temperature, largest, share);
            own_sum += walk == 0 ? weight : 0;
            if (walk == 1 && place < 0 && before + weight > rest) {
                place = first_column + i;
                found = own[i];
            }
            before += walk == 1 ? weight : 0;
        }

        if (walk == 0) {
            before = warp_before(own_sum);
            if (rest < before || rest >= before + own_sum)
                return;
        } else if (place >= 0) {
            token[row] = place;
            log_probability[row] = (found / temperature - largest) - own_log_sum;
        }
    }
}

// Orders tokens by falling logits, and by ascending ids among equals; no two have the same rank, and none has 0.
__device__ __forceinline__ Weight rank_of(float logit, int column) { return (Weight)key_of(logit) << 32 | (uint32_t)~column; }

__device__ __forceinline__ Weight warp_greatest(Weight value) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const Weight other = shuffle_xor(value, mask);
        value = other > value ? other : value;
    }

    return value;
}

// The greatest rank of a segment below a bound; 0 if there is none. By a whole warp, all lanes of which receive it.
__device__ __forceinline__ Weight best_of_segment(const float* line, int segment, int vocabulary, Weight bound) {
    Weight best = 0;
#pragma unroll 4
    for (int i = 0; i < lane_columns; i++) {
        const int column = segment * segment_columns + i * 32 + threadIdx.x % 32;
        if (column >= vocabulary)
            continue;
        const Weight rank = rank_of(line[column], column);
        best = rank < bound && rank > best ? rank : best;
    }

    return warp_greatest(best);
}

// top_token and top_log_probability [rows, count]; bests [rows, segments] are overwritten. `token` is what choose_tokens gave.
extern "C" __global__ void __launch_bounds__(choose_threads)
    top_tokens(const float* logits, const float* temperatures, const float* maximum, const float* log_sum, const int* token,
               Weight* bests, int* top_token, float* top_log_probability, int count, int segments, int vocabulary) {
    const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int* row_tokens = top_token + (long long)row * count;
    float* row_scores = top_log_probability + (long long)row * count;
    if (token[row] < 0) {
        for (int rank = threadIdx.x; rank < count; rank += choose_threads) {
            row_tokens[rank] = -1;
            row_scores[rank] = __int_as_float(0x7FC00000);
        }

        return;
    }

    const float* line = logits + (long long)row * vocabulary;
    const float temperature = score_temperature(temperatures[row]), largest = maximum[row], own_log_sum = log_sum[row];
    Weight* row_bests = bests + (long long)row * segments;
    for (int segment = warp; segment < segments; segment += choose_threads / 32) {
        const Weight best = best_of_segment(line, segment, vocabulary, ~(Weight)0);
        if (lane == 0)
            row_bests[segment] = best;
    }

    synchronize_block();
    if (warp != 0)
        return;
#pragma unroll 1
    for (int rank = 0; rank < count; rank++) {
        Weight best = 0;
        for (int segment = lane; segment < segments; segment += 32)
            best = row_bests[segment] > best ? row_bests[segment] : best;
        best = warp_greatest(best);
        const int column = (int)~(uint32_t)best, segment = column / segment_columns;
        const Weight next = best_of_segment(line, segment, vocabulary, best);
        synchronize_warp();
        if (lane == 0) {
            row_tokens[rank] = column;
            row_scores[rank] = (scaled_logit(line[column], temperature) - largest) - own_log_sum;
            row_bests[segment] = next;
        }

        synchronize_warp();
    }
}

// row_starts [rows + 1]; the tokens of a row ascend. Every block has the entries of its columns.
extern "C" __global__ void __launch_bounds__(adjust_threads)
    adjust_logits(const float* logits, const int* row_starts, const int* tokens, const float* penalty, const float* bias, float* target, int entries,
                  int vocabulary, Status* start_status, int start_tag, Status* token_status, int token_tag, Status* number_status, int number_tag) {
    const int row_blocks = divide_up(vocabulary, adjust_columns);
    const int row = blockIdx.x / row_blocks, first_column = blockIdx.x % row_blocks * adjust_columns, end_column = min(vocabulary, first_column + adjust_columns);
    const float* source_line = logits + (long long)row * vocabulary;
    float* line = target + (long long)row * vocabulary;
    if (line != source_line) {
        for (int column = first_column + threadIdx.x; column < end_column; column += adjust_threads)
            line[column] = source_line[column];
    }

    synchronize_block();
    const int start = row_starts[row], end = row_starts[row + 1];
    if (start < 0 || end < start || end > entries) {
        if (first_column + threadIdx.x == 0)
            report_status(start_status, start_tag, row, start);
        return;
    }

    // The first block looks at all entries of the row, the others at theirs.
    int entry = start;
    if (first_column > 0) {
        int above = end;
        while (entry < above) {
            const int middle = entry + (above - entry) / 2;
            if (tokens[middle] < first_column)
                entry = middle + 1;
            else
                above = middle;
        }
    }

    for (entry += threadIdx.x; entry < end; entry += adjust_threads) {
        const int token = tokens[entry];
        if (first_column > 0 && token >= end_column)
            break;
        if (first_column == 0 && (token <= (entry > start ? tokens[entry - 1] : -1) || token >= vocabulary)) {
            report_status(token_status, token_tag, entry, token);
            continue;
        }

        if (token < first_column || token >= end_column)
            continue;
        const float factor = penalty[entry], addend = bias[entry];
        if (!(factor > 0) || factor > 3.402823466e38f || !(addend <= 3.402823466e38f)) {
            report_status(number_status, number_tag, entry, 0);
            continue;
        }

        const float x = line[token];
        line[token] = __fadd_rn(x > 0 ? x / factor : __fmul_rn(x, factor), addend);
    }
}

// rows [rows]: the mask of each row, below 0 for none. Neighbouring threads have neighbouring columns, a warp one word of the mask.
extern "C" __global__ void __launch_bounds__(adjust_threads)
    mask_logits(const float* logits, const int* rows, const uint32_t* masks, float* target, int count, int words, int vocabulary, Status* row_status, int row_tag) {
    const int row_blocks = divide_up(vocabulary, adjust_columns);
    const int row = blockIdx.x / row_blocks, first_column = blockIdx.x % row_blocks * adjust_columns, end_column = min(vocabulary, first_column + adjust_columns);
    const int mask = rows[row];
    const float* source_line = logits + (long long)row * vocabulary;
    float* line = target + (long long)row * vocabulary;
    if (mask >= count) {
        if (first_column + threadIdx.x == 0)
            report_status(row_status, row_tag, row, mask);
        return;
    }

    if (mask < 0) {
        if (line != source_line) {
            for (int column = first_column + threadIdx.x; column < end_column; column += adjust_threads)
                line[column] = source_line[column];
        }

        return;
    }

    const uint32_t* own = masks + (long long)mask * words;
    for (int column = first_column + threadIdx.x; column < end_column; column += adjust_threads) {
        const bool may_come = (own[column / 32] >> (column % 32) & 1) != 0;
        if (!may_come)
            line[column] = negative_infinity();
        else if (line != source_line)
            line[column] = source_line[column];
    }
}
