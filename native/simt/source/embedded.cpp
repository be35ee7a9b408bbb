#include "embedded.hpp"

#include <cstdint>
#include <string>

#include "image.hpp"
#include "module.hpp"

#ifndef SIMT_INCLUDE_DIRECTORY
#error "compile with -DSIMT_INCLUDE_DIRECTORY='\"…/native/simt/include\"'"
#endif

// The assembler copies a file into the read-only data and marks both its ends.
#define SIMT_EMBED(symbol, file)                                                                                     \
    asm(".section .rodata\n.globl simt_file_" #symbol "\n.hidden simt_file_" #symbol "\n.globl simt_file_" #symbol    \
        "_end\n.hidden simt_file_" #symbol "_end\nsimt_file_" #symbol ":\n.incbin \"" SIMT_INCLUDE_DIRECTORY "/" file \
        "\"\nsimt_file_" #symbol "_end:\n.byte 0\n.previous\n");                                                      \
    extern "C" const char simt_file_##symbol[], simt_file_##symbol##_end[];

SIMT_EMBED(prelude, "simt.hpp")
SIMT_EMBED(math_prelude, "simt_math.hpp")
SIMT_EMBED(cluster, "ptx/cluster.cuh")
SIMT_EMBED(convert, "ptx/convert.cuh")
SIMT_EMBED(cp_async, "ptx/cp_async.cuh")
SIMT_EMBED(ldmatrix, "ptx/ldmatrix.cuh")
SIMT_EMBED(math, "ptx/math.cuh")
SIMT_EMBED(grid, "ptx/grid.cuh")
SIMT_EMBED(mbarrier, "ptx/mbarrier.cuh")
SIMT_EMBED(memory, "ptx/memory.cuh")
SIMT_EMBED(mma, "ptx/mma.cuh")
SIMT_EMBED(tma, "ptx/tma.cuh")
SIMT_EMBED(warp, "ptx/warp.cuh")
SIMT_EMBED(wgmma, "ptx/wgmma.cuh")

namespace simt {

namespace {

#define SIMT_FILE(symbol, file) \
    EmbeddedFile { file, std::string_view(simt_file_##symbol, static_cast<std::size_t>(simt_file_##symbol##_end - simt_file_##symbol)) }

const EmbeddedFile files[] = {
    SIMT_FILE(prelude, "simt.hpp"),     SIMT_FILE(math_prelude, "simt_math.hpp"), SIMT_FILE(convert, "ptx/convert.cuh"),
    SIMT_FILE(cp_async, "ptx/cp_async.cuh"), SIMT_FILE(ldmatrix, "ptx/ldmatrix.cuh"), SIMT_FILE(math, "ptx/math.cuh"),
    SIMT_FILE(memory, "ptx/memory.cuh"), SIMT_FILE(mma, "ptx/mma.cuh"), SIMT_FILE(warp, "ptx/warp.cuh"),
    SIMT_FILE(cluster, "ptx/cluster.cuh"), SIMT_FILE(grid, "ptx/grid.cuh"), SIMT_FILE(mbarrier, "ptx/mbarrier.cuh"), SIMT_FILE(tma, "ptx/tma.cuh"),
    SIMT_FILE(wgmma, "ptx/wgmma.cuh"),
};

}  // namespace

const EmbeddedFile* embedded_begin() { return std::begin(files); }
const EmbeddedFile* embedded_end() { return std::end(files); }

const EmbeddedFile* find_embedded(std::string_view name) {
    for (const EmbeddedFile& file : files)
        if (file.name == name) return &file;
    return nullptr;
}

const std::string& fingerprint() {
    static const std::string& text = *new std::string([] {
        // FNV-1a over the headers and the compiler's version: what decides how a compiled kernel talks to this library.
        std::uint64_t hash = 14695981039346656037ULL;
        const auto add = [&](std::string_view bytes) {
            for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
        };
        for (const EmbeddedFile& file : files) {
            add(file.name);
            add(file.text);
        }
        add(__VERSION__);
        add(std::string_view(image_magic, sizeof image_magic));
        char digits[17];
        std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
        return std::string(digits, 16);
    }());
    return text;
}

}  // namespace simt
