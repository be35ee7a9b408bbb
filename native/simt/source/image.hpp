// What stands before the shared object in the bytes that this NVRTC calls a cubin.
#pragma once

#include <cstdint>

namespace simt {

constexpr char image_magic[8] = {'S', 'I', 'M', 'T', 'K', 'R', 'N', '1'};

struct ImageHeader {
    char magic[8];
    char fingerprint[16];
    char name[96];
    std::uint64_t bytes;
};
static_assert(sizeof(ImageHeader) % 16 == 0, "the object after it stays aligned");

}  // namespace simt
