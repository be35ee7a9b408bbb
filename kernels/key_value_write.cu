// New keys and values into the pages of a cache.
//   k, v [tokens, heads·D] → caches [pages, heads, 32·D]: element d of a head's token at slot = page·32 + offset goes
//   to ((page·heads + head)·32 + offset)·D + d, for keys as for values: in one page and head, 32 rows of D.
// ELEMENT is float or bfloat16 (-D); WIDTH elements are one access; WIDTH divides D. Slot −1 skips a token; slots
// differ.
// Launch: 256 threads, each with one pack of k and the same of v. A slot outside of the cache is reported and skipped.
// FLOPs: none. Bytes: 4·tokens·heads·D·sizeof(T).
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// 18 / 18.
#include "common/places.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"

using T = ELEMENT;
constexpr int width = WIDTH;
constexpr int page_size = 32;

extern "C" __global__ void __launch_bounds__(256)
    key_value_write(const T* keys, const T* values, T* key_cache, T* value_cache, const int* slots, int tokens,
                    int heads, int dimension, int limit, Status* status, int tag) {
    grid_wait();
    grid_launch_dependents();
    const int columns = heads * dimension;
    const Place place = this_place<width>(tokens, columns);
    if (!place.inside)
        return;
    const int slot = slots[place.row];
    if (slot < 0 || slot >= limit) {
        if (slot != -1 && place.column == 0)
            report_status(status, tag, place.row, slot);
        return;
    }

    const int head = place.column / dimension;
    const int page = slot / page_size;
    const long long source = (long long)place.row * columns + place.column;
    const long long target = (((long long)page * heads + head) * page_size + slot % page_size) * dimension +
                             (place.column - head * dimension);
    store_pack<width>(key_cache + target, load_pack<width>(keys + source));
    store_pack<width>(value_cache + target, load_pack<width>(values + source));
}
