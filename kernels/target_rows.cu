// Which rows of a vocabulary head have a target, side by side: what the head's products read (vocabulary_head.cu,
// warpgroup_head.cu).
//   select_rows  which rows have a target (backward: and a gradient), ascending; how many
//   gather_rows  their hidden states side by side; backward: what the gradient of their logits is made of
// hidden [tokens, width] is bfloat16. ALIGNED 1: width is a multiple of 8.
// Launch: select_rows one block of 1024 threads; gather_rows 256 threads, a warp for a row, over all tokens, of which
// those beyond the last end at once.
// Bytes: hidden read and written once.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_80 and sm_90a: select_rows 30 registers, gather_rows
// 28–30; no spills.
#include "common/shared.cuh"
#include "common/softmax_statistics.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"

constexpr int select_threads = 1024;
constexpr int gather_threads = 256;

// Bytes of shared memory: one int per warp. rows[0 … count − 1] are the selected ones; positions[row] is where a row is
// among them, or −1.
// Without gradients (null pointers) every row with a target is selected.
extern "C" __global__ void __launch_bounds__(select_threads)
    select_rows(const int* targets, const float* log_probability_gradient, const float* entropy_gradient, int* rows,
                int* positions, int* count, int tokens, int vocabulary, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(memory);
    int* warp_counts = reinterpret_cast<int*>(memory);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool all = !log_probability_gradient && !entropy_gradient;
    int selected_before = 0;
    for (int first = 0; first < tokens; first += select_threads) {
        const int row = first + threadIdx.x;
        bool selected = false;
        if (row < tokens) {
            const int target = targets[row];
            selected = (unsigned int)target < (unsigned int)vocabulary &&
                       (all || (log_probability_gradient && log_probability_gradient[row] != 0) ||
                        (entropy_gradient && entropy_gradient[row] != 0));
            if (target < -1 || target >= vocabulary)
                report_status(status, tag, row, target);
        }

        const unsigned int votes = ballot(selected);
        if (lane == 0)
            warp_counts[warp] = __popc(votes);
        synchronize_block();
        int before = selected_before, together = 0;
        for (int other = 0; other < select_threads / 32; other++) {
            before += other < warp ? warp_counts[other] : 0;
            together += warp_counts[other];
        }

        const int position = before + __popc(votes & ((1u << lane) - 1));
        if (selected)
            rows[position] = row;
        if (row < tokens)
            positions[row] = selected ? position : -1;
        selected_before += together;
        synchronize_block();
    }

    if (threadIdx.x == 0)
        *count = selected_before;
}

// gathered [tokens, stride]: the selected rows of hidden, then zeros up to the stride, and rows of zeros up to a
// multiple of 64 as far as there are tokens. row_targets [tokens] their targets (forward) or row_gradients [tokens]
// (backward); the other is null.
extern "C" __global__ void __launch_bounds__(gather_threads)
    gather_rows(const bfloat16* hidden, const int* targets, const int* rows, const int* count, bfloat16* gathered,
                int* row_targets, LogitGradient* row_gradients, const float* maximum, const float* log_sum,
                const float* entropy, const float* log_probability_gradient, const float* entropy_gradient, int tokens,
                int width, int stride, float temperature) {
    grid_wait();
    grid_launch_dependents();
    const int position = blockIdx.x * (gather_threads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    bfloat16* target = gathered + (long long)position * stride;
    if (position >= *count) {
        for (int column = lane * 8; column < stride && position < min(tokens, divide_up(*count, 64) * 64);
             column += 32 * 8)
            store_pack<8>(target + column, Pack<bfloat16, 8>{});
        return;
    }

    const int row = rows[position];
    if (lane == 0 && row_targets)
        row_targets[position] = targets[row];
    if (lane == 0 && row_gradients)
        row_gradients[position] = load_logit_gradient(row, targets[row], maximum, log_sum, entropy,
                                                      log_probability_gradient, entropy_gradient, temperature);
    const bfloat16* source = hidden + (long long)row * width;
    for (int column = lane * 8; column < stride; column += 32 * 8) {
        Pack<bfloat16, 8> pack;
        if (ALIGNED != 0) {
            pack = load_pack<8>(source + column);
        } else {
#pragma unroll
            for (int i = 0; i < 8; i++)
                pack.elements[i] = column + i < width ? source[column + i] : bfloat16{0};
        }

        store_pack<8>(target + column, pack);
    }
}
