// Matrix products of a block by warpgroup instructions (sm_90a): one thread has the bulk copy engine fill stages in
// shared memory, and warpgroups multiply from there, with their sums in registers. result [rows, columns] = left [rows,
// inner] · right [inner, columns].
//
// Every element of a result is one chain of wgmma steps of 16 inner indices, ascending, in stages of 64·PANELS that are
// filled up with zeros, which change no sum, whatever the tile is. wgmma may round otherwise than mma.sync, so who
// multiplies a weight by one must never use the other for it (docs/cuda.md, "Deterministic mode").
// left and right are tensor maps of [batch, …, …] with a swizzle of 128 bytes: boxes of 64 inner indices and the rows
// or columns of a tile where the inner index is contiguous, else of 64 rows or columns and 64 inner indices. What a
// smaller box leaves of a tile holds anything, and makes rows or columns that nobody reads.
// The blocks of a cluster make tiles of the same columns, one below the other. Their right factor is one: each copies
// its part of it into all of them. That is the larger one in tiles wider than high, so less is read than if they shared
// left. A stage is filled by all producers, so each waits until the consumers of all blocks have left it.
//
// Template parameters are not written in capitals here: those are the names of -D constants.
#pragma once

#include "common/matrix_tile.cuh"
#include "common/warpgroup.cuh"
#include "ptx/cluster.cuh"
#include "ptx/grid.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

// The blocks of a cluster, 1 or 2.
#ifndef CLUSTER
#define CLUSTER 1
#endif

// How many times 64 inner indices a stage has.
#ifndef PANELS
#define PANELS 1
#endif

// Rows of left that a stage has room for.
#ifndef LEFT_ROWS
#define LEFT_ROWS (CONSUMERS * group_rows)
#endif

constexpr int stage_inner = panel;

// A factor's part of a panel: Extent rows of left, or columns of right, and 64 inner indices. Contiguous: along the
// inner index. Eight rows stand for all 64 of a warpgroup, over and over.
template <int Extent, bool Contiguous>
struct WarpgroupFactor {
    static constexpr int bytes = Extent * stage_inner * 2;
    static constexpr int panel_bytes = panel * stage_inner * 2;
    static constexpr int group_stride = Extent < 16 ? 0 : 8 * stage_inner * 2;  // from eight rows to the next
    static_assert(Contiguous || Extent % panel == 0, "boxes have 64 columns");

    // Begins the copy of what follows row or column `first`. Where Blocks blocks of a cluster have it in common, each
    // copies its part, into the same place in all of them; a box has the rows or columns of a part.
    template <int Blocks = 1>
    static __device__ __forceinline__ void load(unsigned int tile, const TensorMap* map, unsigned int barrier,
                                                int first, int inner, int matrix) {
        constexpr int extent = Extent / Blocks;
        static_assert(Contiguous ? extent % 8 == 0 : extent % panel == 0, "a part has whole boxes");
        const int own = Blocks == 1 ? 0 : (int)cluster_rank() * extent;
        tile += own * stage_inner * 2;
        first += own;
        if constexpr (Contiguous) {
            copy<Blocks>(tile, map, barrier, inner, first, matrix);
        } else {
#pragma unroll
            for (int index = 0; index < extent / panel; index++)
                copy<Blocks>(tile + index * panel_bytes, map, barrier, first + index * panel, inner, matrix);
        }
    }

    // Begins to bring it into the second-level cache, or this block's part of it.
    template <int Blocks = 1>
    static __device__ __forceinline__ void prefetch(const TensorMap* map, int first, int inner, int matrix) {
        constexpr int extent = Extent / Blocks;
        first += Blocks == 1 ? 0 : (int)cluster_rank() * extent;
        if constexpr (Contiguous) {
            tma_prefetch_3d(map, inner, first, matrix);
        } else {
#pragma unroll
            for (int index = 0; index < extent / panel; index++)
                tma_prefetch_3d(map, first + index * panel, inner, matrix);
        }
    }

    // The descriptor of what follows row or column `first`, a multiple of 64; it grows by `step` from one step to the
    // next.
    static __device__ __forceinline__ unsigned long long descriptor(unsigned int tile, int first) {
        return Contiguous
                   ? wgmma_descriptor(tile + first * stage_inner * 2, 16, group_stride, swizzle_128)
                   : wgmma_descriptor(tile + first / panel * panel_bytes, panel_bytes, 8 * panel * 2, swizzle_128);
    }

    static constexpr int step = (Contiguous ? step_inner * 2 : step_inner * panel * 2) / 16;

private:
    template <int Blocks>
    static __device__ __forceinline__ void copy(unsigned int tile, const TensorMap* map, unsigned int barrier, int x,
                                                int y, int z) {
        if constexpr (Blocks == 1)
            tma_load_3d(tile, map, barrier, x, y, z);
        else
            tma_load_3d_multicast(tile, map, barrier, x, y, z, (1 << Blocks) - 1);
    }
};

template <int TransposeA, int TransposeB>
__device__ __forceinline__ void warpgroup_multiply(float (&sums)[8], unsigned long long a, unsigned long long b) {
    wgmma_m64n16k16<TransposeA, TransposeB>(sums, a, b, 1);
}

template <int TransposeA, int TransposeB>
__device__ __forceinline__ void warpgroup_multiply(float (&sums)[32], unsigned long long a, unsigned long long b) {
    wgmma_m64n64k16<TransposeA, TransposeB>(sums, a, b, 1);
}

template <int TransposeA, int TransposeB>
__device__ __forceinline__ void warpgroup_multiply(float (&sums)[64], unsigned long long a, unsigned long long b) {
    wgmma_m64n128k16<TransposeA, TransposeB>(sums, a, b, 1);
}

template <int TransposeA, int TransposeB>
__device__ __forceinline__ void warpgroup_multiply(float (&sums)[128], unsigned long long a, unsigned long long b) {
    wgmma_m64n256k16<TransposeA, TransposeB>(sums, a, b, 1);
}

// Stores what a lane has of Columns columns from first_column on, as a tile's sums lie: lines[h] is where row h begins,
// null where it is not stored; columns end at `columns`. Aligned: lines begin at multiples of 16 bytes and `columns` is
// a multiple of 8. All lanes of a warp call it.
template <int Columns, class Result, int Count>
__device__ __forceinline__ void store_sums(const float (&sums)[Count], Result* const (&lines)[2], int first_column,
                                           int columns, bool aligned) {
    static_assert(Count >= Columns / 2, "a lane has a quarter of two rows");
    const int lane = lane_index();
    if constexpr (sizeof(Result) == 2 && Columns % 32 == 0) {
        // Four lanes store 64 bytes of a row, 16 each.
        if (aligned) {
#pragma unroll
            for (int group = 0; group < Columns / 32; group++) {
                const int column = first_column + group * 32 + lane % 4 * 8;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    unsigned int words[4];
#pragma unroll
                    for (int index = 0; index < 4; index++) {
                        const int first = (group * 4 + index) * 4 + half * 2;
                        words[index] = floats_to_bfloat16(sums[first], sums[first + 1]);
                    }

                    exchange(words);
                    if (lines[half] != nullptr && column < columns)
                        *reinterpret_cast<uint4*>(lines[half] + column) = uint4{words[0], words[1], words[2], words[3]};
                }
            }

            return;
        }
    }

#pragma unroll
    for (int eight = 0; eight < Columns / 8; eight++) {
        const int column = first_column + eight * 8 + lane % 4 * 2;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int first = eight * 4 + half * 2;
            if (lines[half] != nullptr && column < columns)
                store_pair(lines[half] + column, sums[first], sums[first + 1], column + 1 < columns);
        }
    }
}

// The tiles of a block, of the results [rows, columns] of a batch. The blocks of a cluster take as many rows of tiles
// at a time, also those of which only the first has a tile: the others then store nothing, but copy all the same.
template <int TileRows, int TileColumns, int Cluster = 1>
struct ResultTiles {
    int rows, columns, batch;

    // only_first: the block's first tile, if it has one.
    template <bool only_first = false, class Visitor>
    __device__ __forceinline__ void visit(Visitor visitor) const {
        const int down = divide_up(rows, TileRows * Cluster), across = divide_up(columns, TileColumns);
        const int own = Cluster == 1 ? 0 : (int)cluster_rank();
        for (int tile = (int)blockIdx.x / Cluster; tile < down * across * batch; tile += (int)gridDim.x / Cluster) {
            const TilePosition position(tile % (down * across), down, across);
            visitor((position.row * Cluster + own) * TileRows, position.column * TileColumns, tile / (down * across));
            if (only_first)
                return;
        }
    }
};

// What a block makes at a time: Consumers warpgroups multiply, 64 rows each and TileColumns columns; behind them one
// thread of the producer (a warpgroup, or a warp where Consumers is 1) copies, Stages pieces of 64·Panels inner indices
// in flight or in use. Left lies transposed, [inner, rows], with TransposeLeft; right lies [columns, inner], as weights
// do, with TransposeRight. Cluster: the blocks of a cluster, 1 or 2. LeftRows is 64·Consumers, or 8 where there are no
// more rows than that: then a stage has no room for others. Shared memory: Stages·((LeftRows + TileColumns)·Panels·128
// + 16) bytes.
template <int Consumers, int TileColumns, int Stages, bool TransposeLeft, bool TransposeRight, int Cluster = 1,
          int Panels = 1, int LeftRows = Consumers* group_rows>
struct WarpgroupTile {
    static constexpr int tile_rows = Consumers * group_rows;
    static constexpr int tile_columns = TileColumns;
    // Two consumers need more registers than a third of all, so the producer is a warpgroup that gives its own to them.
    static constexpr bool moves_registers = Consumers > 1;
    static constexpr int threads = Consumers * group_threads + (moves_registers ? group_threads : 32);

    using Left = WarpgroupFactor<LeftRows, !TransposeLeft>;
    using Right = WarpgroupFactor<TileColumns, TransposeRight>;
    static constexpr int part_bytes = Left::bytes + Right::bytes;  // of 64 inner indices
    static constexpr int stage_bytes = Panels * part_bytes;
    static_assert(part_bytes % 1024 == 0, "the swizzle counts from multiples of 1024 bytes");
    static_assert(LeftRows == tile_rows || (LeftRows == 8 && Consumers == 1 && !TransposeLeft),
                  "few rows, as they lie");

    // A lane's, of two rows that are 8 apart: sums[4j + 2h + e] is row h and column 8j + 2·(lane % 4) + e of the tile.
    using Sums = float[TileColumns / 2];

    // Begins the copies of a stage: of left from `row` on, of right, or this block's part of it, from `column` on.
    // loaded_bytes is what all boxes of the stage have, those that other blocks copy too.
    // `threads` of the producer call it, `arrivals` of theirs and the bytes fill a stage; registers are those of the
    // threads of a producer and of a consumer where two of these share what three would have.
    struct Loader {
        static constexpr int threads = 1, arrivals = 1, producer_registers = 40, consumer_registers = 232;

        const TensorMap *left, *right;
        int loaded_bytes;

        // By one thread, before start.
        __device__ __forceinline__ void prefetch() const {
            tma_prefetch(left);
            tma_prefetch(right);
        }

        // By all threads of the block, before any other; nothing is read or written before it, unless they have waited.
        __device__ __forceinline__ void start() const {
            grid_wait();
            grid_launch_dependents();
        }

        // Before the stages of a tile.
        __device__ __forceinline__ void begin_tile(int) const {}

        __device__ __forceinline__ void load(unsigned int stage, unsigned int barrier, int row, int column, int inner,
                                             int matrix) const {
            mbarrier_arrive_expect(barrier, loaded_bytes);
#pragma unroll
            for (int part = 0; part < Panels; part++) {
                const unsigned int place = stage + part * part_bytes;
                Left::load(place, left, barrier, row, inner + part * stage_inner, matrix);
                Right::template load<Cluster>(place + Left::bytes, right, barrier, column, inner + part * stage_inner,
                                              matrix);
            }
        }

        __device__ __forceinline__ void prefetch_right(int column, int inner, int matrix) const {
            Right::template prefetch<Cluster>(right, column, inner, matrix);
        }
    };

    // Begins to bring what the block's first stages have of right into the second-level cache: a weight, which is there
    // before the kernel that makes left has ended. That right may still be written is no matter, for nothing is read.
    template <class Copies, class Tiles>
    static __device__ __forceinline__ void prefetch(const Copies& copies, int inner, const Tiles& tiles) {
        if (threadIdx.x != Consumers * group_threads)
            return;
        tiles.template visit<true>([&](int, int column, int matrix) {
            for (int first = 0; first < min(inner, Stages * Panels * stage_inner); first += stage_inner)
                copies.prefetch_right(column, first, matrix);
        });
    }

    static __device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
        for (float& sum : sums)
            sum = 0;
    }

    // A warp of consumers has left a stage: says so to the producers of all blocks that fill it.
    static __device__ __forceinline__ void leave(unsigned int empty, int lane) {
        if constexpr (Cluster == 1) {
            if (lane == 0)
                mbarrier_arrive(empty);
        } else if (lane < Cluster) {
            mbarrier_arrive_cluster_reader(map_shared(empty, lane));
        }
    }

    // Makes the tiles of a block, one after the other. All its threads call it, with the same tiles:
    // tiles.visit(visitor) calls visitor(row, column, matrix) with the first row and column of each, and all of a
    // block's inner indices are the same. begin(sums, row, column) says what the sums begin with (a first step that did
    // not add would have the assembler serialize the products: C7515), finish(sums, row, column, matrix) takes them;
    // `row` is there this lane's first (the other is 8 further on), `column` the tile's. They may run while other
    // warpgroups still multiply, so they must not use the block's barrier or the stages.
    template <class Copies, class Tiles, class Begin, class Finish>
    static __device__ __forceinline__ void multiply_onto(unsigned char* shared, const Copies& copies, int inner,
                                                         const Tiles& tiles, const Begin& begin, const Finish& finish) {
        // A stage is full when its bytes have arrived, and empty when every warp of the cluster's consumers left it.
        const unsigned int stages = shared_address(shared);
        const unsigned int full = stages + Stages * stage_bytes, empty = full + Stages * 8;
        const int count = divide_up(inner, Panels * stage_inner);
        if (threadIdx.x == 0) {
            for (int stage = 0; stage < Stages; stage++) {
                mbarrier_initialize(full + stage * 8, Copies::arrivals);
                mbarrier_initialize(empty + stage * 8, Cluster * Consumers * group_threads / 32);
            }

            fence_mbarrier_initialize();
            copies.prefetch();
        }

        copies.start();
        // The other blocks' barriers are there before a copy or an arrival comes to them.
        if constexpr (Cluster == 1) {
            synchronize_block();
        } else {
            cluster_arrive_relaxed();
            cluster_wait();
        }

        const int group = uniform((int)threadIdx.x / group_threads);
        TileRing<Stages> ring;
        if (group == Consumers) {
            if constexpr (moves_registers)
                decrease_registers<Copies::producer_registers>();
            if (threadIdx.x % group_threads >= Copies::threads)
                return;
            Copies producer = copies;
            tiles.visit([&](int row, int column, int matrix) {
                producer.begin_tile(row);
                for (int index = 0; index < count; index++) {
                    mbarrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
                    producer.load(stages + ring.stage * stage_bytes, full + ring.stage * 8, row, column,
                                  index * Panels * stage_inner, matrix);
                    ring.advance();
                }
            });
            // A block is there until the other ones' consumers have left its stages: they arrive at its barriers. What
            // comes into it from other blocks its own consumers have waited for.
            if constexpr (Cluster > 1) {
                for (int stage = 0; stage < Stages; stage++) {
                    mbarrier_wait(empty + ring.stage * 8, ring.parity ^ 1);
                    ring.advance();
                }
            }
        } else {
            if constexpr (moves_registers)
                increase_registers<Copies::consumer_registers>();
            const int lane = lane_index();
            const int own_row = group * group_rows + (int)threadIdx.x % group_threads / 32 * 16 + lane / 4;
            tiles.visit([&](int row, int column, int matrix) {
                Sums sums;
                begin(sums, row + own_row, column);
                int before = 0;
                for (int index = 0; index < count; index++) {
                    mbarrier_wait(full + ring.stage * 8, ring.parity);
                    const unsigned int source = stages + ring.stage * stage_bytes;
                    wgmma_fence();
#pragma unroll
                    for (int part = 0; part < Panels; part++) {
                        const unsigned int place = source + part * part_bytes;
                        const unsigned long long a = Left::descriptor(place, group * group_rows);
                        const unsigned long long b = Right::descriptor(place + Left::bytes, 0);
#pragma unroll
                        for (int step = 0; step < stage_inner / step_inner; step++)
                            warpgroup_multiply<TransposeLeft, !TransposeRight>(
                                sums, wgmma_advance(a, step * Left::step), wgmma_advance(b, step * Right::step));
                    }

                    wgmma_commit();
                    // The products of the stage before are done, while those of this one run.
                    wgmma_wait<1>();
                    if (index > 0)
                        leave(empty + before * 8, lane);
                    before = ring.stage;
                    ring.advance();
                }

                wgmma_wait<0>(sums);
                if (count > 0)
                    leave(empty + before * 8, lane);
                finish(sums, row + own_row, column, matrix);
            });
        }
    }

    // The same with sums that begin as zeros.
    template <class Copies, class Tiles, class Finish>
    static __device__ __forceinline__ void multiply(unsigned char* shared, const Copies& copies, int inner,
                                                    const Tiles& tiles, const Finish& finish) {
        multiply_onto(
            shared, copies, inner, tiles, [](Sums& sums, int, int) { clear(sums); }, finish);
    }
};
