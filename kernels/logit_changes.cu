// Single logits of [rows, vocabulary] float32 changed before tokens are drawn; target may be the logits themselves.
//   adjust_logits   repetition penalties, biases and bans of listed tokens
//   mask_logits     bans by a bit for each token, in rows that have a mask
// Launch: 256 threads, 4096 columns of one row. Bytes: 8 a logit where it is copied, else those of the entries and of
// the mask.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, no spills; registers: see budget.json.
#include "common/softmax_statistics.cuh"
#include "common/status.cuh"
#include "ptx/memory.cuh"

constexpr int adjust_threads = 256;
constexpr int adjust_columns = 4096;

// row_starts [rows + 1]; the tokens of a row ascend. Every block has the entries of its columns.
extern "C" __global__ void __launch_bounds__(adjust_threads)
    adjust_logits(const float* logits, const int* row_starts, const int* tokens, const float* penalty,
                  const float* bias, float* target, int entries, int vocabulary, Status* start_status, int start_tag,
                  Status* token_status, int token_tag, Status* number_status, int number_tag) {
    const int row_blocks = divide_up(vocabulary, adjust_columns);
    const int row = blockIdx.x / row_blocks, first_column = blockIdx.x % row_blocks * adjust_columns,
              end_column = min(vocabulary, first_column + adjust_columns);
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

// rows [rows]: the mask of each row, below 0 for none. Neighbouring threads have neighbouring columns, a warp one word
// of the mask.
extern "C" __global__ void __launch_bounds__(adjust_threads)
    mask_logits(const float* logits, const int* rows, const uint32_t* masks, float* target, int count, int words,
                int vocabulary, Status* row_status, int row_tag) {
    const int row_blocks = divide_up(vocabulary, adjust_columns);
    const int row = blockIdx.x / row_blocks, first_column = blockIdx.x % row_blocks * adjust_columns,
              end_column = min(vocabulary, first_column + adjust_columns);
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
