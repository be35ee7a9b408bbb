// Matrix products of a block: bfloat16 tiles in shared memory, their way in from global memory, fragments of
// mma.m16n8k16, and the loop that joins them. result [rows, columns] = left [rows, inner] · right [inner, columns],
// summed in float32.
//
// Every element of a result is one chain of m16n8k16 steps with the inner index ascending from 0, whatever the tile
// shape, the position in the tile and the number of rows. So all tile shapes give the same bits, and a row's result
// does not depend on the other rows. What lies outside of the matrices is zeros, which changes no sum.
//
// Template parameters are not written in capitals here: those are the names of -D constants.
#pragma once

#include "common/types.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/memory.cuh"
#include "ptx/mma.cuh"
#include "ptx/warp.cuh"

// A tile of bfloat16 elements, Columns of them contiguous, as 16-byte chunks. The place of a chunk within its 128 bytes
// depends on the row (XOR), so that the eight rows of an ldmatrix tile, and a warp's stores, meet every bank once.
template <int Rows, int Columns>
struct SharedTile {
    static constexpr int rows = Rows;
    static constexpr int columns = Columns;
    static constexpr int chunks = Columns / 8;
    static constexpr int bytes = Rows * Columns * 2;
    static_assert(chunks == 1 || chunks == 2 || chunks == 4 || chunks % 8 == 0,
                  "a tile row is 16, 32, 64 or a multiple of 128 bytes");

    // The byte of a chunk, from the beginning of the tile.
    static __device__ __forceinline__ int offset(int row, int chunk) {
        constexpr int mask = chunks >= 8 ? 7 : chunks - 1;
        constexpr int shift = chunks >= 8 ? 0 : chunks == 4 ? 1 : chunks == 2 ? 2 : 3;
        return (row * chunks + (chunk ^ ((row >> shift) & mask))) * 16;
    }
};

// The left fragment of rows row..row+15 and inner indices inner..inner+15 from a tile [rows, inner].
template <class Tile>
__device__ __forceinline__ void load_left_fragment(unsigned int (&fragment)[4], unsigned int tile, int row, int inner) {
    const int lane = lane_index();
    ldmatrix_x4(fragment, tile + Tile::offset(row + (lane & 15), inner / 8 + (lane >> 4)));
}

// The same from a tile [inner, rows].
template <class Tile>
__device__ __forceinline__ void load_left_fragment_transposed(unsigned int (&fragment)[4], unsigned int tile, int row,
                                                              int inner) {
    const int lane = lane_index();
    ldmatrix_x4_transposed(fragment,
                           tile + Tile::offset(inner + (lane & 7) + (lane >> 4) * 8, row / 8 + ((lane >> 3) & 1)));
}

// The right fragments of columns column..column+15 and inner..inner+15 from a tile [columns, inner], as weights lie:
// fragment[0], [1] are those of the first eight columns, fragment[2], [3] of the others, which are `Apart` columns
// further on.
template <class Tile, int Apart = 8>
__device__ __forceinline__ void load_right_fragments(unsigned int (&fragment)[4], unsigned int tile, int column,
                                                     int inner) {
    const int lane = lane_index();
    ldmatrix_x4(fragment,
                tile + Tile::offset(column + (lane & 7) + (lane >> 4) * Apart, inner / 8 + ((lane >> 3) & 1)));
}

// The same from a tile [inner, columns].
template <class Tile>
__device__ __forceinline__ void load_right_fragments_transposed(unsigned int (&fragment)[4], unsigned int tile,
                                                                int column, int inner) {
    const int lane = lane_index();
    ldmatrix_x4_transposed(fragment, tile + Tile::offset(inner + (lane & 15), column / 8 + (lane >> 4)));
}

// The right fragment of eight columns only.
template <class Tile>
__device__ __forceinline__ void load_right_fragment(unsigned int (&fragment)[2], unsigned int tile, int column,
                                                    int inner) {
    const int lane = lane_index();
    ldmatrix_x2(fragment, tile + Tile::offset(column + (lane & 7), inner / 8 + ((lane >> 3) & 1)));
}

template <class Tile>
__device__ __forceinline__ void load_right_fragment_transposed(unsigned int (&fragment)[2], unsigned int tile,
                                                               int column, int inner) {
    const int lane = lane_index();
    ldmatrix_x2_transposed(fragment, tile + Tile::offset(inner + (lane & 15), column / 8));
}

// How one thread brings its chunks of a tile from a row-major matrix [rows, columns] into shared memory. Chunks outside
// of the matrix become zeros. Aligned: the matrix begins at a multiple of 16 bytes and its stride is a multiple of 8
// elements, and chunks are copied asynchronously (begin; the caller commits and waits). Otherwise elements are read one
// by one: begin reads, finish stores.
// Cut: a row of the matrix may end within a chunk, whose rest becomes zeros; otherwise `columns` is a multiple of 8
// where it is Aligned, and a chunk takes fewer instructions, but more registers.
// Halves: the lower half of the tile's rows are rows of the matrix that lie `apart` rows further on than they would.
template <class Tile, int Threads, bool Aligned, bool Halves = false, bool Cut = false>
struct TileLoader {
    static constexpr int chunks_per_thread = (Tile::rows * Tile::chunks + Threads - 1) / Threads;
    static constexpr bool even = Tile::rows * Tile::chunks % Threads == 0;

    const bfloat16* matrix;
    long long stride;  // elements from one row to the next
    int rows;
    int columns;
    int apart;
    Pack<bfloat16, 8> held[Aligned ? 1 : chunks_per_thread];

    __device__ __forceinline__ TileLoader(const bfloat16* matrix_, long long stride_, int rows_, int columns_,
                                          int apart_ = 0)
        : matrix(matrix_), stride(stride_), rows(rows_), columns(columns_), apart(apart_) {}

    __device__ __forceinline__ void begin(unsigned int tile, int first_row, int first_column) {
        if constexpr (Aligned && !Cut && Threads % Tile::chunks == 0) {
            // A thread has the same columns of rows that are `step` apart, so all it needs is one address, and how many
            // rows there are from its first on.
            constexpr int step = Threads / Tile::chunks, half = Tile::rows / 2;
            const int row = (int)threadIdx.x / Tile::chunks, chunk = (int)threadIdx.x % Tile::chunks,
                      column = first_column + chunk * 8;
            const int down = rows - first_row - row;
            const bfloat16* source = matrix + (first_row + row) * stride + column;
#pragma unroll
            for (int i = 0; i < chunks_per_thread; i++, source += step * stride) {
                if (!even && row + i * step >= Tile::rows)
                    continue;
                const bool is_second = Halves && (half % step == 0 ? i * step >= half : row + i * step >= half);
                const unsigned int target = tile + Tile::offset(row + i * step, chunk);
                const bool inside = column < columns && i * step + (is_second ? apart : 0) < down;
                cp_async_16_if(target, is_second ? source + apart * stride : source, inside);
            }
        } else {
#pragma unroll
            for (int i = 0; i < chunks_per_thread; i++) {
                const int index = (int)threadIdx.x + i * Threads;
                if (!even && index >= Tile::rows * Tile::chunks)
                    continue;
                const int row = index / Tile::chunks, chunk = index % Tile::chunks;
                const int source_row = first_row + row + (Halves && row >= Tile::rows / 2 ? apart : 0);
                const int source_column = first_column + chunk * 8;
                int count = source_row < rows ? columns - source_column : 0;
                count = count < 0 ? 0 : count > 8 ? 8 : count;
                const bfloat16* source = matrix + source_row * stride + source_column;
                if constexpr (Aligned) {
                    cp_async_16(tile + Tile::offset(row, chunk), count > 0 ? source : matrix, count * 2);
                } else {
#pragma unroll
                    for (int element = 0; element < 8; element++)
                        held[i].elements[element] = element < count ? source[element] : bfloat16{0};
                }
            }
        }
    }

    __device__ __forceinline__ void finish(unsigned char* tile) {
        if constexpr (!Aligned) {
#pragma unroll
            for (int i = 0; i < chunks_per_thread; i++) {
                const int index = (int)threadIdx.x + i * Threads;
                if (even || index < Tile::rows * Tile::chunks)
                    store_pack<8>(
                        reinterpret_cast<bfloat16*>(tile + Tile::offset(index / Tile::chunks, index % Tile::chunks)),
                        held[i]);
            }
        }
    }
};

// The tile of a result that a block makes, and how: WarpsDown × WarpsAcross warps share it evenly; Stages tiles of
// TileInner inner indices are in flight or in use at a time. Gated: the first half of a tile's columns gates the
// second, and a warp has both columns of every pair; the fragment of eight gates comes before that of the eight that
// they gate.
template <int TileRows, int TileColumns, int TileInner, int WarpsDown, int WarpsAcross, int Stages, bool TransposeLeft,
          bool TransposeRight, bool Gated = false>
struct MatrixTile {
    static constexpr int tile_rows = TileRows;
    static constexpr int tile_columns = TileColumns;
    static constexpr int tile_inner = TileInner;
    static constexpr int stages = Stages;
    static constexpr int threads = 32 * WarpsDown * WarpsAcross;
    static constexpr int warp_rows = TileRows / WarpsDown;
    static constexpr int warp_columns = TileColumns / WarpsAcross;
    static constexpr int row_fragments = warp_rows / 16;
    static constexpr int column_fragments = warp_columns / 8;
    static constexpr bool transpose_left = TransposeLeft;
    static constexpr bool transpose_right = TransposeRight;
    static constexpr bool gated = Gated;
    // Of the result that a tile makes.
    static constexpr int result_columns = Gated ? TileColumns / 2 : TileColumns;
    static_assert(warp_rows % 16 == 0 && warp_columns % 8 == 0 && TileInner % 16 == 0 && Stages >= 2,
                  "mma takes 16 rows, 8 columns, 16 inner indices");
    static_assert(column_fragments == 1 || column_fragments % 2 == 0, "right fragments are loaded in pairs");
    static_assert(!Gated || (TransposeRight && column_fragments > 1),
                  "a pair of fragments is gate and up, from rows of a weight");

    // Left stored [rows, inner], transposed [inner, rows]; right stored [inner, columns], transposed [columns, inner].
    using Left = SharedTile<TransposeLeft ? TileInner : TileRows, TransposeLeft ? TileRows : TileInner>;
    using Right = SharedTile<TransposeRight ? TileColumns : TileInner, TransposeRight ? TileInner : TileColumns>;

    static constexpr int stage_bytes = Left::bytes + Right::bytes;
    static constexpr int shared_bytes = Stages * stage_bytes;

    using Sums = float[row_fragments][column_fragments][4];

    static __device__ __forceinline__ int first_warp_row() { return (int)threadIdx.x / 32 / WarpsAcross * warp_rows; }

    // Of the columns of gate where there are such.
    static __device__ __forceinline__ int first_warp_column() {
        return (int)threadIdx.x / 32 % WarpsAcross * (Gated ? warp_columns / 2 : warp_columns);
    }

    struct Fragments {
        unsigned int left[row_fragments][4];
        unsigned int right[column_fragments][2];

        __device__ __forceinline__ void load(unsigned int left_tile, unsigned int right_tile, int inner) {
            const int row = first_warp_row(), column = first_warp_column();
#pragma unroll
            for (int i = 0; i < row_fragments; i++) {
                if constexpr (TransposeLeft)
                    load_left_fragment_transposed<Left>(left[i], left_tile, row + i * 16, inner);
                else
                    load_left_fragment<Left>(left[i], left_tile, row + i * 16, inner);
            }

            if constexpr (column_fragments == 1) {
                if constexpr (TransposeRight)
                    load_right_fragment<Right>(right[0], right_tile, column, inner);
                else
                    load_right_fragment_transposed<Right>(right[0], right_tile, column, inner);
            } else {
#pragma unroll
                for (int j = 0; j < column_fragments; j += 2) {
                    unsigned int pair[4];
                    if constexpr (Gated)
                        load_right_fragments<Right, TileColumns / 2>(pair, right_tile, column + j * 4, inner);
                    else if constexpr (TransposeRight)
                        load_right_fragments<Right>(pair, right_tile, column + j * 8, inner);
                    else
                        load_right_fragments_transposed<Right>(pair, right_tile, column + j * 8, inner);
                    right[j][0] = pair[0];
                    right[j][1] = pair[1];
                    right[j + 1][0] = pair[2];
                    right[j + 1][1] = pair[3];
                }
            }
        }
    };

    static __device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
        for (int i = 0; i < row_fragments; i++)
#pragma unroll
            for (int j = 0; j < column_fragments; j++)
#pragma unroll
                for (int element = 0; element < 4; element++)
                    sums[i][j][element] = 0;
    }

    // sums += the product of two tiles; the fragments of the next step are loaded before the products of this one.
    static __device__ __forceinline__ void multiply_tiles(Sums& sums, unsigned int left_tile, unsigned int right_tile) {
        constexpr int steps = TileInner / 16;
        Fragments fragments[2];
        fragments[0].load(left_tile, right_tile, 0);
#pragma unroll
        for (int step = 0; step < steps; step++) {
            if (step + 1 < steps)
                fragments[(step + 1) & 1].load(left_tile, right_tile, (step + 1) * 16);
            const Fragments& now = fragments[step & 1];
#pragma unroll
            for (int i = 0; i < row_fragments; i++)
#pragma unroll
                for (int j = 0; j < column_fragments; j++)
                    mma_m16n8k16(sums[i][j], now.left[i], now.right[j][0], now.right[j][1]);
        }
    }

    // sums = left · right over inner indices 0..inner − 1, for the tile whose first row and column are given. `shared`
    // has shared_bytes bytes aligned to 128. The loaders have begin(unsigned tile, int row, int column) and
    // finish(unsigned char* tile), as TileLoader; what begin reads, finish may store, while the products between hide
    // the time it takes. All threads of the block call it; when it returns, some threads may still read the last stage:
    // synchronize before reusing the memory.
    template <class LeftLoader, class RightLoader>
    static __device__ __forceinline__ void multiply(Sums& sums, unsigned char* shared, LeftLoader& left,
                                                    RightLoader& right, int first_row, int first_column, int inner) {
        clear(sums);
        multiply_onto(sums, shared, left, right, first_row, first_column, inner);
    }

    // sums += left · right: goes on with chains that earlier inner indices began.
    template <class LeftLoader, class RightLoader>
    static __device__ __forceinline__ void multiply_onto(Sums& sums, unsigned char* shared, LeftLoader& left,
                                                         RightLoader& right, int first_row, int first_column,
                                                         int inner) {
        const unsigned int address = shared_address(shared);
        const int count = divide_up(inner, TileInner);
        const auto begin = [&](int stage, int first) {
            const unsigned int tile = address + stage * stage_bytes;
            left.begin(tile, TransposeLeft ? first : first_row, TransposeLeft ? first_row : first);
            right.begin(tile + Left::bytes, TransposeRight ? first_column : first,
                        TransposeRight ? first : first_column);
        };
        const auto finish = [&](int stage) {
            left.finish(shared + stage * stage_bytes);
            right.finish(shared + stage * stage_bytes + Left::bytes);
        };

#pragma unroll
        for (int stage = 0; stage < Stages - 1; stage++) {
            if (stage < count) {
                begin(stage, stage * TileInner);
                finish(stage);
            }

            cp_async_commit();
        }

        int reading = 0, writing = Stages - 1;
        for (int index = 0; index < count; index++) {
            // Tile `index` has arrived for all threads, and all have left tile `index − 1`, whose stage is filled next.
            cp_async_wait<Stages - 2>();
            synchronize_block();
            const int next = index + Stages - 1;
            if (next < count)
                begin(writing, next * TileInner);
            cp_async_commit();
            multiply_tiles(sums, address + reading * stage_bytes, address + reading * stage_bytes + Left::bytes);
            if (next < count)
                finish(writing);
            reading = reading + 1 == Stages ? 0 : reading + 1;
            writing = writing + 1 == Stages ? 0 : writing + 1;
        }

        cp_async_wait<0>();
    }

    // Calls visit(row, column, sum, sum of the column right of it, …) for every pair of elements that this thread
    // holds, row and column counted from the beginning of the tile; the column is even. What follows are the sums that
    // the two gate, where the tile is gated.
    template <class Visit>
    static __device__ __forceinline__ void for_each_pair(const Sums& sums, Visit visit) {
        const int lane = lane_index();
        const int row = first_warp_row() + lane / 4, column = first_warp_column() + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < row_fragments; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int j = 0; j < column_fragments; j += Gated ? 2 : 1) {
                    const float(&sum)[4] = sums[i][j];
                    if constexpr (Gated) {
                        const float(&up)[4] = sums[i][j + 1];
                        visit(row + i * 16 + half * 8, column + j * 4, sum[half * 2], sum[half * 2 + 1], up[half * 2],
                              up[half * 2 + 1]);
                    } else {
                        visit(row + i * 16 + half * 8, column + j * 8, sum[half * 2], sum[half * 2 + 1]);
                    }
                }
    }
};

// Which tile of a result a block makes. Consecutive blocks walk down eight tile rows before they go to the next tile
// column, so that what runs at the same time shares both factors in the second-level cache.
struct TilePosition {
    int row;     // of tiles
    int column;  // of tiles

    __device__ __forceinline__ TilePosition(int index, int tile_rows, int tile_columns) {
        constexpr int group = 8;
        const int first = index / (group * tile_columns) * group;
        const int height = tile_rows - first < group ? tile_rows - first : group;
        const int within = index % (group * tile_columns);
        row = first + within % height;
        column = within / height;
    }
};

// Two neighbours of a row-major result; the second is written only where it is inside.
template <class T>
__device__ __forceinline__ void store_pair(T* target, float first, float second, bool second_inside) {
    if (second_inside && reinterpret_cast<uintptr_t>(target) % (2 * sizeof(T)) == 0) {
        Pack<T, 2> pair;
        pair.set(0, first);
        pair.set(1, second);
        store_pack<2>(target, pair);
        return;
    }

    target[0] = from_float<T>(first);
    if (second_inside)
        target[1] = from_float<T>(second);
}
