// Losses of tokens, float32 in and out, every term and sum in double precision; the order of the sums depends on the number of tokens alone.
//   cross_entropy            loss = −Σ weight·logProbability
//   cross_entropy_gradient   dLogProbability = −weight·dLoss
//   policy_loss              the clipped loss of PPO and GRPO with an optional KL penalty: loss, clipped tokens, Σ weight·kl, max |log ratio|
//   policy_loss_gradient     dLogProbability
// Tokens of weight 0 are ignored, whatever they hold.
// Launch: the sums one block of 256 threads, thread i takes the tokens i, i + 256, …; the gradients 256 threads, one token each.
// FLOPs: about 20 per token and two exponentials. Bytes: every operand once (4 to 24 per token). Far below the launch's own time.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, sm_80 and sm_90a: no spills.
#include "common/shared.cuh"
#include "common/types.cuh"
#include "ptx/warp.cuh"

constexpr int threads = 256;

// Adds the threads' values in a tree; thread 0 has the sum. `values` holds one double per thread.
__device__ __forceinline__ double sum_of_block(double value, double* values) {
    values[threadIdx.x] = value;
    synchronize_block();
    for (int half = threads / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            values[threadIdx.x] += values[threadIdx.x + half];
        synchronize_block();
    }

    const double sum = values[0];
    synchronize_block();
    return sum;
}

// The larger of two; NaN stays.
__device__ __forceinline__ float larger(float a, float b) { return a != a || a > b ? a : b; }

extern "C" __global__ void __launch_bounds__(threads) cross_entropy(const float* log_probability, const float* weights, float* loss, int tokens) {
    SKYLIGHT_SHARED(memory);
    double sum = 0;
    for (int token = threadIdx.x; token < tokens; token += threads) {
        const double weight = weights[token];
        if (weight != 0)
            sum = fma(-weight, (double)log_probability[token], sum);
    }

    sum = sum_of_block(sum, reinterpret_cast<double*>(memory));
    if (threadIdx.x == 0)
        *loss = (float)sum;
}

extern "C" __global__ void __launch_bounds__(threads) cross_entropy_gradient(const float* weights, const float* loss_gradient, float* gradient, int tokens) {
    const int token = blockIdx.x * threads + threadIdx.x;
    if (token < tokens)
        gradient[token] = weights[token] * -*loss_gradient;
}

enum KlKind { kl_none, kl_k1, kl_k2, kl_k3 };

// The attributes of the loss.
struct PolicySettings {
    double lowest_ratio;
    double highest_ratio;
    double beta;
    double dual_clip;  // 0 for none
    int kl;
};

struct PolicyTerm {
    double loss;
    double kl;
    double log_ratio;
    double gradient;
    bool is_clipped;
};

__device__ __forceinline__ PolicySettings settings_of(float clip_low, float clip_high, int kl, float beta, float dual_clip) {
    return {1.0 - clip_low, 1.0 + clip_high, beta, dual_clip, kl};
}

__device__ __forceinline__ PolicyTerm term_of(const PolicySettings& settings, double log_probability, double old, double reference, double advantage) {
    PolicyTerm term;
    term.log_ratio = log_probability - old;
    const double ratio = exp(term.log_ratio), free = ratio * advantage;
    const double bounded = (ratio < settings.lowest_ratio ? settings.lowest_ratio : ratio > settings.highest_ratio ? settings.highest_ratio : ratio) * advantage;
    term.is_clipped = bounded < free;
    double objective = term.is_clipped ? bounded : free;
    if (settings.dual_clip > 0 && advantage < 0 && objective < settings.dual_clip * advantage) {
        objective = settings.dual_clip * advantage;
        term.is_clipped = true;
    }

    term.kl = 0;
    double kl_gradient = 0;
    if (settings.kl != kl_none) {
        const double difference = reference - log_probability;
        if (settings.kl == kl_k1) {
            term.kl = -difference;
            kl_gradient = 1;
        } else if (settings.kl == kl_k2) {
            term.kl = difference * difference / 2;
            kl_gradient = -difference;
        } else {
            const double exponential = exp(difference);
            term.kl = exponential - difference - 1;
            kl_gradient = 1 - exponential;
        }
    }

    term.loss = -objective + settings.beta * term.kl;
    term.gradient = (term.is_clipped ? 0 : -free) + settings.beta * kl_gradient;
    return term;
}

// Asking for one block only: else the compiler saves registers for more blocks than there are, and spills.
extern "C" __global__ void __launch_bounds__(threads, 1)
    policy_loss(const float* log_probability, const float* old, const float* reference, const float* advantages, const float* weights, float* loss,
                int* clipped_tokens, float* kl, float* largest_log_ratio, int tokens, float clip_low, float clip_high, int kl_kind, float beta,
                float dual_clip) {
    SKYLIGHT_SHARED(memory);
    double* values = reinterpret_cast<double*>(memory);
    const PolicySettings settings = settings_of(clip_low, clip_high, kl_kind, beta, dual_clip);
    double loss_sum = 0, kl_sum = 0;
    float largest = 0;
    int clipped = 0;
    for (int token = threadIdx.x; token < tokens; token += threads) {
        const double weight = weights[token];
        if (weight == 0)
            continue;
        const PolicyTerm term = term_of(settings, log_probability[token], old[token], reference[token], advantages[token]);
        loss_sum = fma(weight, term.loss, loss_sum);
        kl_sum = fma(weight, term.kl, kl_sum);
        largest = larger(fabsf((float)term.log_ratio), largest);
        clipped += term.is_clipped ? 1 : 0;
    }

    loss_sum = sum_of_block(loss_sum, values);
    kl_sum = sum_of_block(kl_sum, values);
    clipped = (int)sum_of_block(clipped, values);
    values[threadIdx.x] = largest;
    synchronize_block();
    if (threadIdx.x != 0)
        return;
    for (int other = 1; other < threads; other++)
        largest = larger((float)values[other], largest);
    *loss = (float)loss_sum;
    *clipped_tokens = clipped;
    *kl = (float)kl_sum;
    *largest_log_ratio = largest;
}

extern "C" __global__ void __launch_bounds__(threads)
    policy_loss_gradient(const float* log_probability, const float* old, const float* reference, const float* advantages, const float* weights,
                         const float* loss_gradient, float* gradient, int tokens, float clip_low, float clip_high, int kl_kind, float beta,
                         float dual_clip) {
    const int token = blockIdx.x * threads + threadIdx.x;
    if (token >= tokens)
        return;
    const double weight = weights[token];
    const PolicySettings settings = settings_of(clip_low, clip_high, kl_kind, beta, dual_clip);
    gradient[token] = weight == 0 ? 0.0f
                                  : (float)(*loss_gradient * weight * term_of(settings, log_probability[token], old[token], reference[token], advantages[token]).gradient);
}
