// The first half of the connector by warpgroup instructions (sm_90a); see connector.cu, which it is of other cards and
// quantised weights.
//   warpgroup_connector_inner  inner [rows, columns] = GELU(LayerNorm(shuffled) [rows, 4·width] · weightᵀ + bias),
//                              weight [columns, 4·width]; on the way statistics [rows] (common/shuffled_tokens.cuh)
// The weight comes as a tensor map; NORM (weight and bias of the LayerNorm) and BIAS are float or bfloat16, width is a
// multiple of 8. Rounding is that of connector.cu: normalised activations to bfloat16, the GELU of the unrounded sum.
// All threads of the producer bring in the tokens: read a stage ahead into registers, normalised and stored with the
// swizzle of the copy engine, seen by the tensor cores behind a proxy fence; one of them has the engine bring the
// weight. The sums are those of common/warpgroup_tile.cuh. The second half of the connector is warpgroup_product.
// Statistics come first, each row's once, by all warps of all blocks: a warp takes a row, in the order in which they
// ask, until there are none left; only then a block waits for those of others. Whoever waits, waits for rows that warps
// have taken which wait for nobody, so however few blocks are resident, all goes on. Within tiles every column of them
// would make statistics again, before its first product. All warps make them, because a row has enough to read for
// each, and before setmaxnreg, when all have registers enough. Decided against: waiting for a tile's own rows only,
// since rows go out in order and blocks have none to multiply before all are taken; the producer spilled registers.
// Launch: up to BLOCKS blocks for a multiprocessor, each taking tiles of 64·CONSUMERS × TILE_COLUMNS in turn; threads
// and shared memory as the tile has them. CONSUMERS is 2: a producer of one warp would be too slow.
// FLOPs: 8·rows·columns·width. Bytes: hidden for statistics (8·rows·width, and again from the caches for the variance,
// and 8 for each row written and read), then hidden, weight and inner once; hidden again for every column of tiles,
// from the second-level cache.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4 for sm_90a: 168 registers at the launch, of
// which setmaxnreg leaves 104 to the producer and gives 200 to a consumer; no spills. A pass of the producer has 350 to
// 363 instructions, in which four m64n256k16 of both consumers take 1024 cycles, four m64n128k16 512.
#include "common/activation.cuh"
#include "common/shared.cuh"
#include "common/shuffled_tokens.cuh"
#include "common/warpgroup_tile.cuh"

using Product = WarpgroupTile<CONSUMERS, TILE_COLUMNS, STAGES, false, true>;
using Tokens = SharedTile<Product::tile_rows, stage_inner>;
static_assert(CLUSTER == 1 && PANELS == 1, "threads fill the stages of their own block");
static_assert(CONSUMERS == 2 && ALIGNED != 0, "a producer of 128 threads reads 16 bytes at a time");

// Eight elements as they lie in memory.
template <class T>
struct Words {
    static constexpr int count = 2 * (int)sizeof(T);
    unsigned int words[count];

    __device__ __forceinline__ void load(const T* source) {
#pragma unroll
        for (int i = 0; i < count; i += 4) {
            const Pack<unsigned int, 4> pack = load_pack<4>(reinterpret_cast<const unsigned int*>(source) + i);
#pragma unroll
            for (int j = 0; j < 4; j++)
                words[i + j] = pack.elements[j];
        }
    }

    __device__ __forceinline__ float get(int index) const {
        if constexpr (sizeof(T) == 4)
            return __uint_as_float(words[index]);
        else
            return index % 2 == 0 ? low_to_float(words[index / 2]) : high_to_float(words[index / 2]);
    }
};

// Zeros at the beginning, and again at the end (KernelLaunch.Counters).
struct Progress {
    int taken;   // rows, and then one for each warp that finds none left; the last of those clears it
    int stored;  // rows whose statistics are there
    int ended;   // blocks that have seen all of them; the last one clears both
};

// Fills a stage: with tokens, normalised, and with what the copy engine brings of the weight.
struct NormalizingLoader {
    static constexpr int threads = group_threads, arrivals = 1 + group_threads / 32;
    static constexpr int producer_registers = 104, consumer_registers = 200;
    static constexpr int line_rows = group_threads / Tokens::chunks;  // rows that all threads have a chunk of
    static constexpr int line_bytes = line_rows * Tokens::columns * 2;
    static constexpr int own_rows = Tokens::rows / line_rows;

    unsigned char* shared;  // of the block
    const TensorMap* weight;
    int loaded_bytes;
    const bfloat16* hidden;
    float* statistics;
    const NORM *norm_weight, *norm_bias;
    Shuffle shuffle;
    float epsilon;
    Progress* progress;
    int rows;

    // Of this thread: where each of its tokens begins, and what it has read for the next stage, in words: eight
    // elements of 16 bits would take a register each.
    int first_patch[own_rows];
    Pack<float, 2> own_statistics[own_rows];
    Words<bfloat16> held[own_rows];
    Words<NORM> scale, shift;

    __device__ __forceinline__ void prefetch() const { tma_prefetch(weight); }

    // Makes statistics, of rows that no other warp has taken, and waits for those of others.
    __device__ __forceinline__ void start() const {
        grid_wait();
        grid_launch_dependents();
        for (;;) {
            const int row = shuffle_index(lane_index() == 0 ? atomicAdd(&progress->taken, 1) : 0, 0);
            if (row >= rows) {
                if (row == rows + (int)gridDim.x * (Product::threads / 32) - 1 && lane_index() == 0)
                    progress->taken = 0;
                break;
            }

            const Pack<float, 2> pair = token_statistics(hidden + shuffle.first(row), shuffle, epsilon);
            if (lane_index() == 0) {
                store_pack<2>(statistics + 2LL * row, pair);
                fence_device();
                atomicAdd(&progress->stored, 1);
            }
        }

        if (threadIdx.x == 0) {
            while (atomicAdd(&progress->stored, 0) < rows)
                __nanosleep(32);
            fence_device();
            if (atomicAdd(&progress->ended, 1) == (int)gridDim.x - 1) {
                progress->stored = 0;
                progress->ended = 0;
            }
        }
    }

    static __device__ __forceinline__ int own_chunk() { return (int)threadIdx.x % Tokens::chunks; }

    static __device__ __forceinline__ int own_row(int i) {
        return (int)threadIdx.x % group_threads / Tokens::chunks + i * line_rows;
    }

    // Rows beyond the last are it once more, for results that nobody stores.
    __device__ __forceinline__ void begin_tile(int first_row) {
#pragma unroll
        for (int i = 0; i < own_rows; i++) {
            const int row = min(first_row + own_row(i), rows - 1);
            first_patch[i] = shuffle.first_patch(row);
            own_statistics[i] = load_pack<2>(statistics + 2LL * row);
        }

        read(0);
    }

    __device__ __forceinline__ void read(int inner) {
        const int column = inner + own_chunk() * 8, run = 2 * shuffle.width;
        if (column >= 2 * run)
            return;
        const bfloat16* source = hidden + (column < run ? column : shuffle.line() + column - run);
#pragma unroll
        for (int i = 0; i < own_rows; i++)
            held[i].load(source + (long long)first_patch[i] * shuffle.width);
        scale.load(norm_weight + column);
        shift.load(norm_bias + column);
    }

    __device__ __forceinline__ void store(unsigned int stage, int inner) const {
        // The swizzle looks at a row's place among eight, which all of a thread's have in common.
        static_assert(line_rows % 8 == 0, "a thread's rows are whole groups of eight apart");
        unsigned char* const first =
            shared + (stage - shared_address(shared)) + Tokens::offset(own_row(0), own_chunk());
        if (inner + own_chunk() * 8 < 4 * shuffle.width) {
#pragma unroll
            for (int i = 0; i < own_rows; i++) {
                Pack<unsigned int, 4> normalized;
#pragma unroll
                for (int e = 0; e < 8; e += 2)
                    normalized.elements[e / 2] = floats_to_bfloat16(
                        normalized_element(held[i].get(e), own_statistics[i], scale.get(e), shift.get(e)),
                        normalized_element(held[i].get(e + 1), own_statistics[i], scale.get(e + 1), shift.get(e + 1)));
                store_pack<4>(reinterpret_cast<unsigned int*>(first + i * line_bytes), normalized);
            }
        } else {
#pragma unroll
            for (int i = 0; i < own_rows; i++)
                store_pack<4>(reinterpret_cast<unsigned int*>(first + i * line_bytes), Pack<unsigned int, 4>{});
        }
    }

    __device__ __forceinline__ void load(unsigned int stage, unsigned int barrier, int, int column, int inner, int) {
        if (threadIdx.x % group_threads == 0) {
            mbarrier_arrive_expect(barrier, loaded_bytes);
            Product::Right::load(stage + Product::Left::bytes, weight, barrier, column, inner, 0);
        }

        store(stage, inner);
        fence_proxy_async();
        synchronize_warp();
        if (lane_index() == 0)
            mbarrier_arrive(barrier);
        read(inner + stage_inner);
    }
};

extern "C" __global__ void __launch_bounds__(Product::threads, BLOCKS)
    warpgroup_connector_inner(const __grid_constant__ TensorMap weight, int loaded_bytes, const bfloat16* hidden,
                              float* statistics, const NORM* norm_weight, const NORM* norm_bias, const BIAS* bias,
                              bfloat16* inner, Progress* progress, int rows, int columns, int grid_height,
                              int grid_width, int width, float epsilon) {
    SKYLIGHT_SHARED(shared);
    NormalizingLoader loader;
    loader.shared = shared;
    loader.weight = &weight;
    loader.loaded_bytes = loaded_bytes;
    loader.hidden = hidden;
    loader.statistics = statistics;
    loader.norm_weight = norm_weight;
    loader.norm_bias = norm_bias;
    loader.shuffle = Shuffle{grid_height, grid_width, width};
    loader.epsilon = epsilon;
    loader.progress = progress;
    loader.rows = rows;
    const ResultTiles<Product::tile_rows, TILE_COLUMNS> tiles{rows, columns, 1};
    Product::multiply(shared, loader, 4 * width, tiles, [&](Product::Sums& sums, int row, int column, int) {
#pragma unroll
        for (int i = 0; i < TILE_COLUMNS / 2; i += 2) {
            // Columns that nobody stores get the last one's bias.
            const int own_column = column + i / 4 * 8 + lane_index() % 4 * 2;
            sums[i] = gelu(sums[i] + to_float(bias[min(own_column, columns - 1)]));
            sums[i + 1] = gelu(sums[i + 1] + to_float(bias[min(own_column + 1, columns - 1)]));
        }

        bfloat16* const line = inner + (long long)row * columns;
        bfloat16* const lines[2] = {row < rows ? line : nullptr, row + 8 < rows ? line + 8LL * columns : nullptr};
        store_sums<TILE_COLUMNS>(sums, lines, column, columns, columns % 8 == 0);
    });
}
