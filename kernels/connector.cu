// The first half of the connector, without the shuffled and the normalised activations in memory.
//   connector_statistics  hidden → (−mean / standard deviation, 1 / standard deviation) [rows] of every shuffled token
//   connector_inner       inner [rows, columns] = GELU(LayerNorm(shuffled) [rows, 4·width] · weightᵀ + bias), weight
//                         [columns, 4·width]
// hidden is [images·(1 + grid_height·grid_width), width] with the class token first; shuffled token (i, j) of an image
// is patches (2i, 2j), (2i, 2j + 1), (2i + 1, 2j), (2i + 1, 2j + 1): two runs of 2·width elements. rows =
// images·grid_height·grid_width/4.
// hidden and inner are bfloat16, the weight too or, where CODE_BITS is defined, quantised (common/quantized.cuh); NORM
// (weight and bias of the LayerNorm) and BIAS are float or bfloat16; statistics are float32. The normalised activations
// are rounded to bfloat16 on their way into the product, the GELU (with the error function) is taken of the unrounded
// sum. The second half of the connector is matrix_product of gemm.cu.
// ALIGNED 1: width is a multiple of 8.
// Launch: connector_statistics a warp per row, blocks of 128 threads; connector_inner as matrix_product, with
// statistics and gather in the loader of the left tiles: chunks are read before the products of an iteration,
// normalised and stored after them.
// FLOPs: 8·rows·columns·width. Bytes: hidden twice, weight and inner once; with one block per tile column, hidden again
// from the second-level cache.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4: no spills; connector_statistics 64 registers (32 without
// ALIGNED), connector_inner 122 (sm_90a: 118) with tile 128×64×32 and 152 with 64×64×64, ALIGNED; 194 without; with a
// quantised weight 110–116 and 168–176 (sm_80). Rejected: 128×128×32, which takes 156, one block of 256 threads.
#include "common/activation.cuh"
#include "common/shared.cuh"
#include "common/shuffled_tokens.cuh"
#include "common/weight_product.cuh"
#include "ptx/grid.cuh"

using Product = MatrixTile<TILE_ROWS, TILE_COLUMNS, TILE_INNER, WARPS_DOWN, WARPS_ACROSS, STAGES, false, true>;

// Brings tiles of the normalised, shuffled tokens into shared memory; stands where a TileLoader does.
struct NormalizingLoader {
    using Tile = Product::Left;
    static constexpr int chunks_per_thread = Tile::rows * Tile::chunks / Product::threads;
    static_assert(Tile::rows * Tile::chunks % Product::threads == 0 && Product::threads % Tile::chunks == 0,
                  "a thread has the same chunk of several rows");

    const bfloat16* hidden;
    const NORM* norm_weight;
    const NORM* norm_bias;
    int run;         // elements
    long long line;  // elements
    int column;
    long long token[chunks_per_thread];  // first element; negative outside of the rows
    Pack<float, 2> statistics[chunks_per_thread];
    Pack8 held[chunks_per_thread];

    static __device__ __forceinline__ int own_row(int i) {
        return ((int)threadIdx.x + i * Product::threads) / Tile::chunks;
    }

    static __device__ __forceinline__ int own_chunk() { return (int)threadIdx.x % Tile::chunks; }

    __device__ __forceinline__ NormalizingLoader(const bfloat16* hidden_, const float* statistics_,
                                                 const NORM* norm_weight_, const NORM* norm_bias_,
                                                 const Shuffle& shuffle, int first_row, int rows)
        : hidden(hidden_),
          norm_weight(norm_weight_),
          norm_bias(norm_bias_),
          run(2 * shuffle.width),
          line(shuffle.line()),
          column(0) {
#pragma unroll
        for (int i = 0; i < chunks_per_thread; i++) {
            const int row = first_row + own_row(i);
            token[i] = -1;
            if (row < rows) {
                token[i] = shuffle.first(row);
                statistics[i] = load_pack<2>(statistics_ + 2LL * row);
            }
        }
    }

    __device__ __forceinline__ void begin(unsigned int, int, int first_column) {
        column = first_column + own_chunk() * 8;
        const int half = column >= run;
#pragma unroll
        for (int i = 0; i < chunks_per_thread; i++) {
            if (token[i] < 0 || column >= 2 * run)
                continue;
            const bfloat16* source = hidden + token[i];
            if constexpr (ALIGNED != 0) {
                held[i] = load_pack<8>(source + half * line + (column - half * run));
            } else {
                for (int element = 0; element < 8; element++) {
                    const int at = column + element, second = at >= run;
                    held[i].elements[element] =
                        at < 2 * run ? source[second * line + (at - second * run)] : bfloat16{0};
                }
            }
        }
    }

    __device__ __forceinline__ void finish(unsigned char* tile) {
        float scale[8] = {}, shift[8] = {};
        if constexpr (ALIGNED != 0) {
            if (column < 2 * run) {
                const Pack<NORM, 8> weights = load_pack<8>(norm_weight + column),
                                    biases = load_pack<8>(norm_bias + column);
#pragma unroll
                for (int element = 0; element < 8; element++) {
                    scale[element] = weights.get(element);
                    shift[element] = biases.get(element);
                }
            }
        } else {
            for (int element = 0; element < 8 && column + element < 2 * run; element++) {
                scale[element] = to_float(norm_weight[column + element]);
                shift[element] = to_float(norm_bias[column + element]);
            }
        }

#pragma unroll
        for (int i = 0; i < chunks_per_thread; i++) {
            Pack8 normalized;
#pragma unroll
            for (int element = 0; element < 8; element++) {
                const bool inside = token[i] >= 0 && column + element < 2 * run;
                const float value =
                    inside ? normalized_element(held[i].get(element), statistics[i], scale[element], shift[element])
                           : 0;
                normalized.set(element, value);
            }

            store_pack<8>(reinterpret_cast<bfloat16*>(tile + Tile::offset(own_row(i), own_chunk())), normalized);
        }
    }
};

constexpr int statistics_threads = 128;

extern "C" __global__ void __launch_bounds__(statistics_threads)
    connector_statistics(const bfloat16* hidden, float* statistics, int rows, int grid_height, int grid_width,
                         int width, float epsilon) {
    grid_wait();
    grid_launch_dependents();
    const int row = (int)(blockIdx.x * statistics_threads + threadIdx.x) / 32;
    if (row >= rows)
        return;
    const Shuffle shuffle{grid_height, grid_width, width};
    const Pack<float, 2> pair = token_statistics(hidden + shuffle.first(row), shuffle, epsilon);
    if (lane_index() == 0)
        store_pack<2>(statistics + 2LL * row, pair);
}

extern "C" __global__ void __launch_bounds__(Product::threads)
    connector_inner(const bfloat16* hidden, const float* statistics, const NORM* norm_weight, const NORM* norm_bias,
                    const WeightElement* weight, const BIAS* bias, bfloat16* inner, int rows, int columns,
                    int grid_height, int grid_width, int width) {
    grid_wait();
    grid_launch_dependents();
    SKYLIGHT_SHARED(shared);
    const TilePosition position((int)blockIdx.x, divide_up(rows, Product::tile_rows),
                                divide_up(columns, Product::tile_columns));
    const int first_row = position.row * Product::tile_rows, first_column = position.column * Product::tile_columns;
    NormalizingLoader left(hidden, statistics, norm_weight, norm_bias, Shuffle{grid_height, grid_width, width},
                           first_row, rows);
    Product::Sums sums;
    WeightProduct<Product, ALIGNED != 0>::multiply(sums, shared, left, weight, columns, first_row, first_column,
                                                   4 * width);

    Product::for_each_pair(sums, [&](int row, int column, float first, float second) {
        row += first_row;
        column += first_column;
        if (row >= rows || column >= columns)
            return;
        const bool both = column + 1 < columns;
        store_pair(inner + (long long)row * columns + column, gelu(first + to_float(bias[column])),
                   both ? gelu(second + to_float(bias[column + 1])) : 0, both);
    });
}
