// What stands before the shared object in the bytes that this NVRTC calls a cubin, or PTX.
#pragma once

#include <cstdint>

namespace simt {

constexpr char image_magic[8] = {'S', 'I', 'M', 'T', 'K', 'R', 'N', '2'};

struct ImageHeader {
    char magic[8];
    char fingerprint[16];
    char name[96];
    std::uint64_t bytes;
    std::int32_t architecture;  // compute capability times ten
    std::int32_t exact;         // instructions of that architecture only: sm_90a
    std::int32_t ptx;           // compiled for compute_…, to be translated for any newer architecture
    std::int32_t reserved;
};
static_assert(sizeof(ImageHeader) % 16 == 0, "the object after it stays aligned");

}  // namespace simt
