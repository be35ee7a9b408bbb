// Which lane and register holds which element of a matrix: the one table behind mma, wgmma, ldmatrix and stmatrix.
#pragma once

namespace simt {

struct Place {
    int row, column;
};

// 8 × 8 tile of 16-bit elements: every lane holds two neighbours of a row in one register; `half` 0 is the lower one.
constexpr Place tile_place(int lane, int half) { return {lane / 4, 2 * (lane % 4) + half}; }

// a of m16n8k16, (row, k): four such tiles, registers down the rows first.
constexpr Place a_place(int lane, int index, int half) {
    const Place tile = tile_place(lane, half);
    return {tile.row + 8 * (index % 2), tile.column + 8 * (index / 2)};
}

// b of m16n8k16, (k, column): two tiles of the transposed matrix.
constexpr Place b_place(int lane, int index, int half) {
    const Place tile = tile_place(lane, half);
    return {tile.column + 8 * index, tile.row};
}

// c and d of m16n8k16, (row, column): float32, registers 0 and 1 are neighbours, 2 and 3 lie eight rows below.
constexpr Place d_place(int lane, int index) {
    const Place tile = tile_place(lane, index % 2);
    return {tile.row + 8 * (index / 2), tile.column};
}

}  // namespace simt
