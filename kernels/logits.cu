// Statistics of logits [rows, vocabulary] that lie in memory (float32), and the gradient of what is computed from them.
//   reduce_logits   partials [rows, segments] of the segments of each row; see common/softmax_statistics.cuh
//   finish_rows     maximum, log-sum and entropy of a row from its partials; with targets also log-probability and
//                   log-sum-exp
//   logit_gradients dLogits [rows, vocabulary]; may overwrite the logits
// Launch: reduce_logits 256 threads, four segments of one row (a quad of lanes for a slice, two warps for a segment);
// finish_rows 256 threads, a warp for a row; logit_gradients 256 threads, 4096 columns of one row.
// FLOPs: about 8 per logit, 10 in the gradient. Bytes: the logits once (4·rows·vocabulary), in the gradient read and
// written; the partials are 12 bytes for 1024 columns, written and read.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_80 and sm_90a: reduce_logits 34 and 32 registers,
// finish_rows 32, logit_gradients 29 and 30; no spills.
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"

constexpr int threads = 256;
constexpr int block_segments = 4;
constexpr int gradient_columns = 4096;

// Bytes of shared memory: threads / 4 partials. Rows whose target is no token are left out. With `temperatures` every
// row has its own.
extern "C" __global__ void __launch_bounds__(threads)
    reduce_logits(const float* logits, const int* targets, SoftmaxPartial* partials, int segments, int vocabulary,
                  const float* temperatures, float temperature) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    SoftmaxPartial* slices = reinterpret_cast<SoftmaxPartial*>(memory);
    const int row_blocks = divide_up(segments, block_segments);
    const int row = blockIdx.x / row_blocks;
    const int first_segment = blockIdx.x % row_blocks * block_segments;
    if (targets && (unsigned int)targets[row] >= (unsigned int)vocabulary)
        return;

    const int quad = threadIdx.x / 4, lane = threadIdx.x % 4;
    const float* line = logits + (long long)row * vocabulary;
    const int first_column = first_segment * segment_columns + quad * slice_columns + 2 * lane;
    float x[slice_values];
    if (vocabulary % 2 == 0) {
#pragma unroll
        for (int j = 0; j < slice_values / 2; j++) {
            const int column = first_column + 8 * j;
            const bool inside = column < vocabulary;
            Pack<float, 2> pair;
            if (inside)
                pair = load_pack<2>(line + column);
            x[2 * j] = inside ? pair.elements[0] : negative_infinity();
            x[2 * j + 1] = inside ? pair.elements[1] : negative_infinity();
        }
    } else {
#pragma unroll
        for (int i = 0; i < slice_values; i++) {
            const int column = first_column + i / 2 * 8 + i % 2;
            x[i] = column < vocabulary ? line[column] : negative_infinity();
        }
    }

    if (temperatures)
        temperature = score_temperature(temperatures[row]);
    if (temperature != 1.0f) {
#pragma unroll
        for (int i = 0; i < slice_values; i++)
            x[i] = x[i] / temperature;
    }

    const SoftmaxPartial slice = reduce_slice(x);
    if (lane == 0)
        slices[quad] = slice;
    synchronize_block();
    const int segment = first_segment + threadIdx.x;
    if (threadIdx.x < block_segments && segment < segments) {
        SoftmaxPartial partial = slices[threadIdx.x * segment_slices];
        for (int i = 1; i < segment_slices; i++)
            partial = merge_partials(partial, slices[threadIdx.x * segment_slices + i]);
        partials[(long long)row * segments + segment] = partial;
    }
}

// Bytes of shared memory: two doubles per thread. `positions` says which line of the partials a row has (−1: none);
// null: its own.
// The target's logit comes from `target_logits` [lines] or, where that is null, from `logits`. Without targets the
// statistics alone are written. Rows whose target is −1 get zeros, as do those whose target is wrong, after a report.
extern "C" __global__ void __launch_bounds__(threads)
    finish_rows(const SoftmaxPartial* partials, const int* targets, const int* positions, const float* target_logits,
                const float* logits, float* log_probability, float* entropy, float* log_sum_exp, float* maximum,
                float* log_sum, int rows, int segments, int vocabulary, const float* temperatures, float temperature,
                float largest_entropy, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    const int lane = threadIdx.x % 32;
    double* sums = reinterpret_cast<double*>(memory) + threadIdx.x / 32 * 64;
    const int row = blockIdx.x * (threads / 32) + threadIdx.x / 32;
    if (row >= rows)
        return;

    const int target = targets ? targets[row] : 0;
    if ((unsigned int)target >= (unsigned int)vocabulary) {
        if (lane == 0) {
            if (target != -1)
                report_status(status, tag, row, target);
            log_probability[row] = entropy[row] = log_sum_exp[row] = maximum[row] = log_sum[row] = 0;
        }

        return;
    }

    const int line = positions ? positions[row] : row;
    const SoftmaxPartial* row_partials = partials + (long long)line * segments;
    float largest = negative_infinity();
    for (int segment = lane; segment < segments; segment += 32) {
        const float candidate = row_partials[segment].maximum;
        largest = candidate > largest ? candidate : largest;
    }
#pragma unroll
    for (int mask = 1; mask < 32; mask *= 2) {
        const float other = shuffle_xor(largest, mask);
        largest = other > largest ? other : largest;
    }

    double sum = 0, weighted_sum = 0;
    for (int segment = lane; segment < segments; segment += 32) {
        const SoftmaxPartial partial = row_partials[segment];
        if (partial.maximum == negative_infinity() && partial.sum == 0)
            continue;
        const double shift = (double)partial.maximum - largest;
        const double scale = exp(shift);
        sum = fma(scale, (double)partial.sum, sum);
        weighted_sum = fma(scale, fma(shift, (double)partial.sum, (double)partial.weighted_sum), weighted_sum);
    }

    sums[lane] = sum;
    sums[32 + lane] = weighted_sum;
    synchronize_warp();
    if (lane != 0)
        return;
    for (int other = 1; other < 32; other++) {
        sum += sums[other];
        weighted_sum += sums[32 + other];
    }

    // The largest term is 1 and all of the weighted terms are ≤ 0, so nothing cancels.
    const double row_log_sum = log(sum);
    const float row_entropy = (float)(row_log_sum - weighted_sum / sum), rounded_log_sum = (float)row_log_sum;
    if (temperatures)
        temperature = score_temperature(temperatures[row]);
    entropy[row] = row_entropy < 0.0f ? 0.0f : row_entropy > largest_entropy ? largest_entropy : row_entropy;
    maximum[row] = largest;
    log_sum[row] = rounded_log_sum;
    if (targets) {
        const float logit = target_logits ? target_logits[line] : logits[(long long)row * vocabulary + target];
        log_probability[row] = (logit / temperature - largest) - rounded_log_sum;
        log_sum_exp[row] = largest + rounded_log_sum;
    }
}

// Null pointers for gradients that are not there. Rows without target or gradient get zeros.
extern "C" __global__ void __launch_bounds__(threads)
    logit_gradients(const float* logits, const int* targets, const float* maximum, const float* log_sum,
                    const float* entropy, const float* log_probability_gradient, const float* entropy_gradient,
                    float* gradients, int vocabulary, float temperature, Status* status, int tag) {
    const int row_blocks = divide_up(vocabulary, gradient_columns);
    const int row = blockIdx.x / row_blocks;
    const int first_column = blockIdx.x % row_blocks * gradient_columns;
    const int target = targets[row];
    if ((target < -1 || target >= vocabulary) && first_column + threadIdx.x == 0)
        report_status(status, tag, row, target);
    LogitGradient gradient = {0, 0, 0, 0, 0, -1};
    if ((unsigned int)target < (unsigned int)vocabulary)
        gradient = load_logit_gradient(row, target, maximum, log_sum, entropy, log_probability_gradient,
                                       entropy_gradient, temperature);
    const long long offset = (long long)row * vocabulary;
#pragma unroll 4
    for (int i = 0; i < gradient_columns / threads; i++) {
        const int column = first_column + i * threads + threadIdx.x;
        if (column < vocabulary)
            gradients[offset + column] =
                gradient.target < 0 ? 0.0f : logit_gradient(gradient, logits[offset + column], column, temperature);
    }
}
