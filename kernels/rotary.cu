// Rotary position embedding (Su et al., 2021).
//   rotary_table       positions int32 [tokens] → table [tokens, D] float: cos, then sin, of position · theta^(−2i/D),
//                      i < D/2, times `scale`; where factor is not 0, frequencies are mixed with those divided by it,
//                      from place low to place high (YaRN)
//   rotary_embedding   of every head the pairs (x1, x2) = (x[i], x[i + D/2]): y1 = x1·cos − x2·sin, y2 = x2·cos +
//                      x1·sin; y may be x
//   qkv_split_rotary   qkv [tokens, (Hq + 2·Hkv)·D] → q, k rotated and v as it is, each a matrix of its own
//   qkv_merge_rotary   the transpose: dq, dk, dv (each may be null: zeros) → dqkv, rotated back
// ELEMENT is float or bfloat16 (-D), the table float. WIDTH elements are one access; WIDTH divides D/2.
//
// The table is what the CPU makes: the frequency and the angle are rounded to float where reference implementations
// round them, the rest is computed in double (reduction by multiples of π/2 in two parts, exact for every angle an
// int32 position can make; Taylor series on [−π/4, π/4], terms left out below 1e-16). A rotation is the same two fused
// multiply-adds in every kernel here.
//
// Launch: 256 threads. rotary_table: each one frequency of 8 neighbouring tokens; the others: each one pack of the
// first half of a head and the same of the second half. A negative position is reported, and its row is that of a
// negative angle.
// FLOPs: 6 per pair. Bytes: every operand once; the table is read again by every head, from cache.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, bfloat16, WIDTH 8: no spills; registers on sm_80 / sm_90a:
// rotary_table 32 / 64 (it calls pow), qkv_split_rotary 48 / 40, qkv_merge_rotary 40 / 40, rotary_embedding 32 / 32.
#include "common/places.cuh"
#include "common/status.cuh"
#include "ptx/grid.cuh"

using T = ELEMENT;
constexpr int width = WIDTH;
constexpr int table_rows = 8;

// Sine and cosine of a float angle below 2^31, right to about 1e-16 relative.
__device__ __forceinline__ void sine_cosine(float angle, float& sine, float& cosine) {
    const double quarter = rint((double)angle * 0.63661977236758134308);
    // π/2 = upper + lower; both products are exact inside of fma.
    double r = fma(-quarter, 1.57079632679489655800, (double)angle);
    r = fma(-quarter, 6.12323399573676603587e-17, r);
    const double square = r * r;
    double s = -1.0 / 1307674368000.0;
    s = fma(s, square, 1.0 / 6227020800.0);
    s = fma(s, square, -1.0 / 39916800.0);
    s = fma(s, square, 1.0 / 362880.0);
    s = fma(s, square, -1.0 / 5040.0);
    s = fma(s, square, 1.0 / 120.0);
    s = fma(s, square, -1.0 / 6.0);
    s = fma(s * square, r, r);
    double c = 1.0 / 20922789888000.0;
    c = fma(c, square, -1.0 / 87178291200.0);
    c = fma(c, square, 1.0 / 479001600.0);
    c = fma(c, square, -1.0 / 3628800.0);
    c = fma(c, square, 1.0 / 40320.0);
    c = fma(c, square, -1.0 / 720.0);
    c = fma(c, square, 1.0 / 24.0);
    c = fma(c, square, -0.5);
    c = fma(c, square, 1.0);
    const int turns = (int)((long long)quarter & 3);
    const double swapped_sine = turns & 1 ? c : s;
    const double swapped_cosine = turns & 1 ? s : c;
    sine = (float)(turns & 2 ? -swapped_sine : swapped_sine);
    cosine = (float)((turns + 1) & 2 ? -swapped_cosine : swapped_cosine);
}

extern "C" __global__ void __launch_bounds__(256)
    rotary_table(const int* positions, float* table, int tokens, int dimension, float theta, float factor, float low,
                 float high, float scale, Status* status, int tag) {
    const int half = dimension / 2;
    const Place place = this_place<1>(divide_up(tokens, table_rows), half);
    if (!place.inside)
        return;
    const int index = place.column;
    const float power = (float)pow((double)theta, (double)(2.0f * (float)index / (float)dimension));
    float frequency = 1.0f / power;
    if (factor != 0.0f) {
        // The operations of the CPU, none of them contracted.
        const float kept =
            __fadd_rn(1.0f, -fminf(fmaxf(__fadd_rn((float)index, -low) / __fadd_rn(high, -low), 0.0f), 1.0f));
        frequency =
            __fadd_rn(__fmul_rn(1.0f / __fmul_rn(factor, power), __fadd_rn(1.0f, -kept)), __fmul_rn(frequency, kept));
    }
    // Frequencies are of no other kernel's making.
    grid_wait();
    grid_launch_dependents();
    const int first = place.row * table_rows;
    for (int token = first; token < min(first + table_rows, tokens); token++) {
        const int position = positions[token];
        if (index == 0 && (position < 0 || position == 0x7FFFFFFF))
            report_status(status, tag, token, position);
        float sine, cosine;
        sine_cosine((float)position * frequency, sine, cosine);
        table[(long long)token * dimension + index] = cosine * scale;
        table[(long long)token * dimension + half + index] = sine * scale;
    }
}

// The two halves of a head that a thread has.
struct Pair {
    Pack<T, width> first;
    Pack<T, width> second;
};

__device__ __forceinline__ Pair load_pair(const T* first, int half) {
    return Pair{load_pack<width>(first), load_pack<width>(first + half)};
}

__device__ __forceinline__ void store_pair(T* first, int half, const Pair& pair) {
    store_pack<width>(first, pair.first);
    store_pack<width>(first + half, pair.second);
}

// `cosines` points to the cosine of the first element of the pack.
__device__ __forceinline__ Pair rotate(const Pair& x, const float* cosines, int half, float sign) {
    const Pack<float, width> cosine = load_pack<width>(cosines);
    const Pack<float, width> sine = load_pack<width>(cosines + half);
    Pair y;
#pragma unroll
    for (int i = 0; i < width; i++) {
        const float x1 = x.first.get(i), x2 = x.second.get(i), c = cosine.get(i), s = sign * sine.get(i);
        y.first.set(i, fmaf(x1, c, __fmul_rn(-x2, s)));
        y.second.set(i, fmaf(x2, c, __fmul_rn(x1, s)));
    }
    return y;
}

// Where the pair of a thread lies: head and element of the head's first half.
struct HeadPlace {
    long long token;
    int head;
    int element;
    bool inside;
};

__device__ __forceinline__ HeadPlace this_head_place(int tokens, int heads, int half) {
    const Place place = this_place<width>(tokens, heads * half);
    const int head = place.column / half;
    return HeadPlace{place.row, head, place.column - head * half, place.inside};
}

extern "C" __global__ void __launch_bounds__(256)
    rotary_embedding(const T* x, const float* table, T* y, int tokens, int heads, int dimension, float sign) {
    grid_wait();
    grid_launch_dependents();
    const int half = dimension / 2;
    const HeadPlace place = this_head_place(tokens, heads, half);
    if (!place.inside)
        return;
    const long long own = (place.token * heads + place.head) * dimension + place.element;
    store_pair(y + own, half,
               rotate(load_pair(x + own, half), table + place.token * dimension + place.element, half, sign));
}

extern "C" __global__ void __launch_bounds__(256)
    qkv_split_rotary(const T* qkv, const float* table, T* query, T* key, T* value, int tokens, int query_heads,
                     int key_heads, int dimension) {
    grid_wait();
    grid_launch_dependents();
    const int half = dimension / 2;
    const int heads = query_heads + 2 * key_heads;
    const HeadPlace place = this_head_place(tokens, heads, half);
    if (!place.inside)
        return;
    Pair pair = load_pair(qkv + (place.token * heads + place.head) * dimension + place.element, half);
    const int key_head = place.head - query_heads;
    if (key_head < key_heads)
        pair = rotate(pair, table + place.token * dimension + place.element, half, 1.0f);
    T* target;
    if (key_head < 0)
        target = query + (place.token * query_heads + place.head) * dimension;
    else if (key_head < key_heads)
        target = key + (place.token * key_heads + key_head) * dimension;
    else
        target = value + (place.token * key_heads + key_head - key_heads) * dimension;
    store_pair(target + place.element, half, pair);
}

extern "C" __global__ void __launch_bounds__(256)
    qkv_merge_rotary(const float* table, const T* query, const T* key, const T* value, T* qkv, int tokens,
                     int query_heads, int key_heads, int dimension) {
    const int half = dimension / 2;
    const int heads = query_heads + 2 * key_heads;
    const HeadPlace place = this_head_place(tokens, heads, half);
    if (!place.inside)
        return;
    const int key_head = place.head - query_heads;
    const T* matrix;
    long long row;
    if (key_head < 0) {
        matrix = query;
        row = place.token * query_heads + place.head;
    } else if (key_head < key_heads) {
        matrix = key;
        row = place.token * key_heads + key_head;
    } else {
        matrix = value;
        row = place.token * key_heads + key_head - key_heads;
    }

    Pair pair = Pair{zero_pack<T, width>(), zero_pack<T, width>()};
    if (matrix != nullptr) {
        pair = load_pair(matrix + row * dimension + place.element, half);
        if (key_head < key_heads)
            pair = rotate(pair, table + place.token * dimension + place.element, half, -1.0f);
    }
    store_pair(qkv + (place.token * heads + place.head) * dimension + place.element, half, pair);
}
