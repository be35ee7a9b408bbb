// The headers that kernels are compiled with, carried inside the library.
#pragma once

#include <string_view>

namespace simt {

struct EmbeddedFile {
    std::string_view name;  // as included: "simt.hpp", "ptx/mma.cuh"
    std::string_view text;
};

// Null when there is no such file.
const EmbeddedFile* find_embedded(std::string_view name);

const EmbeddedFile* embedded_begin();
const EmbeddedFile* embedded_end();

}  // namespace simt
