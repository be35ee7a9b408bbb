// Matrix instructions of a warp: mma.sync, ldmatrix, stmatrix.
#include <cstring>

#include "access.hpp"
#include "cuda_abi.hpp"
#include "fragments.hpp"
#include "products.hpp"
#include "synchronization.hpp"

namespace simt {

namespace {

struct Words {
    unsigned word[4];
};
struct Floats {
    float value[4];
};

struct Product {
    unsigned a[4];
    unsigned b[2];
    float d[4];
};

float element(unsigned pair, int half) {
    const unsigned bits = half == 0 ? pair << 16 : pair & 0xFFFF0000u;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

void compute_product(void* const* arguments, std::uint32_t) {
    float a[16][16], b[16][8], d[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const auto& product = *static_cast<const Product*>(arguments[lane]);
        for (int half = 0; half < 2; half++) {
            for (int index = 0; index < 4; index++) {
                const Place place = a_place(lane, index, half);
                a[place.row][place.column] = element(product.a[index], half);
            }
            for (int index = 0; index < 2; index++) {
                const Place place = b_place(lane, index, half);
                b[place.row][place.column] = element(product.b[index], half);
            }
        }
        for (int index = 0; index < 4; index++) {
            const Place place = d_place(lane, index);
            d[place.row][place.column] = product.d[index];
        }
    }
    this_worker->counters.matrix_instructions++;
    multiply_add(&a[0][0], 16, &b[0][0], 8, &d[0][0], 8, 16, 8, 16);
    for (int lane = 0; lane < 32; lane++) {
        auto& product = *static_cast<Product*>(arguments[lane]);
        for (int index = 0; index < 4; index++) {
            const Place place = d_place(lane, index);
            product.d[index] = d[place.row][place.column];
        }
    }
}

struct MatrixAccess {
    unsigned shared;
    int count;
    bool transposed;
    char* row;  // filled in by the lane whose address it is
    unsigned word[4];
};

void load_tiles(void* const* arguments, std::uint32_t) {
    const auto& first = *static_cast<const MatrixAccess*>(arguments[0]);
    for (int tile = 0; tile < first.count; tile++) {
        std::uint16_t elements[8][8];
        for (int row = 0; row < 8; row++)
            std::memcpy(elements[row], static_cast<const MatrixAccess*>(arguments[8 * tile + row])->row, sizeof elements[row]);
        for (int lane = 0; lane < 32; lane++) {
            const Place low = tile_place(lane, 0), high = tile_place(lane, 1);
            const unsigned lower = first.transposed ? elements[low.column][low.row] : elements[low.row][low.column];
            const unsigned upper = first.transposed ? elements[high.column][high.row] : elements[high.row][high.column];
            static_cast<MatrixAccess*>(arguments[lane])->word[tile] = upper << 16 | lower;
        }
    }
}

void store_tiles(void* const* arguments, std::uint32_t) {
    for (int tile = 0; tile < 4; tile++) {
        std::uint16_t elements[8][8];
        for (int lane = 0; lane < 32; lane++) {
            const unsigned word = static_cast<const MatrixAccess*>(arguments[lane])->word[tile];
            const Place low = tile_place(lane, 0), high = tile_place(lane, 1);
            elements[low.row][low.column] = static_cast<std::uint16_t>(word);
            elements[high.row][high.column] = static_cast<std::uint16_t>(word >> 16);
        }
        for (int row = 0; row < 8; row++)
            std::memcpy(static_cast<const MatrixAccess*>(arguments[8 * tile + row])->row, elements[row], sizeof elements[row]);
    }
}

constexpr std::uint32_t whole_warp = 0xFFFFFFFFu;

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT Floats simt_mma_m16n8k16(unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1, float d0, float d1, float d2,
                                     float d3) {
    Product product{{a0, a1, a2, a3}, {b0, b1}, {d0, d1, d2, d3}};
    collective("mma.sync", whole_warp, &product, compute_product, call_site(__builtin_return_address(0)));
    return Floats{{product.d[0], product.d[1], product.d[2], product.d[3]}};
}

SIMT_EXPORT Words simt_load_matrix(unsigned shared, int count, int transposed) {
    const Site site = call_site(__builtin_return_address(0));
    MatrixAccess access{shared, count, transposed != 0, nullptr, {}};
    if (static_cast<int>(current_thread().lane) < 8 * count) {
        access.row = shared_pointer(shared, 16, 16, "ldmatrix", site);
        check_access(access.row, 16, 16, Access::read, site);
    }
    collective("ldmatrix", whole_warp, &access, load_tiles, site);
    return Words{{access.word[0], access.word[1], access.word[2], access.word[3]}};
}

SIMT_EXPORT void simt_store_matrix(unsigned shared, unsigned r0, unsigned r1, unsigned r2, unsigned r3) {
    const Site site = call_site(__builtin_return_address(0));
    MatrixAccess access{shared, 4, false, nullptr, {r0, r1, r2, r3}};
    access.row = shared_pointer(shared, 16, 16, "stmatrix", site);
    check_access(access.row, 16, 16, Access::write, site);
    collective("stmatrix", whole_warp, &access, store_tiles, site);
}
