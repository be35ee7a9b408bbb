// wgmma: every warp of a warpgroup computes its 16 rows. A product is issued into a group and runs in the wait that covers it; until
// then its registers hold NaN, and its shared memory may not be written.
#include "warpgroup.hpp"

#include <algorithm>
#include <cstring>

#include "access.hpp"
#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "fragments.hpp"
#include "products.hpp"
#include "report.hpp"
#include "scheduler.hpp"
#include "synchronization.hpp"
#include "tensor_map.hpp"

namespace simt {

namespace {

constexpr std::uint32_t whole_warp = 0xFFFFFFFFu;
constexpr std::uint32_t poison = 0xFFFFFFFFu;
constexpr int rows = 16, depth = 16, piece = 8;  // elements of 16 bytes

struct Issue {
    float* d;
    int columns;
    const unsigned* a;  // null for a matrix in shared memory
    bool a_in_registers, transpose_a, transpose_b, accumulate;
    std::uint64_t a_descriptor, b_descriptor;
    Site site;
};

std::uint64_t hash(std::uint64_t seed, const void* data, std::size_t bytes) {
    for (std::size_t index = 0; index < bytes; index++) seed = (seed ^ static_cast<const unsigned char*>(data)[index]) * 1099511628211ULL;
    return seed;
}
constexpr std::uint64_t hash_seed = 14695981039346656037ULL;

float to_float(std::uint16_t half) {
    const std::uint32_t bits = std::uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The rounding that a card's wgmma might have and its mma.sync not, made coarse enough to be seen in results of bfloat16.
float without_low_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= 0xFFFFFF00u;
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

// A matrix in shared memory, [extent, 16] with the depth contiguous, or [16, extent] transposed.
class SharedMatrix {
public:
    SharedMatrix(std::uint64_t descriptor, bool transposed)
        : start_((descriptor & 0x3FFF) << 4), leading_((descriptor >> 16 & 0x3FFF) << 4), stride_((descriptor >> 32 & 0x3FFF) << 4),
          transposed_(transposed) {
        const auto code = static_cast<unsigned>(descriptor >> 62);
        swizzle_ = code == 0 ? 0 : 4 - code;  // as in a tensor map: 0 to 3 for none, 32, 64, 128 bytes
    }

    // Offset of the 16-byte piece that begins with element (outer, inner): inner counts pieces along the contiguous dimension.
    unsigned offset(int outer, int inner) const {
        const unsigned span = 16u << swizzle_;  // bytes of a row of the pattern
        const auto row = static_cast<unsigned>(outer), column = static_cast<unsigned>(inner);
        unsigned at;
        if (swizzle_ == 0)
            at = row % 8 * 16 + (transposed_ ? row / 8 * leading_ + column * stride_ : row / 8 * stride_ + column * leading_);
        else if (!transposed_)
            at = row / 8 * stride_ + row % 8 * span + column * 16;
        else
            at = column * 16 / span * leading_ + column * 16 % span + row % 8 * span + row / 8 * stride_;
        return swizzled(start_ + at, swizzle_);
    }

    // Calls visit(offset, index of the extent, index of the depth) for every piece of `count` indices from `first` on.
    template <class Visit>
    void pieces(int first, int count, const Visit& visit) const {
        if (transposed_) {
            for (int k = 0; k < depth; k++)
                for (int index = first; index < first + count; index += piece) visit(offset(k, index / piece), index, k);
        } else {
            for (int index = first; index < first + count; index++)
                for (int k = 0; k < depth; k += piece) visit(offset(index, k / piece), index, k);
        }
    }

    bool transposed() const { return transposed_; }

private:
    unsigned start_, leading_, stride_, swizzle_;
    bool transposed_;
};

int first_row(const Warp& warp) { return static_cast<int>(warp.first_thread / 32 % 4) * rows; }

void begin_reads(const SharedMatrix& matrix, int first, int count, const Block& block, const char* name, const Site& site) {
    matrix.pieces(first, count, [&](unsigned offset, int, int) {
        if (offset + 16 > this_worker->launch->shared_bytes)
            fail_current(CUDA_ERROR_ILLEGAL_ADDRESS, std::string("wgmma reads matrix ") + name + " at offset " + std::to_string(offset) +
                                                         " of the block's " + std::to_string(this_worker->launch->shared_bytes) + " bytes of shared memory", site);
        if (!configuration().checks) return;
        this_worker->shadow->touch(block.rank, offset, 16, Access::read, site, Proxy::asynchronous);
        this_worker->shadow->begin_read(block.rank, offset, 16, site);
    });
}

void end_reads(const SharedMatrix& matrix, int first, int count, const Block& block) {
    if (!configuration().checks) return;
    matrix.pieces(first, count, [&](unsigned offset, int, int) { this_worker->shadow->end_read(block.rank, offset, 16); });
}

// Copies pieces into an array [extent, 16] or [16, extent] of float32.
void load(const SharedMatrix& matrix, int first, int count, const Block& block, float* target, int extent_step, int depth_step) {
    matrix.pieces(first, count, [&](unsigned offset, int index, int k) {
        std::uint16_t halves[piece];
        std::memcpy(halves, block.shared + offset, sizeof halves);
        float* place = target + (index - first) * extent_step + k * depth_step;
        for (int element = 0; element < piece; element++) place[element * (matrix.transposed() ? extent_step : depth_step)] = to_float(halves[element]);
    });
}

template <class Visit>
void registers_of(int columns, const Visit& visit) {
    for (int lane = 0; lane < 32; lane++)
        for (int index = 0; index < columns / 2; index++) {
            const Place place = d_place(lane, index % 4);
            visit(lane, index, place.row * columns + place.column + index / 4 * 8);
        }
}

// Takes the registers over: nobody may touch them while products are in flight.
FlyingAccumulator& take_accumulator(Warp& warp, void* const* arguments, const Issue& first) {
    FlyingAccumulator& accumulator = warp.accumulators[first.d];
    if (accumulator.products > 0) {
        if (accumulator.columns != first.columns)
            fail_current(CUDA_ERROR_LAUNCH_FAILED, "wgmma of another shape into registers that a product in flight accumulates into", first.site);
        return accumulator;
    }
    accumulator.columns = first.columns;
    accumulator.values.resize(static_cast<std::size_t>(rows * first.columns));
    const std::size_t bytes = static_cast<std::size_t>(first.columns / 2) * sizeof(float);
    std::uint64_t found = hash_seed;
    for (int lane = 0; lane < 32; lane++) {
        accumulator.registers[static_cast<std::size_t>(lane)] = static_cast<const Issue*>(arguments[lane])->d;
        found = hash(found, accumulator.registers[static_cast<std::size_t>(lane)], bytes);
    }
    const auto left = warp.finished_accumulators.find(first.d);
    const bool untouched = left != warp.finished_accumulators.end() && left->second == found && !first.a_in_registers;
    if (!warp.registers_fenced && !untouched)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "wgmma on registers that were written since its last wait, without a wgmma_fence in between", first.site);
    registers_of(first.columns, [&](int lane, int index, int place) {
        accumulator.values[static_cast<std::size_t>(place)] = accumulator.registers[static_cast<std::size_t>(lane)][index];
    });
    for (float* registers : accumulator.registers) std::memset(registers, 0xFF, bytes);
    return accumulator;
}

// A wait, which must name the registers of the products that end with it; `named` are those of the lane.
struct Wait {
    int newest, count;
    const void* const* named;
    const unsigned long* bytes;

    bool names(const void* registers) const {
        const auto address = reinterpret_cast<std::uintptr_t>(registers);
        for (int index = 0; index < count; index++) {
            const auto first = reinterpret_cast<std::uintptr_t>(named[index]);
            if (address >= first && address < first + bytes[index]) return true;
        }
        return false;
    }
};

constexpr const char* unnamed = "the wgmma_wait that ends this wgmma does not name its registers: a compiler may read or overwrite them before";
constexpr const char* written = "registers of a wgmma were written before the wait that covers it";

// Runs a product, in a wait or, with immediate completion, at once.
void run_product(Warp& warp, const WarpgroupProduct& product, const Wait* wait) {
    FlyingAccumulator& accumulator = warp.accumulators.at(product.accumulator);
    const Block& block = *warp.block;
    float a[rows][depth];
    std::vector<float> b(static_cast<std::size_t>(depth * product.columns));
    if (product.a_in_registers) {
        if (wait != nullptr && !wait->names(product.a_registers[0])) fail_current(CUDA_ERROR_LAUNCH_FAILED, unnamed, product.site);
        for (std::size_t lane = 0; wait != nullptr && lane < 32; lane++)
            if (!std::equal(product.a[lane].begin(), product.a[lane].end(), product.a_registers[lane]))
                fail_current(CUDA_ERROR_LAUNCH_FAILED, written, product.site);
        for (int lane = 0; lane < 32; lane++)
            for (int index = 0; index < 4; index++)
                for (int half = 0; half < 2; half++) {
                    const Place place = a_place(lane, index, half);
                    const unsigned pair = product.a[static_cast<std::size_t>(lane)][static_cast<std::size_t>(index)];
                    a[place.row][place.column] = to_float(static_cast<std::uint16_t>(half == 0 ? pair : pair >> 16));
                }
    } else {
        const SharedMatrix matrix(product.a_descriptor, product.transpose_a);
        load(matrix, first_row(warp), rows, block, &a[0][0], depth, 1);
        end_reads(matrix, first_row(warp), rows, block);
    }
    const SharedMatrix matrix(product.b_descriptor, product.transpose_b);
    load(matrix, 0, product.columns, block, b.data(), 1, product.columns);
    end_reads(matrix, 0, product.columns, block);
    if (!product.accumulate) std::fill(accumulator.values.begin(), accumulator.values.end(), 0.0f);
    multiply_add(&a[0][0], depth, b.data(), product.columns, accumulator.values.data(), product.columns, rows, product.columns, depth);
    if (configuration().warpgroup_rounding)
        for (float& value : accumulator.values) value = without_low_bits(value);
    if (--accumulator.products > 0) return;

    if (wait != nullptr && !wait->names(product.accumulator)) fail_current(CUDA_ERROR_LAUNCH_FAILED, unnamed, product.site);
    std::uint64_t left = hash_seed;
    registers_of(product.columns, [&](int lane, int index, int place) {
        float* target = accumulator.registers[static_cast<std::size_t>(lane)] + index;
        std::uint32_t bits;
        std::memcpy(&bits, target, sizeof bits);
        if (bits != poison)
            fail_current(CUDA_ERROR_LAUNCH_FAILED, written, product.site);
        *target = accumulator.values[static_cast<std::size_t>(place)];
    });
    for (const float* registers : accumulator.registers) left = hash(left, registers, static_cast<std::size_t>(product.columns / 2) * sizeof(float));
    warp.finished_accumulators[product.accumulator] = left;
    warp.accumulators.erase(product.accumulator);
}

// The four warps of a warpgroup must issue the same products in the same order.
void check_agreement(Warp& warp, const Issue& issue) {
    auto& log = warp.block->product_log[warp.first_thread / 128];
    const std::uint64_t words[] = {issue.a_in_registers ? 0 : issue.a_descriptor, issue.b_descriptor, static_cast<std::uint64_t>(issue.columns),
                                   static_cast<std::uint64_t>(issue.a_in_registers << 3 | issue.accumulate << 2 | issue.transpose_a << 1 | issue.transpose_b)};
    const std::uint64_t mine = hash(hash_seed, words, sizeof words);
    if (warp.products == log.size()) log.push_back(mine);
    else if (log[warp.products] != mine)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "the warps of a warpgroup do not agree: another one issued a wgmma with other matrices or shape in its place", issue.site);
    warp.products++;
}

void issue_product(void* const* arguments, std::uint32_t) {
    Warp& warp = *current_thread().warp;
    const Issue& first = *static_cast<const Issue*>(arguments[0]);
    for (int lane = 1; lane < 32; lane++) {
        const Issue& other = *static_cast<const Issue*>(arguments[lane]);
        if (other.a_descriptor != first.a_descriptor || other.b_descriptor != first.b_descriptor || other.accumulate != first.accumulate)
            fail_current(CUDA_ERROR_LAUNCH_FAILED, "the lanes of a warp give a wgmma different descriptors or accumulate flags", first.site);
    }
    const Block& block = *warp.block;
    if (warp.first_thread / 128 * 128 + 128 > block.threads)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "wgmma by a warp of an incomplete warpgroup: the block has " + std::to_string(block.threads) + " threads", first.site);
    for (const std::uint64_t descriptor : {first.a_descriptor, first.b_descriptor})
        if ((descriptor >> 49 & 7) != 0) fail_current(CUDA_ERROR_LAUNCH_FAILED, "a wgmma descriptor with a base offset, which is not emulated", first.site);
    check_agreement(warp, first);
    WarpgroupProduct product{first.columns, first.a_in_registers, first.transpose_a, first.transpose_b, first.accumulate,
                             first.a_descriptor, first.b_descriptor, {}, {}, first.d, first.site};
    for (std::size_t lane = 0; first.a_in_registers && lane < 32; lane++) {
        product.a_registers[lane] = static_cast<const Issue*>(arguments[lane])->a;
        std::copy_n(product.a_registers[lane], product.a[lane].size(), product.a[lane].begin());
    }
    if (!first.a_in_registers) begin_reads(SharedMatrix(first.a_descriptor, first.transpose_a), first_row(warp), rows, block, "a", first.site);
    begin_reads(SharedMatrix(first.b_descriptor, first.transpose_b), 0, first.columns, block, "b", first.site);
    take_accumulator(warp, arguments, first).products++;
    if (first_row(warp) == 0) this_worker->counters.warpgroup_instructions++;
    if (configuration().asynchronous_late) warp.open_products.push_back(product);
    else run_product(warp, product, nullptr);
}

void commit_products(void* const*, std::uint32_t) {
    Warp& warp = *current_thread().warp;
    warp.committed_products.push_back(std::move(warp.open_products));
    warp.open_products.clear();
}

void wait_for_products(void* const* arguments, std::uint32_t) {
    Warp& warp = *current_thread().warp;
    const Wait& wait = *static_cast<const Wait*>(arguments[0]);
    while (warp.committed_products.size() > static_cast<std::size_t>(wait.newest)) {
        for (const WarpgroupProduct& product : warp.committed_products.front()) run_product(warp, product, &wait);
        warp.committed_products.pop_front();
    }
    warp.registers_fenced = false;
}

void fence_registers(void* const*, std::uint32_t) { current_thread().warp->registers_fenced = true; }

}  // namespace

void finish_products(Warp& warp) {
    const WarpgroupProduct* pending = nullptr;
    for (const auto& group : warp.committed_products)
        if (!group.empty() && pending == nullptr) pending = &group.front();
    if (pending == nullptr && !warp.open_products.empty()) pending = &warp.open_products.front();
    if (pending != nullptr)
        fail_current(CUDA_ERROR_LAUNCH_FAILED, "the warp returned before this wgmma was done: no wgmma_wait covers it", pending->site);
    const Block& block = *warp.block;
    if (block.finished < block.threads) return;
    for (unsigned number = 0; number < block.warps; number++)
        if (block.first_warp[number].products != block.product_log[number / 4].size())
            fail_current(CUDA_ERROR_LAUNCH_FAILED, "the warps of a warpgroup do not agree: warp " + std::to_string(number) + " issued " +
                                                       std::to_string(block.first_warp[number].products) + " wgmma, another one " +
                                                       std::to_string(block.product_log[number / 4].size()), Site{});
}

}  // namespace simt

using namespace simt;

// `a` is null for a matrix in shared memory.
SIMT_EXPORT void simt_warpgroup_product(float* d, int columns, const unsigned* a, unsigned long long a_descriptor, unsigned long long b_descriptor,
                                        int accumulate, int transpose_a, int transpose_b) {
    Issue issue{d, columns, a, a != nullptr, transpose_a != 0, transpose_b != 0, accumulate != 0, a == nullptr ? a_descriptor : 0, b_descriptor,
                call_site(__builtin_return_address(0))};
    collective("wgmma", whole_warp, &issue, issue_product, issue.site);
}

SIMT_EXPORT void simt_warpgroup_fence() { collective("wgmma.fence", whole_warp, nullptr, fence_registers, call_site(__builtin_return_address(0))); }

SIMT_EXPORT void simt_warpgroup_commit() { collective("wgmma.commit_group", whole_warp, nullptr, commit_products, call_site(__builtin_return_address(0))); }

SIMT_EXPORT void simt_warpgroup_wait(int newest, const void* const* named, const unsigned long* bytes, int count) {
    Wait wait{newest, count, named, bytes};
    collective("wgmma.wait_group", whole_warp, &wait, wait_for_products, call_site(__builtin_return_address(0)));
}
