// The way into a vision transformer and out of it.
//   patch_gather                 pixels [B, C, H, W] → [B·(H/ph)·(W/pw), C·ph·pw], columns in the order (channel, y, x)
//   pixel_shuffle                hidden [B·(1 + gh·gw), h] → [B·gh·gw/4, 4h]: 2 × 2 patches side by side, the class
//                                token left out
//   pixel_shuffle_backward       its transpose; zero in the class tokens
//   add_class_token              y[image, 0] = class + positions[0], y[image, 1 + i] = patches[image, i] + positions[1
//                                + i]
//   add_class_token_backward     dpatches a copy, dclass and dpositions sums over the images in ascending order
//   bicubic_taps                 the four taps of every target position along one axis: Keys' kernel with a = −0.75,
//                                centres at half integers, taps beyond the border clamped to it, not antialiased
//   interpolate_positions        positions [1 + sh·sw, h] → [1 + th·tw, h]; the class token's row is copied
//   interpolate_positions_backward  its transpose: every source row adds its target patches in ascending order
// ELEMENT is the activations' type, POSITION that of positions (in interpolation: of what is read; what is written is
// float), CLASS that of the class token: float or bfloat16 (-D). WIDTH elements are one access; it divides the columns
// (patch_gather: pw).
// Launch: 256 threads, each with one pack of the output (add_class_token_backward: of dpositions).
// FLOPs: add_class_token one per element, interpolation 32, the others none. Bytes: every operand once; interpolation
// reads up to 16 rows for one, from cache.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// interpolate_positions_backward and add_class_token_backward 40 / 40, interpolate_positions 32 / 32, the others 16–26.
#include "common/places.cuh"

using T = ELEMENT;
constexpr int width = WIDTH;

extern "C" __global__ void __launch_bounds__(256)
    patch_gather(const T* pixels, T* patches, int rows, int channels, int image_height, int image_width,
                 int patch_height, int patch_width) {
    const int columns = channels * patch_height * patch_width;
    const Place place = this_place<width>(rows, columns);
    if (!place.inside)
        return;
    const int across = image_width / patch_width;
    const int per_image = across * (image_height / patch_height);
    const int image = place.row / per_image;
    const int patch = place.row - image * per_image;
    const int line = place.column / patch_width;  // channel·ph + y
    const int channel = line / patch_height;
    const int y = patch / across * patch_height + line - channel * patch_height;
    const int x = patch % across * patch_width + place.column - line * patch_width;
    const T* const source = pixels + (((long long)image * channels + channel) * image_height + y) * image_width + x;
    store_pack<width>(patches + (long long)place.row * columns + place.column, load_pack<width>(source));
}

extern "C" __global__ void __launch_bounds__(256)
    pixel_shuffle(const T* hidden, T* tokens, int rows, int columns, int grid_height, int grid_width) {
    const Place place = this_place<width>(rows, 4 * columns);
    if (!place.inside)
        return;
    const int per_image = grid_height * grid_width / 4;
    const int image = place.row / per_image;
    const int token = place.row - image * per_image;
    const int quarter = place.column / columns;
    const int y = token / (grid_width / 2) * 2 + quarter / 2;
    const int x = token % (grid_width / 2) * 2 + quarter % 2;
    const long long source = (long long)image * (1 + grid_height * grid_width) + 1 + y * grid_width + x;
    store_pack<width>(tokens + (long long)place.row * 4 * columns + place.column,
                      load_pack<width>(hidden + source * columns + place.column - quarter * columns));
}

extern "C" __global__ void __launch_bounds__(256)
    pixel_shuffle_backward(const T* dy, T* result, int rows, int columns, int grid_height, int grid_width) {
    const Place place = this_place<width>(rows, columns);
    if (!place.inside)
        return;
    const int per_image = 1 + grid_height * grid_width;
    const int image = place.row / per_image;
    const int patch = place.row - image * per_image - 1;
    Pack<T, width> pack = zero_pack<T, width>();
    if (patch >= 0) {
        const int y = patch / grid_width;
        const int x = patch - y * grid_width;
        const long long token = (long long)image * (grid_height * grid_width / 4) + y / 2 * (grid_width / 2) + x / 2;
        pack = load_pack<width>(dy + (token * 4 + y % 2 * 2 + x % 2) * columns + place.column);
    }
    store_pack<width>(result + (long long)place.row * columns + place.column, pack);
}

extern "C" __global__ void __launch_bounds__(256)
    add_class_token(const T* patches, const CLASS* class_token, const POSITION* positions, T* y, int rows, int columns,
                    int tokens) {
    const Place place = this_place<width>(rows, columns);
    if (!place.inside)
        return;
    const int image = place.row / tokens;
    const int token = place.row - image * tokens;
    const Pack<POSITION, width> position = load_pack<width>(positions + (long long)token * columns + place.column);
    Pack<T, width> result;
    if (token == 0) {
        const Pack<CLASS, width> source = load_pack<width>(class_token + place.column);
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, source.get(i) + position.get(i));
    } else {
        const Pack<T, width> source =
            load_pack<width>(patches + ((long long)place.row - image - 1) * columns + place.column);
#pragma unroll
        for (int i = 0; i < width; i++)
            result.set(i, source.get(i) + position.get(i));
    }
    store_pack<width>(y + (long long)place.row * columns + place.column, result);
}

extern "C" __global__ void __launch_bounds__(256)
    add_class_token_backward(const T* dy, T* patches, float* class_token, float* positions, int images, int columns,
                             int tokens) {
    const Place place = this_place<width>(tokens, columns);
    if (!place.inside)
        return;
    Pack<float, width> sum = zero_pack<float, width>();
    for (int image = 0; image < images; image++) {
        const Pack<T, width> gradient =
            load_pack<width>(dy + ((long long)image * tokens + place.row) * columns + place.column);
#pragma unroll
        for (int i = 0; i < width; i++)
            sum.set(i, sum.get(i) + gradient.get(i));
        if (place.row > 0)
            store_pack<width>(patches + ((long long)image * (tokens - 1) + place.row - 1) * columns + place.column,
                              gradient);
    }

    store_pack<width>(positions + (long long)place.row * columns + place.column, sum);
    if (place.row == 0)
        store_pack<width>(class_token + place.column, sum);
}

// The taps of one target position along one axis. A tap of weight zero is none: on an equal grid everything is copied
// exactly.
struct alignas(16) Taps {
    int index[4];
    float weight[4];
};

constexpr double keys_a = -0.75;

__device__ __forceinline__ double inner_weight(double x) { return ((keys_a + 2) * x - (keys_a + 3)) * x * x + 1; }

__device__ __forceinline__ double outer_weight(double x) {
    return ((keys_a * x - 5 * keys_a) * x + 8 * keys_a) * x - 4 * keys_a;
}

extern "C" __global__ void __launch_bounds__(256) bicubic_taps(Taps* taps, int source, int target) {
    const int position = blockIdx.x * 256 + threadIdx.x;
    if (position >= target)
        return;
    const double real = (double)source / target * (position + 0.5) - 0.5;
    const double lower = floor(real);
    const double t = real - lower;
    const double weights[4] = {outer_weight(t + 1), inner_weight(t), inner_weight(1 - t), outer_weight(2 - t)};
    Taps result;
#pragma unroll
    for (int tap = 0; tap < 4; tap++) {
        result.index[tap] = min(max((int)lower - 1 + tap, 0), source - 1);
        result.weight[tap] = (float)weights[tap];
    }
    taps[position] = result;
}

template <int count>
__device__ __forceinline__ void add_weighted(float* sum, const POSITION* source, float weight) {
    const Pack<POSITION, count> pack = load_pack<count>(source);
#pragma unroll
    for (int i = 0; i < count; i++)
        sum[i] = fmaf(pack.get(i), weight, sum[i]);
}

__device__ __forceinline__ void store_sum(float* target, const float* sum) {
    Pack<float, width> pack;
#pragma unroll
    for (int i = 0; i < width; i++)
        pack.set(i, sum[i]);
    store_pack<width>(target, pack);
}

extern "C" __global__ void __launch_bounds__(256)
    interpolate_positions(const POSITION* table, const Taps* lines, const Taps* places, float* y, int columns,
                          int source_width, int target_height, int target_width) {
    const Place place = this_place<width>(1 + target_height * target_width, columns);
    if (!place.inside)
        return;
    float sum[width] = {};
    if (place.row == 0) {
        add_weighted<width>(sum, table + place.column, 1.0f);
    } else {
        const Taps* const line = lines + (place.row - 1) / target_width;
        const Taps* const across = places + (place.row - 1) % target_width;
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float vertical = line->weight[i], horizontal = across->weight[j];
                if (vertical != 0.0f && horizontal != 0.0f)
                    add_weighted<width>(
                        sum,
                        table + (1 + (long long)line->index[i] * source_width + across->index[j]) * columns +
                            place.column,
                        vertical * horizontal);
            }
        }
    }
    store_sum(y + (long long)place.row * columns + place.column, sum);
}

// Bit i: whether tap i reads the source position.
__device__ __forceinline__ int reading_taps(const Taps* taps, int source) {
    int mask = 0;
#pragma unroll
    for (int tap = 0; tap < 4; tap++)
        mask |= (taps->index[tap] == source && taps->weight[tap] != 0.0f) << tap;
    return mask;
}

extern "C" __global__ void __launch_bounds__(256)
    interpolate_positions_backward(const POSITION* dy, const Taps* lines, const Taps* places, float* result,
                                   int columns, int source_height, int source_width, int target_height,
                                   int target_width) {
    const Place place = this_place<width>(1 + source_height * source_width, columns);
    if (!place.inside)
        return;
    float sum[width] = {};
    if (place.row == 0) {
        add_weighted<width>(sum, dy + place.column, 1.0f);
    } else {
        const int source_y = (place.row - 1) / source_width;
        const int source_x = (place.row - 1) - source_y * source_width;
        for (int y = 0; y < target_height; y++) {
            const int vertical = reading_taps(lines + y, source_y);
            for (int x = 0; vertical != 0 && x < target_width; x++) {
                const int horizontal = reading_taps(places + x, source_x);
                for (int pair = 0; horizontal != 0 && pair < 16; pair++) {
                    const int i = pair / 4, j = pair % 4;
                    if ((vertical >> i & 1) != 0 && (horizontal >> j & 1) != 0)
                        add_weighted<width>(sum, dy + (1 + (long long)y * target_width + x) * columns + place.column,
                                            lines[y].weight[i] * places[x].weight[j]);
                }
            }
        }
    }
    store_sum(result + (long long)place.row * columns + place.column, sum);
}
