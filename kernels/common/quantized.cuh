// Weights that stay quantised in memory: value(output, input) = scale · code (+ minimum), with a scale for each block
// of consecutive inputs. In float32; where a matrix instruction reads the value, it is rounded once, to bfloat16.
// Constants (-D) say how a weight is coded:
//   CODE_BITS    4 or 8
//   CODE_KIND    what a code stands for: 0 an integer, stored with CODE_BIAS added; 1 floating-point E4M3; 2 a quantile
//                of the normal distribution (QLoRA, arXiv 2305.14314, appendix E)
//   SCALE_BITS   16 (binary16) or 32 (float)
//   OFFSET_KIND  0 nothing is added; 1 a byte "zero": scale · (code − zero); 2 a float "minimum": scale · code +
//                minimum. 0 unless CODE_KIND is 0
//   BLOCK_SIZE   inputs of a scale, a multiple of 16; 0: one scale for all inputs
// In memory (src/Skylight.Cuda/QuantizedWeightLayout.cs writes it): panels of 32 outputs, the last one padded with
// scales of 0. A panel has the codes as [chunks][32 outputs] of 16 bytes, a chunk being 32 or 16 consecutive inputs of
// one output, code i in bits CODE_BITS·i; then the scales as [blocks][32 outputs]; then the zeros or minimums likewise.
// All begin at multiples of 16 bytes.
#pragma once

#include "common/types.cuh"
#include "ptx/cp_async.cuh"

constexpr int panel_outputs = 32;
constexpr int chunk_inputs = 128 / CODE_BITS;
constexpr int chunk_words = 8 * CODE_BITS / 32;  // words that hold eight codes
constexpr int scale_bytes = SCALE_BITS / 8;
constexpr int offset_bytes = OFFSET_KIND == 0 ? 0 : OFFSET_KIND == 1 ? 1 : 4;
constexpr int quantile_bytes = CODE_KIND == 2 ? 64 : 0;
static_assert(CODE_KIND == 0 || OFFSET_KIND == 0, "only integers have zeros or minimums");
static_assert(BLOCK_SIZE % 16 == 0, "eight codes have one scale");

struct QuantizedWeight {
    const unsigned char* bytes;
    int outputs;
    int inputs;

    __device__ __forceinline__ int chunks() const { return divide_up(inputs, chunk_inputs); }

    __device__ __forceinline__ int blocks() const {
        return BLOCK_SIZE == 0 ? 1 : divide_up(inputs, BLOCK_SIZE == 0 ? 1 : BLOCK_SIZE);
    }

    __device__ __forceinline__ long long scales_at() const { return (long long)chunks() * (panel_outputs * 16); }

    __device__ __forceinline__ long long offsets_at() const {
        return scales_at() + (long long)blocks() * (panel_outputs * scale_bytes);
    }

    __device__ __forceinline__ long long panel_bytes() const {
        return offsets_at() + (long long)blocks() * (panel_outputs * offset_bytes);
    }

    __device__ __forceinline__ const unsigned char* panel(int output) const {
        return bytes + output / panel_outputs * panel_bytes();
    }
};

// The block of an input, counted from the beginning of the weight or of a block.
__device__ __forceinline__ int block_of(int input) {
    return BLOCK_SIZE == 0 ? 0 : input / (BLOCK_SIZE == 0 ? 1 : BLOCK_SIZE);
}

// What eight codes of one block become values with.
struct BlockScale {
    float scale;
    float offset;  // the zero or the minimum

    // From where an output's scale and offset lie.
    __device__ __forceinline__ BlockScale(const unsigned char* at, const unsigned char* offset_at) : offset(0) {
        if constexpr (SCALE_BITS == 16)
            scale = half_to_float(*reinterpret_cast<const unsigned short*>(at));
        else
            scale = *reinterpret_cast<const float*>(at);
        if constexpr (OFFSET_KIND == 1)
            offset = (float)*offset_at;
        if constexpr (OFFSET_KIND == 2)
            offset = *reinterpret_cast<const float*>(offset_at);
    }
};

#if CODE_KIND == 2
__constant__ float normal_quantiles[16] = {-1.0f,
                                           -0.6961928009986877f,
                                           -0.5250730514526367f,
                                           -0.39491748809814453f,
                                           -0.28444138169288635f,
                                           -0.18477343022823334f,
                                           -0.09105003625154495f,
                                           0.0f,
                                           0.07958029955625534f,
                                           0.16093020141124725f,
                                           0.24611230194568634f,
                                           0.33791524171829224f,
                                           0.44070982933044434f,
                                           0.5626170039176941f,
                                           0.7229568362236023f,
                                           1.0f};
#else
constexpr float normal_quantiles[16] = {};
#endif

// Writes the table that quantiles are looked up in, where there are such codes; a barrier makes it visible to the
// block.
__device__ __forceinline__ void store_quantiles(float* table) {
    if constexpr (CODE_KIND == 2) {
        if (threadIdx.x < 16)
            table[threadIdx.x] = normal_quantiles[threadIdx.x];
    }
}

// The values of eight codes. No conversion instruction is needed for an integer: its bits, where they lie in the lower
// or upper half of a word, are made the mantissa of 2²³, and its place there goes into the scale, exactly.
__device__ __forceinline__ void dequantize(const unsigned int (&words)[chunk_words], const BlockScale& block,
                                           const float* quantiles, float (&values)[8]) {
    if constexpr (CODE_KIND == 0) {
        constexpr int places = 16 / CODE_BITS;
        constexpr unsigned int mask = (1u << CODE_BITS) - 1;
#pragma unroll
        for (int place = 0; place < places; place++) {
            const float unit = (float)(1 << place * CODE_BITS), scale = block.scale / unit;
            const float zero = 8388608.0f + ((float)CODE_BIAS + (OFFSET_KIND == 1 ? block.offset : 0.0f)) * unit;
#pragma unroll
            for (int half = 0; half < 8 / places; half++) {
                const unsigned int bits = half % 2 == 0 ? words[half / 2] : words[half / 2] >> 16;
                const float code = __uint_as_float((bits & mask << place * CODE_BITS) | 0x4B000000u) - zero;
                values[half * places + place] = OFFSET_KIND == 2 ? fmaf(code, scale, block.offset) : code * scale;
            }
        }
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const unsigned int code = words[i * CODE_BITS / 32] >> i * CODE_BITS % 32;
            if constexpr (CODE_KIND == 1) {
                // Exponent and mantissa are moved to where binary32 has them; the product corrects the exponent, also
                // where it is 0.
                const unsigned int magnitude = code & 0x7Fu;
                const unsigned int bits = magnitude == 0x7Fu ? 0x7FC00000u : magnitude << 20 | (code & 0x80u) << 24;
                values[i] = __uint_as_float(bits) * 0x1p120f * block.scale;
            } else {
                values[i] = quantiles[code & 15u] * block.scale;
            }
        }
    }
}
