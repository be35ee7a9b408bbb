// result [rows, columns] = left [rows, inner] · weightᵀ with a weight [columns, inner] that lies as it is: of bfloat16,
// or, where CODE_BITS is defined, quantised (common/quantized.cuh). WeightProduct::multiply has the same sums either
// way: one chain of m16n8k16 steps for every element, with the inner index ascending, whatever the tile and the rows. A
// quantised weight gives the bits of the bfloat16 weight that has its values.
#pragma once

#include "common/matrix_tile.cuh"

#ifdef CODE_BITS
#include "common/quantized.cuh"

using WeightElement = unsigned char;

// The part of a weight that a tile of a product reads, in shared memory as it lies in global memory: codes
// [chunks][outputs], then scales and offsets of the blocks [blocks][outputs].
// Gated: the second half of the outputs lie as many further on as the weight's first half has.
template <int Outputs, int Inputs, int Threads, bool Gated = false>
struct QuantizedTile {
    static constexpr int chunks = Inputs / chunk_inputs;
    // Blocks that the inputs of a tile may meet.
    static constexpr int divisor = BLOCK_SIZE == 0 ? Inputs : BLOCK_SIZE;
    static constexpr bool whole = Inputs % divisor == 0 || divisor % Inputs == 0;
    static constexpr int blocks = Inputs % divisor == 0   ? Inputs / divisor
                                  : divisor % Inputs == 0 ? 1
                                                          : (Inputs - 16) / divisor + 2;
    static constexpr int scales_at = chunks * Outputs * 16;
    static constexpr int offsets_at = scales_at + blocks * Outputs * scale_bytes;
    static constexpr int bytes = offsets_at + blocks * Outputs * offset_bytes;
    static_assert(Inputs % chunk_inputs == 0 && Outputs % 16 == 0 &&
                      (Outputs % panel_outputs == 0 || panel_outputs % Outputs == 0),
                  "a tile has whole chunks");
    static_assert(!Gated || Outputs % 32 == 0, "sixteen bytes of scales or offsets are of one half");

    // Begins this thread's part of the copy; the caller commits and waits. What is outside of the weight becomes zeros,
    // scales too.
    static __device__ __forceinline__ void begin(unsigned int tile, const QuantizedWeight& weight, int first_output,
                                                 int first_input) {
        for_each_piece(weight, first_output, first_input, [&](int piece, const unsigned char* source, bool inside) {
            cp_async_16(tile + piece * 16, inside ? source : weight.bytes, inside ? 16 : 0);
        });
    }

    // Begins to bring it into the second-level cache.
    static __device__ __forceinline__ void prefetch(const QuantizedWeight& weight, int first_output, int first_input) {
        for_each_piece(weight, first_output, first_input, [](int piece, const unsigned char* source, bool inside) {
            // Of codes eight pieces lie in a row; of scales and offsets as few as there are outputs.
            if (inside && (piece >= chunks * Outputs || piece % 8 == 0))
                prefetch_global(source);
        });
    }

    // The values as bfloat16, into a tile [outputs, inputs]. A thread has all of a chunk, and neighbours have
    // neighbouring outputs, so that neither loads nor stores meet a bank twice.
    template <class Target>
    static __device__ __forceinline__ void store_values(const unsigned char* tile, unsigned char* target,
                                                        const float* quantiles, int first_input) {
        constexpr int count = chunks * Outputs;
        const int first_block = block_of(first_input);
#pragma unroll
        for (int i = 0; i < (count + Threads - 1) / Threads; i++) {
            const int index = (int)threadIdx.x + i * Threads;
            if (count % Threads != 0 && index >= count)
                continue;
            const int output = index % Outputs, chunk = index / Outputs;
            const Pack<unsigned int, 4> codes = *reinterpret_cast<const Pack<unsigned int, 4>*>(tile + index * 16);
#pragma unroll
            for (int part = 0; part < chunk_inputs / 8; part++) {
                const int input = chunk * chunk_inputs + part * 8;
                const int block =
                    whole ? (divisor >= Inputs ? 0 : input / divisor) : block_of(first_input + input) - first_block;
                const int place = block * Outputs + output;
                const BlockScale scale(tile + scales_at + place * scale_bytes,
                                       tile + offsets_at + place * offset_bytes);
                unsigned int words[chunk_words];
#pragma unroll
                for (int word = 0; word < chunk_words; word++)
                    words[word] = codes.elements[part * chunk_words + word];
                float values[8];
                dequantize(words, scale, quantiles, values);
                Pack<unsigned int, 4> pack;
#pragma unroll
                for (int pair = 0; pair < 4; pair++)
                    pack.elements[pair] = floats_to_bfloat16(values[pair * 2], values[pair * 2 + 1]);
                *reinterpret_cast<Pack<unsigned int, 4>*>(target + Target::offset(output, input / 8)) = pack;
            }
        }
    }

private:
    // Calls visit(piece, source, inside) for this thread's pieces of 16 bytes.
    template <class Visit>
    static __device__ __forceinline__ void for_each_piece(const QuantizedWeight& weight, int first_output,
                                                          int first_input, Visit visit) {
        constexpr int code_pieces = chunks * Outputs;
        constexpr int scale_pieces = blocks * Outputs * scale_bytes / 16;
        constexpr int pieces = bytes / 16;
        const int first_block = block_of(first_input);
#pragma unroll
        for (int i = 0; i < (pieces + Threads - 1) / Threads; i++) {
            const int piece = (int)threadIdx.x + i * Threads;
            if (piece >= pieces)
                continue;
            const unsigned char* source;
            bool inside;
            if (piece < code_pieces) {
                const int output = output_of(weight, first_output, piece % Outputs),
                          chunk = first_input / chunk_inputs + piece / Outputs;
                inside = output < weight.outputs && chunk < weight.chunks();
                source = weight.panel(output) + (chunk * panel_outputs + output % panel_outputs) * 16LL;
            } else if (piece < code_pieces + scale_pieces) {
                source = of_block<scale_bytes>(weight, weight.scales_at(), piece - code_pieces, first_output,
                                               first_block, inside);
            } else {
                source = of_block < offset_bytes == 0
                             ? 1
                             : offset_bytes > (weight, weight.offsets_at(), piece - code_pieces - scale_pieces,
                                               first_output, first_block, inside);
            }

            visit(piece, source, inside);
        }
    }

    // Which output of the weight is one of the tile.
    static __device__ __forceinline__ int output_of(const QuantizedWeight& weight, int first_output, int place) {
        return first_output + place + (Gated && place >= Outputs / 2 ? (weight.outputs - Outputs) / 2 : 0);
    }

    // Sixteen bytes of what the outputs of a tile have for each block, Bytes for each.
    template <int Bytes>
    static __device__ __forceinline__ const unsigned char* of_block(const QuantizedWeight& weight, long long at,
                                                                    int piece, int first_output, int first_block,
                                                                    bool& inside) {
        constexpr int pieces = Outputs * Bytes / 16;
        const int block = first_block + piece / pieces,
                  output = output_of(weight, first_output, piece % pieces * (16 / Bytes));
        inside = output < weight.outputs && block < weight.blocks();
        return weight.panel(output) + at + (long long)(block * panel_outputs + output % panel_outputs) * Bytes;
    }
};

// What comes from memory stays as it is, several tiles of it in flight. While the products of a tile are made, the
// weights of the next one become bfloat16, in the other of two tiles; so there is one barrier for a tile.
template <class Product, bool Aligned>
struct WeightProduct {
    using Raw = QuantizedTile<Product::tile_columns, Product::tile_inner, Product::threads, Product::gated>;
    using Values = typename Product::Right;
    static constexpr int stages = Product::stages;
    static constexpr int stage_bytes = Product::Left::bytes + Raw::bytes;
    static constexpr int values_at = stages * stage_bytes;
    static constexpr int quantiles_at = values_at + 2 * Values::bytes;
    static constexpr int shared_bytes = quantiles_at + quantile_bytes;
    static_assert(stages >= 3 && Product::transpose_right && Raw::bytes % 16 == 0,
                  "a tile becomes values while others come");

    // Begins to bring what the first stages have of the weight into the second-level cache.
    static __device__ __forceinline__ void prefetch(const unsigned char* weight_bytes, int columns, int first_column,
                                                    int inner) {
        const QuantizedWeight weight{weight_bytes, columns, inner};
        for (int first = 0; first < min(inner, (stages - 1) * Product::tile_inner); first += Product::tile_inner)
            Raw::prefetch(weight, first_column, first);
    }

    template <class LeftLoader>
    static __device__ __forceinline__ void multiply(typename Product::Sums& sums, unsigned char* shared,
                                                    LeftLoader& left, const unsigned char* weight_bytes, int columns,
                                                    int first_row, int first_column, int inner) {
        Product::clear(sums);
        const QuantizedWeight weight{weight_bytes, columns, inner};
        const unsigned int address = shared_address(shared);
        const int count = divide_up(inner, Product::tile_inner);
        float* const quantiles = reinterpret_cast<float*>(shared + quantiles_at);
        store_quantiles(quantiles);
        const auto begin = [&](int stage, int index) {
            left.begin(address + stage * stage_bytes, first_row, index * Product::tile_inner);
            Raw::begin(address + stage * stage_bytes + Product::Left::bytes, weight, first_column,
                       index * Product::tile_inner);
        };
        const auto store_values = [&](int stage, int index) {
            Raw::template store_values<Values>(shared + stage * stage_bytes + Product::Left::bytes,
                                               shared + values_at + (index & 1) * Values::bytes, quantiles,
                                               index * Product::tile_inner);
        };

#pragma unroll
        for (int stage = 0; stage < stages - 1; stage++) {
            if (stage < count) {
                begin(stage, stage);
                left.finish(shared + stage * stage_bytes);
            }

            cp_async_commit();
        }

        cp_async_wait<stages - 2>();
        synchronize_block();
        if (count > 0)
            store_values(0, 0);
        int reading = 0, writing = stages - 1;
        for (int index = 0; index < count; index++) {
            // Tile `index + 1` has arrived for all threads, the values of tile `index` are there, and all have left
            // tile `index − 1`, whose stage is filled next and whose values make room.
            cp_async_wait<stages - 3>();
            synchronize_block();
            const int next = index + stages - 1, following = reading + 1 == stages ? 0 : reading + 1;
            if (next < count)
                begin(writing, next);
            cp_async_commit();
            if (index + 1 < count)
                store_values(following, index + 1);
            Product::multiply_tiles(sums, address + reading * stage_bytes,
                                    address + values_at + (index & 1) * Values::bytes);
            if (next < count)
                left.finish(shared + writing * stage_bytes);
            reading = following;
            writing = writing + 1 == stages ? 0 : writing + 1;
        }

        cp_async_wait<0>();
    }
};
#else
using WeightElement = bfloat16;

template <class Product, bool Aligned>
struct WeightProduct {
    static constexpr int shared_bytes = Product::shared_bytes;

    template <class LeftLoader>
    static __device__ __forceinline__ void multiply(typename Product::Sums& sums, unsigned char* shared,
                                                    LeftLoader& left, const bfloat16* weight, int columns,
                                                    int first_row, int first_column, int inner) {
        TileLoader<typename Product::Right, Product::threads, Aligned> right(weight, inner, columns, inner);
        Product::multiply(sums, shared, left, right, first_row, first_column, inner);
    }
};
#endif
