// What all attention kernels are made of: tiles of bfloat16 rows in shared memory, the two matrix products of a warp,
// and the online softmax (Milakov and Gimelshein, 2018; tiling after Dao, 2023). One code for training, prefill and
// decoding, so that a row has the same bits in all.
//
// A query row walks the keys in blocks of 64 at fixed positions of its sequence, ascending. Per block: every score is
// one chain of m16n8k16 steps over the head dimension, ascending; maximum, correction 2^((old − new)·scale) and p =
// 2^(score·scale − maximum·scale) follow; a lane sums the p of its 16 columns in order; every output element continues
// its chain over the keys, ascending, with p rounded to bfloat16. Which warp computes which columns, and which rows lie
// in a tile beside each other, changes none of this.
// Keys that a row does not see have p = 0; a block of which it sees nothing multiplies by 1 and adds zeros, so it may
// be skipped or not.
//
// Eight blocks are a span, again at fixed positions. The chains start anew with each span, and the spans are joined in
// ascending order:
// so the spans of a row may be computed one after the other (training, prefill) or side by side by many blocks
// (decoding), and those of which several sequences have the same pages by one block for all of them, with the same
// bits.
#pragma once

#include "common/shared.cuh"
#include "common/types.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/math.cuh"
#include "ptx/memory.cuh"
#include "ptx/mma.cuh"
#include "ptx/warp.cuh"

constexpr int attention_block = 64;  // keys of a step; two pages of the cache
constexpr int span_blocks = 8;
constexpr int attention_span = attention_block * span_blocks;
constexpr float log2_of_e = 1.4426950408889634f;
constexpr float log_of_2 = 0.6931471805599453f;

// The score of a key that is not seen: minus infinity.
__device__ __forceinline__ float hidden_score() { return __uint_as_float(0xFF800000u); }

// Heads as rows of shared memory: padded with zeros to a multiple of 16 elements, and with 16 bytes that nobody reads.
// A row is then an odd number of 16-byte units, so the eight rows of a matrix tile fall into different banks.
template <int head_dimension>
struct AttentionRows {
    static constexpr int chunks = (head_dimension + 15) / 16;  // of 16 elements
    static constexpr int bytes = 2 * (16 * chunks + 8);
};

// What a thread copies of some rows: 16 bytes of every step-th, from one on. An address follows from the first by one
// multiply-add.
struct MatrixSteps {
    const unsigned char* from;
    int stride;  // bytes from a row to the next
    int left;    // rows from the first on; all after them are zeros

    template <int rows>
    __device__ __forceinline__ const void* address() const {
        return from + (long long)stride * rows;
    }

    template <int rows>
    __device__ __forceinline__ bool read() const {
        return rows < left;
    }

    __device__ __forceinline__ void clear() { left = 0; }
};

// Consecutive rows of a matrix in global memory.
struct MatrixRows {
    const bfloat16* base;
    long long stride;
    int count;  // rows from here on are zeros

    // Whether rows that lie some steps apart can be given at once.
    __device__ static constexpr bool has_steps(int) { return true; }

    __device__ __forceinline__ MatrixSteps steps(int row, int column) const {
        return {reinterpret_cast<const unsigned char*>(base + row * stride + column),
                (int)stride * (int)sizeof(bfloat16), count - row};
    }

    __device__ __forceinline__ const bfloat16* row(int index) const {
        return index < count ? base + index * stride : nullptr;
    }
};

template <int step_rows, int row_bytes, int step, int steps, class Steps>
__device__ __forceinline__ void copy_steps(uint32_t target, const Steps& from) {
    if constexpr (step < steps) {
        cp_async_16(target + step * step_rows * row_bytes, from.template address<step * step_rows>(),
                    from.template read<step * step_rows>() ? 16 : 0);
        copy_steps<step_rows, row_bytes, step + 1, steps>(target, from);
    }
}

// Copies rows first to first + rows − 1 into shared memory; asynchronously, where rows are whole 16-byte units. A
// source gives null for rows that are zeros. thread is this one's index, read by thread_index: addresses that follow
// from it are computed again, not kept in registers.
template <int head_dimension, int rows, int threads, class Source>
__device__ __forceinline__ void load_rows(unsigned char* tile, const Source& source, int first,
                                          int thread = thread_index()) {
    using Rows = AttentionRows<head_dimension>;
    constexpr int packs = 2 * Rows::chunks, count = rows * packs;
    if constexpr (head_dimension % 8 == 0 && threads % packs == 0 && count % threads == 0 &&
                  Source::has_steps(threads / packs)) {
        // A thread has the same 16 bytes of rows that lie as many apart as all threads together have.
        const int row = thread / packs, pack = thread % packs;
        auto steps = source.steps(first + row, 8 * pack);
        if (head_dimension % 16 != 0 && 8 * pack >= head_dimension)
            steps.clear();
        copy_steps<threads / packs, Rows::bytes, 0, count / threads>(
            shared_address(tile) + row * Rows::bytes + 16 * pack, steps);
    } else if constexpr (head_dimension % 8 == 0) {
        const uint32_t address = shared_address(tile);
#pragma unroll
        for (int step = 0; step < divide_up(count, threads); step++) {
            const int index = step * threads + thread;
            if (count % threads != 0 && index >= count)
                break;
            const int row = index / packs, pack = index % packs;
            const bfloat16* from = source.row(first + row);
            const bool read = from != nullptr && 8 * pack < head_dimension;
            cp_async_16(address + row * Rows::bytes + 16 * pack, read ? from + 8 * pack : source.base, read ? 16 : 0);
        }
    } else {
        constexpr int width = 16 * Rows::chunks;
#pragma unroll 1
        for (int index = threadIdx.x; index < rows * width; index += threads) {
            const int row = index / width, column = index % width;
            const bfloat16* from = source.row(first + row);
            reinterpret_cast<bfloat16*>(tile + row * Rows::bytes)[column] =
                from != nullptr && column < head_dimension ? from[column] : bfloat16{0};
        }
    }
}

// Where a lane reads a 16 × 16 tile as a left factor, or, transposed, as a right factor whose rows are summed over.
template <int head_dimension>
__device__ __forceinline__ uint32_t row_fragment(const unsigned char* tile, int lane) {
    return shared_address(tile) + lane % 16 * AttentionRows<head_dimension>::bytes + lane / 16 * 16;
}

// Where a lane reads a 16 × 16 tile as a right factor whose columns are summed over.
template <int head_dimension>
__device__ __forceinline__ uint32_t column_fragment(const unsigned char* tile, int lane) {
    return shared_address(tile) + (lane % 8 + lane / 16 * 8) * AttentionRows<head_dimension>::bytes + lane / 8 % 2 * 16;
}

// products [16·row_tiles, 16·column_chunks] = left · rightᵀ, both with heads as rows. left is a row fragment, right a
// column fragment.
template <int head_dimension, int row_tiles, int column_chunks>
__device__ __forceinline__ void multiply_rows(float (&products)[row_tiles][2 * column_chunks][4], uint32_t left,
                                              uint32_t right) {
    constexpr int bytes = AttentionRows<head_dimension>::bytes, all = AttentionRows<head_dimension>::chunks;
    // With the sums of wide tiles in registers there is no room for fragments of several chunks.
    constexpr int unrolled = row_tiles * all > 8 ? 1 : all;
#pragma unroll
    for (int tile = 0; tile < row_tiles; tile++)
#pragma unroll
        for (int column = 0; column < 2 * column_chunks; column++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                products[tile][column][i] = 0.0f;
#pragma unroll unrolled
    for (int chunk = 0; chunk < all; chunk++) {
        unsigned int a[row_tiles][4];
#pragma unroll
        for (int tile = 0; tile < row_tiles; tile++)
            ldmatrix_x4(a[tile], left + tile * 16 * bytes + chunk * 32);
#pragma unroll
        for (int column = 0; column < column_chunks; column++) {
            unsigned int b[4];
            ldmatrix_x4(b, right + column * 16 * bytes + chunk * 32);
#pragma unroll
            for (int tile = 0; tile < row_tiles; tile++) {
                mma_m16n8k16(products[tile][2 * column], a[tile], b[0], b[1]);
                mma_m16n8k16(products[tile][2 * column + 1], a[tile], b[2], b[3]);
            }
        }
    }
}

// sums [16·row_tiles, …] += weights [16·row_tiles, 16·depth] · rows [16·depth, head]. This warp has the 16-column
// chunks first_chunk, first_chunk + chunk_step, …; rows is a row fragment.
template <int head_dimension, int row_tiles, int depth, int chunk_step, int chunks>
__device__ __forceinline__ void multiply_weights(float (&sums)[row_tiles][2 * chunks][4],
                                                 const unsigned int (&weights)[row_tiles][depth][4], uint32_t rows,
                                                 int first_chunk) {
    constexpr int bytes = AttentionRows<head_dimension>::bytes, all = AttentionRows<head_dimension>::chunks;
#pragma unroll
    for (int step = 0; step < depth; step++)
#pragma unroll
        for (int chunk = 0; chunk < chunks; chunk++) {
            const int column = first_chunk + chunk * chunk_step;
            if (chunk_step > 1 && column >= all)
                break;
            unsigned int b[4];
            ldmatrix_x4_transposed(b, rows + step * 16 * bytes + column * 32);
#pragma unroll
            for (int tile = 0; tile < row_tiles; tile++) {
                mma_m16n8k16(sums[tile][2 * chunk], weights[tile][step], b[0], b[1]);
                mma_m16n8k16(sums[tile][2 * chunk + 1], weights[tile][step], b[2], b[3]);
            }
        }
}

// A product's accumulators [16, 16·depth] as the left factor of the next product.
template <int depth>
__device__ __forceinline__ void round_weights(unsigned int (&weights)[depth][4], const float (&values)[2 * depth][4]) {
#pragma unroll
    for (int step = 0; step < depth; step++) {
        weights[step][0] = floats_to_bfloat16(values[2 * step][0], values[2 * step][1]);
        weights[step][1] = floats_to_bfloat16(values[2 * step][2], values[2 * step][3]);
        weights[step][2] = floats_to_bfloat16(values[2 * step + 1][0], values[2 * step + 1][1]);
        weights[step][3] = floats_to_bfloat16(values[2 * step + 1][2], values[2 * step + 1][3]);
    }
}

// Hides the keys from a row's limit on; visible is counted from the block's first key, for rows lane / 4 and lane / 4 +
// 8.
__device__ __forceinline__ void hide_keys(float (&scores)[attention_block / 8][4], int visible_low, int visible_high,
                                          int lane) {
    const int column = lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < attention_block / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (8 * j + column + i % 2 >= (i < 2 ? visible_low : visible_high))
                scores[j][i] = hidden_score();
}

// One block of the online softmax for 16 rows of a warp: scores become p. A score that is hidden has p = 0.
__device__ __forceinline__ void soften(float (&scores)[attention_block / 8][4], float (&maximum)[2], float (&sum)[2],
                                       float (&correction)[2], float scale) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float greatest = maximum[half];
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++)
            greatest = fmaxf(greatest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
        greatest = fmaxf(greatest, shuffle_xor(greatest, 1));
        greatest = fmaxf(greatest, shuffle_xor(greatest, 2));
        // A row that has seen no key yet (in its part of a split) keeps zeros.
        const float reference = greatest == hidden_score() ? 0.0f : greatest;
        // Exactly 1 where the maximum stays; the products below must not be contracted into it.
        correction[half] = exp2_approximate(__fmul_rn(maximum[half] - reference, scale));
        maximum[half] = greatest;
        const float shift = -__fmul_rn(reference, scale);
        float total = 0.0f;
#pragma unroll
        for (int j = 0; j < attention_block / 8; j++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                scores[j][i] = exp2_approximate(fmaf(scores[j][i], scale, shift));
                total += scores[j][i];
            }
        sum[half] = fmaf(sum[half], correction[half], total);
    }
}

template <int columns>
__device__ __forceinline__ void correct(float (&output)[columns][4], const float (&correction)[2]) {
#pragma unroll
    for (int column = 0; column < columns; column++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            output[column][i] = __fmul_rn(output[column][i], correction[i / 2]);
}

// The sum over the four lanes that share a row.
__device__ __forceinline__ float sum_of_row(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

// The sum of the products of two heads' elements, by a warp.
template <int head_dimension>
__device__ __forceinline__ float multiply_heads(const bfloat16* left, const bfloat16* right, int lane) {
    float sum = 0.0f;
#pragma unroll
    for (int column = lane; column < head_dimension; column += 32)
        sum = fmaf(to_float(left[column]), to_float(right[column]), sum);
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
        sum += shuffle_xor(sum, mask);
    return sum;
}

// How a span is joined to the spans before it.
struct SpanFactors {
    float earlier;
    float later;

    __device__ __forceinline__ float join(float earlier_value, float later_value) const {
        return fmaf(later_value, later, __fmul_rn(earlier_value, earlier));
    }
};

// maximum: that of the earlier spans, which is no hidden score; becomes that of all. A span of which a row sees nothing
// changes nothing.
__device__ __forceinline__ SpanFactors join_maximum(float& maximum, float later, float scale) {
    const float greatest = fmaxf(maximum, later);
    const SpanFactors factors{exp2_approximate(__fmul_rn(maximum - greatest, scale)),
                              exp2_approximate(__fmul_rn(later - greatest, scale))};
    maximum = greatest;
    return factors;
}

// Writes two neighbouring elements of a head, those of them that exist.
template <int head_dimension>
__device__ __forceinline__ void store_pair(bfloat16* head, int column, float low, float high) {
    if constexpr (head_dimension % 2 == 0) {
        if (column < head_dimension)
            *reinterpret_cast<unsigned int*>(head + column) = floats_to_bfloat16(low, high);
    } else {
        if (column < head_dimension)
            head[column] = from_float<bfloat16>(low);
        if (column + 1 < head_dimension)
            head[column + 1] = from_float<bfloat16>(high);
    }
}

// Writes a normalised output; a negative zero becomes a positive one, because a skipped block would have left it what
// it was.
template <int head_dimension>
__device__ __forceinline__ void store_normalised(bfloat16* head, int column, float low, float high, float inverse) {
    store_pair<head_dimension>(head, column, fmaf(low, inverse, 0.0f), fmaf(high, inverse, 0.0f));
}
