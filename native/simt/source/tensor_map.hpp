// Tensor maps: what cuTensorMapEncodeTiled puts into their 128 bytes, and the box of a tensor that a bulk copy moves.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace simt {

struct EncodedTensorMap {
    static constexpr std::uint64_t mark = 0x50414D524F534E54ULL;

    std::uint64_t magic;
    std::uint64_t address;
    std::uint64_t strides[4];  // bytes, of dimensions 1 to 4
    std::uint32_t extents[5];  // minus one
    std::uint16_t box[5];
    std::uint8_t rank, element_bytes, swizzle, fill_with_nan, type, padding[5];
};
static_assert(sizeof(EncodedTensorMap) <= 128, "the size of a CUtensorMap");

// Bits of a shared address that a swizzle (0 to 3: none, 32, 64, 128 bytes) exchanges: those of the 16-byte piece, by those of the row.
constexpr std::uint32_t swizzled(std::uint32_t address, unsigned swizzle) {
    return address ^ ((address >> 7 & ((1u << swizzle) - 1)) << 4);
}

// A box at some coordinates. Rows run along the innermost dimension; in shared memory they follow one another.
class TensorBox {
public:
    TensorBox(const EncodedTensorMap& map, const std::array<int, 5>& coordinates) : map_(map), coordinates_(coordinates) {}

    unsigned bytes() const;
    unsigned row_bytes() const { return unsigned{map_.box[0]} * map_.element_bytes; }

    // Per row: its number, and the part of it inside the tensor: first byte and bytes within the row, and the global address.
    using Visit = std::function<void(unsigned row, unsigned first, unsigned bytes, char* global)>;
    void rows(const Visit& visit) const;

    // Global memory into a block's shared memory at the offset, what lies outside as zeros (or NaN).
    void load(char* window, unsigned offset) const;

    // Shared memory into bytes in row order; and these to global memory, as far as inside.
    std::vector<char> read(const char* window, unsigned offset) const;
    void store(const std::vector<char>& data) const;

private:
    EncodedTensorMap map_;
    std::array<int, 5> coordinates_;
};

}  // namespace simt
