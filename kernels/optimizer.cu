// The optimizer step.
//   adamw          One step of Adam with decoupled weight decay on `count` elements in any storage order. gradient,
//                  first, second and master float; weight WEIGHT (float or bfloat16, -D), with float the master itself
//                  (master is null), else its rounded copy.
//                  hyper = (learning rate, weight decay, 1 − β1^t, 1 − β2^t). With g = gradient · gradient_scale:
//                  w ← w·(1 − lr·decay); m += (1 − β1)(g − m); v = β2·v + (1 − β2)·g²; w −= lr/(1 − β1^t) · m / (√v/√(1
//                  − β2^t) + epsilon).
//                  A gradient_scale that is not finite leaves everything as it is.
//   square_sums    partial[b] = Σ x² in double over the 16384 elements of block b, for up to 8 tensors at once: their
//                  blocks follow each other.
//   gradient_norm  From all partial sums: norm = √Σ, scale = min(1, maximum/(norm + 1e-6)) (1 for maximum ≤ 0),
//                  is_finite. Where the norm is not finite as a float, scale is NaN, so that adamw does nothing.
// Launch: adamw 256 threads with 4 elements each. square_sums 256 threads, one block for 16384 elements; gradient_norm
// one block of 1024.
// Both need BlockSum::bytes of shared memory. The order of the sums depends on the tensors' sizes alone.
// FLOPs: 14 and 2 per element. Bytes: adamw 28·n (float) or 30·n (bfloat16 weight), square_sums 4·n.
// Measured: nothing yet (no GPU has run it).
// NVRTC 12.4, sm_80 and sm_90a: adamw at most 43 registers, square_sums 40, gradient_norm 30, no spills.
#include "common/reduce.cuh"
#include "common/shared.cuh"

struct AdamStep {
    float scale, keep, first_rate, second_decay, second_rate, correction, epsilon, rate;

    __device__ __forceinline__ void apply(float gradient, float& weight, float& first, float& second) const {
        const float g = gradient * scale;
        first += (g - first) * first_rate;
        second = second * second_decay + g * g * second_rate;
        weight = weight * keep - first / (sqrtf(second) / correction + epsilon) * rate;
    }
};

extern "C" __global__ void __launch_bounds__(256)
    adamw(WEIGHT* weight, const float* gradient, float* first, float* second, const float* hyper,
          const float* gradient_scale, float* master, long long count, float first_rate, float second_decay,
          float second_rate, float epsilon) {
    constexpr int width = 4;
    const float scale = *gradient_scale;
    if (!isfinite(scale))
        return;
    // fmaf: the product is not rounded, as on the CPU, which computes this in double precision.
    const AdamStep step{scale,       fmaf(-hyper[0], hyper[1], 1.0f),
                        first_rate,  second_decay,
                        second_rate, sqrtf(hyper[3]),
                        epsilon,     hyper[0] / hyper[2]};
    float* exact = sizeof(WEIGHT) == sizeof(float) ? reinterpret_cast<float*>(weight) : master;
    const long long begin = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * width;
    const bool whole = begin + width <= count;
    Pack<float, width> g{}, w{}, m{}, v{};
    if (whole) {
        g = load_pack<width>(gradient + begin);
        w = load_pack<width>(exact + begin);
        m = load_pack<width>(first + begin);
        v = load_pack<width>(second + begin);
    } else {
#pragma unroll
        for (int e = 0; e < width; e++) {
            if (begin + e < count) {
                g.elements[e] = gradient[begin + e];
                w.elements[e] = exact[begin + e];
                m.elements[e] = first[begin + e];
                v.elements[e] = second[begin + e];
            }
        }
    }
#pragma unroll
    for (int e = 0; e < width; e++)
        step.apply(g.elements[e], w.elements[e], m.elements[e], v.elements[e]);
    if (whole) {
        store_pack<width>(first + begin, m);
        store_pack<width>(second + begin, v);
        store_pack<width>(exact + begin, w);
        if (sizeof(WEIGHT) != sizeof(float)) {
            Pack<WEIGHT, width> rounded;
#pragma unroll
            for (int e = 0; e < width; e++)
                rounded.set(e, w.elements[e]);
            store_pack<width>(weight + begin, rounded);
        }
        return;
    }

#pragma unroll
    for (int e = 0; e < width; e++) {
        if (begin + e < count) {
            first[begin + e] = m.elements[e];
            second[begin + e] = v.elements[e];
            exact[begin + e] = w.elements[e];
            weight[begin + e] = from_float<WEIGHT>(w.elements[e]);
        }
    }
}

// One of several tensors whose blocks follow each other. True when block `block` is one of its own; else `block`
// becomes its number among the blocks of those that follow.
__device__ __forceinline__ bool find_block(const float* tensor, long long count, int span, long long& block,
                                           const float*& x, long long& elements) {
    const long long blocks = (count + span - 1) / span;
    if (block < blocks) {
        x = tensor;
        elements = count;
        return true;
    }
    block -= blocks;
    return false;
}

extern "C" __global__ void __launch_bounds__(256)
    square_sums(double* partial, const float* x0, long long n0, const float* x1, long long n1, const float* x2,
                long long n2, const float* x3, long long n3, const float* x4, long long n4, const float* x5,
                long long n5, const float* x6, long long n6, const float* x7, long long n7) {
    constexpr int threads = 256, width = 4, span = 16384;
    SKYLIGHT_SHARED(shared);
    BlockSum<threads, double> total(shared);
    long long block = blockIdx.x, count = 0;
    const float* x = nullptr;
    if (!find_block(x0, n0, span, block, x, count) && !find_block(x1, n1, span, block, x, count) &&
        !find_block(x2, n2, span, block, x, count) && !find_block(x3, n3, span, block, x, count) &&
        !find_block(x4, n4, span, block, x, count) && !find_block(x5, n5, span, block, x, count) &&
        !find_block(x6, n6, span, block, x, count))
        find_block(x7, n7, span, block, x, count);
    const long long begin = block * span, end = min(begin + span, count);
    double sum = 0;
#pragma unroll 4
    for (long long first = begin + threadIdx.x * width; first < end; first += threads * width) {
        if (first + width <= end) {
            const Pack<float, width> pack = load_pack<width>(x + first);
#pragma unroll
            for (int e = 0; e < width; e++)
                sum += (double)pack.elements[e] * pack.elements[e];
        } else {
            for (long long i = first; i < end; i++)
                sum += (double)x[i] * x[i];
        }
    }
    sum = total.one(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(1024)
    gradient_norm(const double* partial, int count, float maximum, float* norm, float* scale, int* is_finite) {
    constexpr int threads = 1024;
    SKYLIGHT_SHARED(shared);
    BlockSum<threads, double> total(shared);
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += threads)
        sum += partial[i];
    sum = total.one(sum);
    if (threadIdx.x == 0) {
        const double length = sqrt(sum);
        const bool finite = isfinite((float)length);
        *norm = (float)length;
        *scale = !finite ? __int_as_float(0x7FC00000) : maximum > 0 ? (float)min(1.0, maximum / (length + 1e-6)) : 1.0f;
        *is_finite = finite ? 1 : 0;
    }
}
