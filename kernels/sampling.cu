// Tokens drawn from logits [rows, vocabulary] float32, every row with parameters of its own, and single logits changed before that.
//   weigh_segments  sums [rows, segments]: the weights of the 1024 tokens of each segment
//   choose_tokens   the token of each row and its log-probability, after reduce_logits and finish_rows of logits.cu and weigh_segments
//   top_tokens      the most likely tokens of each row with their log-probabilities, after choose_tokens
//   adjust_logits   repetition penalties, biases and bans of listed tokens; target may be the logits themselves
//   mask_logits     bans by a bit for each token, in rows that have a mask; target may be the logits themselves
// A token's weight is a whole number: e^(x − max x) in units of 2⁻⁴³, with x = logit / temperature. Sums of whole numbers have no order: so there
// are atomics on numbers here, and yet a row's token depends on nothing but the row, and is that of the CPU (TokenSampler.cs) for
// the same logits. The exponential is that of VectorMath.cs, of exactly rounded operations only.
// Eligible are the first top_k in order of falling logits (ascending ids among equals), of those as many as weigh top_p of all together, and
// of those the ones with min_p of the greatest weight. The bound is found by a histogram of 11, 11 and 10 bits of a key that has the order of the
// logits; the token is where the sum of eligible weights, in vocabulary order, first exceeds ⌊all · r / 2⁶⁴⌋.
// Launch: weigh_segments 256 threads, a warp for a segment; choose_tokens one block of 512 threads for a row: with a bound it goes through the
// row four times, otherwise through one segment, by one warp; top_tokens one block of 512 threads for a row: the best of each segment, then a warp
// takes the best of those and looks through its segment for the next, as often as tokens are wanted; adjust_logits and mask_logits 256 threads, 4096 columns of one row.
// FLOPs: about 20 per logit and pass. Bytes: the logits once for the weights, four times with a bound (from the second-level cache: reduce_logits
// has just read them), 8 for 1024 logits beside; top_tokens reads them once more, and 4096 for each token that it gives.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_80 and sm_90a: weigh_segments 30 registers,
// choose_tokens 39 (before it wrote entropies of rows of which nothing can be drawn), adjust_logits 27 and 28, mask_logits 24, top_tokens 32;
// no spills.
#include "common/philox.cuh"
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/status.cuh"

using Weight = unsigned long long;

constexpr int weigh_threads = 256;
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

// Where the bound lies: the tokens with a greater key are kept, and the first `ties` of those that have it. 0: all are kept.
struct Bound {
    uint32_t key;
    int ties;
};

// The tokens of the row in order of falling keys: the first that are `limit`, or that weigh `needed` together. By the whole block.
__device__ __forceinline__ Bound find_bound(const float* line, int vocabulary, float temperature, float maximum, int limit, Weight needed, Weight* weights,
                                            int* counts, Board* board) {
    uint32_t key = 0;
    int count_before = 0;
    Weight weight_before = 0;
#pragma unroll 1
    for (int level = 0; level < 3; level++) {
        const int shift = level == 0 ? 21 : level == 1 ? 10 : 0;
        const uint32_t mask = level == 2 ? 1023 : 2047;
        for (int bin = threadIdx.x; bin < bins; bin += choose_threads) {
            weights[bin] = 0;
            counts[bin] = 0;
        }

        synchronize_block();
#pragma unroll 1
        for (int column = threadIdx.x; column < vocabulary; column += choose_threads) {
            const float logit = line[column];
            const uint32_t own = key_of(logit);
            if (level > 0 && own >> (level == 1 ? 21 : 10) != key)
                continue;
            const uint32_t bin = own >> shift & mask;
            atomicAdd(&counts[bin], 1);
            const Weight weight = eligible_weight(logit, temperature, maximum, 0);
            if (weight != 0)
                atomicAdd(&weights[bin], weight);
        }

        synchronize_block();
        if (threadIdx.x < 32) {
            // From the greatest bin down, 64 for each lane; the bins of the third level are the lower half.
            constexpr int own_bins = bins / 32;
            const int last = bins - 1 - (int)threadIdx.x * own_bins;
            int own_count = 0;
            Weight own_weight = 0;
#pragma unroll 4
            for (int i = 0; i < own_bins; i++) {
                own_count += counts[last - i];
                own_weight += weights[last - i];
            }

            int count = count_before + warp_before(own_count);
            Weight weight = weight_before + warp_before(own_weight);
            const unsigned int crossing = ballot(count + own_count >= limit || weight + own_weight >= needed);
            if ((int)threadIdx.x == __ffs((int)crossing) - 1) {
                int bin = last;
#pragma unroll 1
                while (count + counts[bin] < limit && weight + weights[bin] < needed) {
                    count += counts[bin];
                    weight += weights[bin--];
                }

                *board = {weight, weights[bin], count, counts[bin], bin};
            }
        }

        synchronize_block();
        key = key << (level == 2 ? 10 : 11) | (uint32_t)board->place;
        count_before = board->count;
        weight_before = board->weight;
    }

    // All of the last bin have one logit, so one weight.
    const Weight weight = board->bin_weight / (Weight)board->bin_count, missing = needed - weight_before;
    const Weight by_weight = weight == 0 ? ~(Weight)0 : missing / weight + (missing % weight == 0 ? 0 : 1);
    const Weight by_count = (Weight)min(limit - count_before, board->bin_count);
    synchronize_block();
    return {key, (int)(by_count < by_weight ? by_count : by_weight)};
}

extern "C" __global__ void __launch_bounds__(weigh_threads)
    weigh_segments(const float* logits, const float* temperatures, const float* maximum, Weight* sums, int segments, int vocabulary) {
    const int row_blocks = divide_up(segments, weigh_threads / 32);
    const int row = blockIdx.x / row_blocks, segment = blockIdx.x % row_blocks * (weigh_threads / 32) + threadIdx.x / 32;
    const float temperature = temperatures[row];
    if (segment >= segments || temperature == 0.0f)
        return;
    const float* line = logits + (long long)row * vocabulary;
    const float largest = maximum[row];
    Weight sum = 0;
#pragma unroll 4
    for (int i = 0; i < lane_columns; i++) {
        const int column = segment * segment_columns + i * 32 + threadIdx.x % 32;
        if (column < vocabulary)
            sum += eligible_weight(line[column], temperature, largest, 0);
    }

    sum = warp_total(sum);
    if (threadIdx.x % 32 == 0)
        sums[(long long)row * segments + segment] = sum;
}

// Bytes of shared memory: 12 for each of 2048 bins, and a Board. `sums` of the row are overwritten.
extern "C" __global__ void __launch_bounds__(choose_threads)
    choose_tokens(const float* logits, const float* temperatures, const int* top_k, const float* top_p, const float* min_p, const uint32_t* random,
                  const SoftmaxPartial* partials, const float* maximum, const float* log_sum, Weight* sums, int* ties, int* token, float* log_probability,
                  float* entropy, int segments, int vocabulary, Status* parameter_status, int parameter_tag) {
    SKYLIGHT_SHARED(memory);
    Weight* weights = reinterpret_cast<Weight*>(memory);
    int* counts = reinterpret_cast<int*>(memory + bins * sizeof(Weight));
    Board* board = reinterpret_cast<Board*>(memory + bins * (sizeof(Weight) + sizeof(int)));
    const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const float* line = logits + (long long)row * vocabulary;
    const float temperature = temperatures[row], nucleus = top_p[row], share = min_p[row];
    const int limit = top_k[row];
    const float largest = maximum[row], own_log_sum = log_sum[row];
    constexpr float largest_float = 3.402823466e38f;
    const bool has_parameters = temperature >= 0 && temperature <= largest_float && limit >= 0 && nucleus > 0 && nucleus <= 1 && share >= 0 && share <= 1;
    const bool has_numbers = own_log_sum >= -1 && own_log_sum <= largest_float && largest >= -largest_float && largest <= largest_float;
    if (!has_parameters || !has_numbers) {
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

    Weight* row_sums = sums + (long long)row * segments;
    int* row_ties = ties + (long long)row * segments;
    const bool has_bound = (limit > 0 && limit < vocabulary) || nucleus < 1;
    Bound bound = {0, 0};
    if (has_bound) {
        if (threadIdx.x == 0)
            board->weight = 0;
        synchronize_block();
        for (int segment = threadIdx.x; segment < segments; segment += choose_threads)
            atomicAdd(&board->weight, row_sums[segment]);
        synchronize_block();
        const Weight total = board->weight;
        Weight needed = ~(Weight)0;
        if (nucleus < 1) {
            needed = (Weight)ceil((double)nucleus * (double)(long long)total);
            needed = needed < total ? needed : total;
        }

        bound = find_bound(line, vocabulary, temperature, largest, limit > 0 ? limit : 0x7FFFFFFF, needed, weights, counts, board);
    }

    // Eligible weights of each segment, and how many of its tokens are at the bound.
    const bool is_truncated = has_bound || share > 0;
    const Weight tie_weight = has_bound ? eligible_weight(logit_of(bound.key), temperature, largest, share) : 0;
    if (is_truncated) {
        for (int segment = warp; segment < segments; segment += choose_threads / 32) {
            Weight sum = 0;
            int at_bound = 0;
#pragma unroll 2
            for (int i = 0; i < lane_columns; i++) {
                const int column = segment * segment_columns + i * 32 + lane;
                if (column >= vocabulary)
                    continue;
                const float logit = line[column];
                const uint32_t key = key_of(logit);
                at_bound += key == bound.key;
                if (key > bound.key)
                    sum += eligible_weight(logit, temperature, largest, share);
            }

            sum = warp_total(sum);
            at_bound = warp_total(at_bound);
            if (lane == 0) {
                row_sums[segment] = sum;
                row_ties[segment] = at_bound;
            }
        }
    }

    synchronize_block();
    if (warp != 0)
        return;

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

    // The token within the segment: neighbouring columns for each lane.
    const Weight rest = board->weight;
    const int first_column = board->place * segment_columns + lane * lane_columns, end_column = min(vocabulary, first_column + lane_columns);
    own_ties = 0;
    for (int column = first_column; column < end_column; column++)
        own_ties += has_bound && key_of(line[column]) == bound.key;
    ties_before = board->count + warp_before(own_ties);
    const int first_kept = ties_before;
    own_sum = 0;
    before = 0;
#pragma unroll 1
    for (int walk = 0; walk < 2; walk++) {
        ties_before = first_kept;
        for (int column = first_column; column < end_column; column++) {
            const float logit = line[column];
            const uint32_t key = key_of(logit);
            if (key < bound.key || (key == bound.key && ties_before++ >= bound.ties))
                continue;
            const Weight weight = eligible_weight(logit, temperature, largest, share);
            if (walk == 0) {
                own_sum += weight;
            } else if (before + weight > rest) {
                token[row] = column;
                log_probability[row] = (logit / temperature - largest) - own_log_sum;
                break;
            } else {
                before += weight;
            }
        }

        if (walk == 0) {
            before = warp_before(own_sum);
            if (rest < before || rest >= before + own_sum)
                return;
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
