// Rows of a quantised weight, chosen by an index.
//   quantized_rows  y[i] = the values of row index[i] of table [limit, columns]; y [count, columns] is TARGET (float or
//                   bfloat16), rounded once
// The table is as common/quantized.cuh says. ALIGNED 1: columns is a multiple of 8. An index outside of [0, limit) is
// reported, and zeros are written.
// Launch: 256 threads, each with a chunk (16 bytes of codes) of a row; 64 bytes of shared memory where CODE_KIND is 2.
// FLOPs: none to speak of. Bytes: the chosen rows as they lie, and y.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, sm_80 and sm_90a: 27–32 registers, no spills.
#include "common/quantized.cuh"
#include "common/shared.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"
#include "ptx/warp.cuh"

extern "C" __global__ void __launch_bounds__(256)
    quantized_rows(const unsigned char* table, const int* index, TARGET* y, int count, int columns, int limit,
                   Status* status, int tag) {
    SKYLIGHT_SHARED(shared);
    float* const quantiles = reinterpret_cast<float*>(shared);
    if constexpr (CODE_KIND == 2) {
        store_quantiles(quantiles);
        synchronize_block();
    }

    grid_wait();
    grid_launch_dependents();

    const QuantizedWeight weight{table, limit, columns};
    const unsigned int chunks = (unsigned int)weight.chunks(), thread = blockIdx.x * 256u + threadIdx.x;
    const int i = (int)(thread / chunks), chunk = (int)(thread - (unsigned int)i * chunks);
    if (i >= count)
        return;
    const int row = index[i];
    const bool inside = row >= 0 && row < limit;
    if (!inside && chunk == 0)
        report_status(status, tag, i, row);
    const unsigned char* const panel = inside ? weight.panel(row) : table;
    const int output = row % panel_outputs;
    Pack<unsigned int, 4> codes = {};
    if (inside)
        codes = *reinterpret_cast<const Pack<unsigned int, 4>*>(panel + (chunk * panel_outputs + output) * 16LL);
    TARGET* const target = y + (long long)i * columns;
#pragma unroll
    for (int part = 0; part < chunk_inputs / 8; part++) {
        const int column = chunk * chunk_inputs + part * 8;
        if (column >= columns)
            break;
        float values[8] = {};
        if (inside) {
            const long long place = (long long)block_of(column) * panel_outputs + output;
            const BlockScale scale(panel + weight.scales_at() + place * scale_bytes,
                                   panel + weight.offsets_at() + place * offset_bytes);
            unsigned int words[chunk_words];
#pragma unroll
            for (int word = 0; word < chunk_words; word++)
                words[word] = codes.elements[part * chunk_words + word];
            dequantize(words, scale, quantiles, values);
        }

        Pack<TARGET, 8> pack;
#pragma unroll
        for (int element = 0; element < 8; element++)
            pack.set(element, values[element]);
        if constexpr (ALIGNED != 0) {
            store_pack<8>(target + column, pack);
        } else {
#pragma unroll
            for (int element = 0; element < 8; element++) {
                if (column + element < columns)
                    target[column + element] = pack.elements[element];
            }
        }
    }
}
