#include "tensor_map.hpp"

#include <algorithm>
#include <cstring>

#include "driver.hpp"

namespace simt {

namespace {

constexpr int element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};  // by CUtensorMapDataType
constexpr int floating_from = 6;
constexpr unsigned piece = 16;  // what a swizzle moves

}  // namespace

unsigned TensorBox::bytes() const {
    unsigned total = map_.element_bytes;
    for (unsigned dimension = 0; dimension < map_.rank; dimension++) total *= map_.box[dimension];
    return total;
}

void TensorBox::rows(const Visit& visit) const {
    unsigned count = 1;
    for (unsigned dimension = 1; dimension < map_.rank; dimension++) count *= map_.box[dimension];
    // 64 bits: a coordinate near the end of 31 bits plus a box must not wrap.
    const std::int64_t x = coordinates_[0];
    const std::int64_t low = std::max<std::int64_t>(x, 0);
    const std::int64_t high = std::min<std::int64_t>(x + map_.box[0], std::int64_t{map_.extents[0]} + 1);
    for (unsigned row = 0; row < count; row++) {
        std::uint64_t address = map_.address + static_cast<std::uint64_t>(low) * map_.element_bytes;
        bool inside = low < high;
        unsigned rest = row;
        for (unsigned dimension = 1; dimension < map_.rank; dimension++) {
            const std::int64_t at = std::int64_t{coordinates_[dimension]} + rest % map_.box[dimension];
            rest /= map_.box[dimension];
            inside &= at >= 0 && at <= std::int64_t{map_.extents[dimension]};
            address += static_cast<std::uint64_t>(at) * map_.strides[dimension - 1];
        }
        if (inside)
            visit(row, static_cast<unsigned>(low - x) * map_.element_bytes, static_cast<unsigned>(high - low) * map_.element_bytes,
                  reinterpret_cast<char*>(address));
    }
}

void TensorBox::load(char* window, unsigned offset) const {
    std::vector<char> data(bytes(), map_.fill_with_nan ? static_cast<char>(0xFF) : '\0');
    rows([&](unsigned row, unsigned first, unsigned count, const char* global) { std::memcpy(&data[row * row_bytes() + first], global, count); });
    for (unsigned at = 0; at < data.size(); at += piece) std::memcpy(window + swizzled(offset + at, map_.swizzle), &data[at], piece);
}

std::vector<char> TensorBox::read(const char* window, unsigned offset) const {
    std::vector<char> data(bytes());
    for (unsigned at = 0; at < data.size(); at += piece) std::memcpy(&data[at], window + swizzled(offset + at, map_.swizzle), piece);
    return data;
}

void TensorBox::store(const std::vector<char>& data) const {
    rows([&](unsigned row, unsigned first, unsigned count, char* global) { std::memcpy(global, &data[row * row_bytes() + first], count); });
}

}  // namespace simt

using namespace simt;

SIMT_EXPORT int cuTensorMapEncodeTiled(CUtensorMap* target, int type, unsigned rank, void* address, const std::uint64_t* extents,
                                       const std::uint64_t* strides, const unsigned* box, const unsigned* element_strides, int interleave,
                                       int swizzle, int, int fill) {
    const auto wrong = [](const std::string& what) { return refuse(CUDA_ERROR_INVALID_VALUE, "cuTensorMapEncodeTiled: " + what); };
    if (target == nullptr || address == nullptr || extents == nullptr || box == nullptr || element_strides == nullptr) return wrong("a null pointer");
    if (reinterpret_cast<std::uintptr_t>(target) % 64 != 0) return wrong("the tensor map does not lie on a multiple of 64 bytes");
    if (type < 0 || type > 12) return wrong("no data type " + std::to_string(type));
    if (rank < 1 || rank > 5 || (rank > 1 && strides == nullptr)) return wrong("rank " + std::to_string(rank) + "; it is 1 to 5");
    if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) return wrong("the tensor does not start on a multiple of 16 bytes");
    if (swizzle < 0 || swizzle > 3) return wrong("no swizzle " + std::to_string(swizzle));
    if (fill < 0 || fill > 1 || (fill == 1 && type < floating_from)) return wrong("fill with NaN is for floating-point types");
    if (interleave != 0) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuTensorMapEncodeTiled: interleaved layouts are not emulated");
    EncodedTensorMap map{};
    map.magic = EncodedTensorMap::mark;
    map.address = reinterpret_cast<std::uint64_t>(address);
    map.rank = static_cast<std::uint8_t>(rank);
    map.element_bytes = static_cast<std::uint8_t>(element_bytes[type]);
    map.swizzle = static_cast<std::uint8_t>(swizzle);
    map.fill_with_nan = static_cast<std::uint8_t>(fill);
    map.type = static_cast<std::uint8_t>(type);
    for (unsigned dimension = 0; dimension < rank; dimension++) {
        const std::string name = "dimension " + std::to_string(dimension) + ": ";
        if (extents[dimension] < 1 || extents[dimension] > std::uint64_t{1} << 32) return wrong(name + "an extent of " + std::to_string(extents[dimension]));
        if (box[dimension] < 1 || box[dimension] > 256) return wrong(name + "a box of " + std::to_string(box[dimension]) + "; it is 1 to 256");
        if (element_strides[dimension] != 1) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuTensorMapEncodeTiled: element strides other than 1 are not emulated");
        map.extents[dimension] = static_cast<std::uint32_t>(extents[dimension] - 1);
        map.box[dimension] = static_cast<std::uint16_t>(box[dimension]);
        if (dimension == 0) continue;
        const std::uint64_t stride = strides[dimension - 1];
        if (stride % 16 != 0 || stride >= std::uint64_t{1} << 40) return wrong(name + "a stride of " + std::to_string(stride) + " bytes; it is a multiple of 16 below 2^40");
        map.strides[dimension - 1] = stride;
    }
    const unsigned row = box[0] * map.element_bytes;
    if (row % 16 != 0) return wrong("a box whose rows have " + std::to_string(row) + " bytes, not a multiple of 16");
    if (swizzle != 0 && row > 16u << swizzle) return wrong("a box whose rows have " + std::to_string(row) + " bytes, more than the swizzle's " + std::to_string(16 << swizzle));
    if (swizzle != 0 && row < 16u << swizzle)
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuTensorMapEncodeTiled: rows of " + std::to_string(row) + " bytes, shorter than the swizzle, are not emulated");
    std::memset(target, 0, sizeof *target);
    std::memcpy(target, &map, sizeof map);
    return CUDA_SUCCESS;
}
