// Tokens drawn from logits [rows, vocabulary] float32, every row with parameters of its own.
//   choose_tokens   the token of each row and its log-probability, after reduce_logits and finish_rows of logits.cu and
//                   the kernels of sampling_bounds.cu, in this order
//   top_tokens      the most likely tokens of each row with their log-probabilities, after choose_tokens
// The token is where the sum of eligible weights (common/sampling.cuh), in vocabulary order, first exceeds ⌊all · r /
// 2⁶⁴⌋.
// Launch: choose_tokens one block of 128 threads for a row, which goes through one segment, by one warp unless the row
// is greedy; top_tokens one block of 512 threads for a row: the best of each segment, then a warp takes the best of
// those and looks through its segment for the next, as often as tokens are wanted.
// FLOPs: about 20 per logit of a segment. Bytes: those of a segment, and 12 for each other one; top_tokens reads the
// logits once, and 4096 for each token that it gives.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills; registers: see budget.json.
#include "common/philox.cuh"
#include "common/sampling.cuh"
#include "common/status.cuh"
#include "ptx/memory.cuh"

constexpr int choose_threads = 128;
constexpr int top_threads = 512;
constexpr int random_words = 6;
constexpr int not_finite = -1;       // SampleTokens.NotFinite
constexpr int nothing_to_draw = -2;  // SampleTokens.NothingToDraw

// How many of some tokens with the same logit are kept: `ties` of the row are, and `before` of them came earlier.
__device__ __forceinline__ int kept_ties(int ties, int before, int count) { return max(0, min(ties - before, count)); }

// Bytes of shared memory: a Board.
extern "C" __global__ void __launch_bounds__(choose_threads)
    choose_tokens(const float* logits, const float* temperatures, const int* top_k, const float* top_p,
                  const float* min_p, const uint32_t* random, const SoftmaxPartial* partials, const float* maximum,
                  const float* log_sum, const Weight* sums, const int* ties, const RowBins* row_bins, int* token,
                  float* log_probability, float* entropy, int segments, int vocabulary, Status* parameter_status,
                  int parameter_tag) {
    SKYLIGHT_SHARED(memory);
    Board* board = reinterpret_cast<Board*>(memory);
    const int row = blockIdx.x, lane = threadIdx.x % 32;
    const float* line = logits + (long long)row * vocabulary;
    const RowChoice choice = Choices{temperatures, top_k, top_p, min_p, maximum, log_sum}.of(row);
    const float temperature = choice.temperature, share = choice.share, largest = choice.largest,
                own_log_sum = choice.log_sum;
    const bool has_parameters = choice.has_parameters();
    if (!has_parameters || !choice.has_numbers()) {
        // Nothing can be drawn of the row; the others go on.
        if (threadIdx.x == 0) {
            token[row] =
                largest == negative_infinity() && own_log_sum == negative_infinity() ? nothing_to_draw : not_finite;
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
    const int first_segment = min(segments, lane * own_segments),
              end_segment = min(segments, first_segment + own_segments);
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
    const Weight bits = philox_value(words[0] | (Weight)words[1] << 32, words[2] | (Weight)words[3] << 32,
                                     words[4] | (Weight)words[5] << 32);
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
    const int first_column = board->place * segment_columns + lane * lane_columns,
              columns = min(vocabulary - first_column, lane_columns);
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
__device__ __forceinline__ Weight rank_of(float logit, int column) {
    return (Weight)key_of(logit) << 32 | (uint32_t)~column;
}

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

// top_token and top_log_probability [rows, count]; bests [rows, segments] are overwritten. `token` is what
// choose_tokens gave.
extern "C" __global__ void __launch_bounds__(top_threads)
    top_tokens(const float* logits, const float* temperatures, const float* maximum, const float* log_sum,
               const int* token, Weight* bests, int* top_token, float* top_log_probability, int count, int segments,
               int vocabulary) {
    const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int* row_tokens = top_token + (long long)row * count;
    float* row_scores = top_log_probability + (long long)row * count;
    if (token[row] < 0) {
        for (int rank = threadIdx.x; rank < count; rank += top_threads) {
            row_tokens[rank] = -1;
            row_scores[rank] = __int_as_float(0x7FC00000);
        }

        return;
    }

    const float* line = logits + (long long)row * vocabulary;
    const float temperature = score_temperature(temperatures[row]), largest = maximum[row], own_log_sum = log_sum[row];
    Weight* row_bests = bests + (long long)row * segments;
    for (int segment = warp; segment < segments; segment += top_threads / 32) {
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
