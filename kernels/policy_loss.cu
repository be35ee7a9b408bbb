// Losses of tokens, float32 in and out, every term and sum in double precision; the order of the sums depends on the
// number of tokens alone.
//   cross_entropy            loss = −Σ weight·logProbability
//   cross_entropy_gradient   dLogProbability = −weight·dLoss
//   sequence_log_ratio       GSPO: the mean log ratio of each token's sequence, float64
//   policy_loss              the loss of policy gradients (all forms) with an optional KL penalty: loss, clipped
//                            tokens, Σ weight·kl, max |log ratio|
//   policy_loss_gradient     dLogProbability
//   sequence_policy_loss_gradient   the same where the ratio is a sequence's
// Tokens of weight 0 have no loss; where the ratio is the token's own, they may hold anything. A sequence is tokens
// next to each other with one number; those with a number below 0 are ignored.
// Launch: the sums one block of 256 threads, thread i takes the tokens i, i + 256, …; the gradients 256 threads, one
// token each. What is of sequences: one block for each token, of which those that begin a sequence work, thread i on
// its tokens i, i + 256, …
// FLOPs: about 20 per token and two exponentials. Bytes: every operand once (4 to 36 per token). Far below the launch's
// own time.
// Measured: nothing yet (no GPU has run it). NVRTC 12.4, sm_80 and sm_90a: no spills.
#include "common/shared.cuh"
#include "common/types.cuh"
#include "ptx/warp.cuh"

// Kernels with exponentials ask for one block only (threads, 1): else the compiler saves registers for more blocks than
// there are, and spills.
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

extern "C" __global__ void __launch_bounds__(threads)
    cross_entropy(const float* log_probability, const float* weights, float* loss, int tokens) {
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

extern "C" __global__ void __launch_bounds__(threads)
    cross_entropy_gradient(const float* weights, const float* loss_gradient, float* gradient, int tokens) {
    const int token = blockIdx.x * threads + threadIdx.x;
    if (token < tokens)
        gradient[token] = weights[token] * -*loss_gradient;
}

enum PolicyForm { form_clip, form_gspo, form_gspo_token, form_cispo, form_sapo, form_reinforce };

enum KlKind { kl_none, kl_k1, kl_k2, kl_k3 };

// The attributes of the loss.
struct PolicySettings {
    int form;
    int kl;
    double lowest_ratio;
    double highest_ratio;
    double beta;
    double dual_clip;  // 0 for none
    double sapo_positive;
    double sapo_negative;
};

// See PolicyTerm.cs: the derivative is in the logarithm of the ratio, or in log p where the ratio is held.
struct PolicyTerm {
    double loss;
    double gradient;
    double kl;
    double kl_gradient;
    bool is_clipped;
};

__device__ __forceinline__ PolicySettings settings_of(int form, float clip_low, float clip_high, int kl, float beta,
                                                      float dual_clip, float sapo_positive, float sapo_negative) {
    return {form, kl, 1.0 - clip_low, 1.0 + clip_high, beta, dual_clip, sapo_positive, sapo_negative};
}

__device__ __forceinline__ double bounded_ratio(const PolicySettings& settings, double ratio) {
    return ratio < settings.lowest_ratio    ? settings.lowest_ratio
           : ratio > settings.highest_ratio ? settings.highest_ratio
                                            : ratio;
}

__device__ __forceinline__ PolicyTerm term_of(const PolicySettings& settings, double log_probability, double log_ratio,
                                              double reference, double advantage) {
    PolicyTerm term = {0, 0, 0, 0, false};
    double objective, gradient;
    if (settings.form == form_reinforce) {
        objective = advantage * log_probability;
        gradient = advantage;
    } else {
        const double ratio = exp(log_ratio);
        if (settings.form == form_sapo) {
            const double temperature = advantage > 0 ? settings.sapo_positive : settings.sapo_negative,
                         at = temperature * (ratio - 1);
            const double gate = 1 / (1 + exp(-at)), rest = 1 / (1 + exp(at));
            objective = 4 / temperature * gate * advantage;
            gradient = rest == 0 ? 0 : 4 * gate * rest * ratio * advantage;
        } else if (settings.form == form_cispo) {
            const double bounded = bounded_ratio(settings, ratio);
            term.is_clipped = bounded != ratio;
            objective = bounded * advantage * log_probability;
            gradient = bounded * advantage;
        } else {
            const double free = ratio * advantage, bounded = bounded_ratio(settings, ratio) * advantage;
            term.is_clipped = bounded < free;
            objective = term.is_clipped ? bounded : free;
            if (settings.dual_clip > 0 && advantage < 0 && objective < settings.dual_clip * advantage) {
                objective = settings.dual_clip * advantage;
                term.is_clipped = true;
            }

            gradient = term.is_clipped ? 0 : free;
        }
    }

    if (settings.kl != kl_none) {
        const double difference = reference - log_probability;
        if (settings.kl == kl_k1) {
            term.kl = -difference;
            term.kl_gradient = 1;
        } else if (settings.kl == kl_k2) {
            term.kl = difference * difference / 2;
            term.kl_gradient = -difference;
        } else {
            const double exponential = exp(difference);
            term.kl = exponential - difference - 1;
            term.kl_gradient = 1 - exponential;
        }
    }

    term.loss = -objective;
    term.gradient = -gradient;
    return term;
}

// The number of the first token after the sequence that begins with a token. Every thread of the block has it.
__device__ __forceinline__ int end_of_sequence(const int* sequences, int first, int tokens, double* values) {
    int end = tokens;
    for (int token = first + threadIdx.x; token < tokens; token += threads) {
        if (sequences[token] != sequences[first]) {
            end = token;
            break;
        }
    }

    values[threadIdx.x] = end;
    synchronize_block();
    for (int half = threads / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && values[threadIdx.x + half] < values[threadIdx.x])
            values[threadIdx.x] = values[threadIdx.x + half];
        synchronize_block();
    }

    end = (int)values[0];
    synchronize_block();
    return end;
}

__device__ __forceinline__ bool begins_sequence(const int* sequences, int token) {
    return sequences[token] >= 0 && (token == 0 || sequences[token - 1] != sequences[token]);
}

__device__ __forceinline__ double mean_log_ratio(const float* log_probability, const float* old, int first, int end,
                                                 double* values) {
    double sum = 0;
    for (int token = first + threadIdx.x; token < end; token += threads)
        sum += (double)log_probability[token] - old[token];
    return sum_of_block(sum, values) / (end - first);
}

extern "C" __global__ void __launch_bounds__(threads)
    sequence_log_ratio(const float* log_probability, const float* old, const int* sequences, double* log_ratio,
                       int tokens) {
    SKYLIGHT_SHARED(memory);
    double* values = reinterpret_cast<double*>(memory);
    const int first = blockIdx.x;
    if (!begins_sequence(sequences, first))
        return;
    const int end = end_of_sequence(sequences, first, tokens, values);
    const double mean = mean_log_ratio(log_probability, old, first, end, values);
    for (int token = first + threadIdx.x; token < end; token += threads)
        log_ratio[token] = mean;
}

// `sequences` and `sequence_ratio` (from sequence_log_ratio) are null where the ratio is the token's own.
extern "C" __global__ void __launch_bounds__(threads, 1)
    policy_loss(const float* log_probability, const float* old, const float* reference, const float* advantages,
                const float* weights, const int* sequences, const double* sequence_ratio, float* loss,
                int* clipped_tokens, float* kl, float* largest_log_ratio, int tokens, int form, float clip_low,
                float clip_high, int kl_kind, float beta, float dual_clip, float sapo_positive, float sapo_negative) {
    SKYLIGHT_SHARED(memory);
    double* values = reinterpret_cast<double*>(memory);
    const PolicySettings settings =
        settings_of(form, clip_low, clip_high, kl_kind, beta, dual_clip, sapo_positive, sapo_negative);
    double loss_sum = 0, kl_sum = 0;
    float largest = 0;
    int clipped = 0;
    for (int token = threadIdx.x; token < tokens; token += threads) {
        const double weight = weights[token];
        if (weight == 0 || (sequences != nullptr && sequences[token] < 0))
            continue;
        const double own_ratio = (double)log_probability[token] - old[token];
        const PolicyTerm term =
            term_of(settings, log_probability[token], sequence_ratio != nullptr ? sequence_ratio[token] : own_ratio,
                    reference[token], advantages[token]);
        loss_sum = fma(weight, term.loss + settings.beta * term.kl, loss_sum);
        kl_sum = fma(weight, term.kl, kl_sum);
        largest = larger(fabsf((float)own_ratio), largest);
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

extern "C" __global__ void __launch_bounds__(threads, 1)
    policy_loss_gradient(const float* log_probability, const float* old, const float* reference,
                         const float* advantages, const float* weights, const float* loss_gradient, float* gradient,
                         int tokens, int form, float clip_low, float clip_high, int kl_kind, float beta,
                         float dual_clip, float sapo_positive, float sapo_negative) {
    const int token = blockIdx.x * threads + threadIdx.x;
    if (token >= tokens)
        return;
    const double weight = weights[token];
    const PolicySettings settings =
        settings_of(form, clip_low, clip_high, kl_kind, beta, dual_clip, sapo_positive, sapo_negative);
    if (weight == 0) {
        gradient[token] = 0;
        return;
    }

    const PolicyTerm term = term_of(settings, log_probability[token], (double)log_probability[token] - old[token],
                                    reference[token], advantages[token]);
    gradient[token] = (float)(*loss_gradient * weight * (term.gradient + settings.beta * term.kl_gradient));
}

// GSPO: every token of a sequence has an equal share of the gradient of its ratio. GSPO-token: each its own.
extern "C" __global__ void __launch_bounds__(threads, 1)
    sequence_policy_loss_gradient(const float* log_probability, const float* old, const float* reference,
                                  const float* advantages, const float* weights, const int* sequences,
                                  const float* loss_gradient, float* gradient, int tokens, int form, float clip_low,
                                  float clip_high, int kl_kind, float beta, float dual_clip, float sapo_positive,
                                  float sapo_negative) {
    SKYLIGHT_SHARED(memory);
    double* values = reinterpret_cast<double*>(memory);
    const PolicySettings settings =
        settings_of(form, clip_low, clip_high, kl_kind, beta, dual_clip, sapo_positive, sapo_negative);
    const int first = blockIdx.x;
    if (!begins_sequence(sequences, first)) {
        if (sequences[first] < 0 && threadIdx.x == 0)
            gradient[first] = 0;
        return;
    }

    const int end = end_of_sequence(sequences, first, tokens, values);
    const double log_ratio = mean_log_ratio(log_probability, old, first, end, values);
    double share = 0;
    if (settings.form == form_gspo) {
        for (int token = first + threadIdx.x; token < end; token += threads) {
            const double weight = weights[token];
            if (weight != 0)
                share = fma(
                    weight,
                    term_of(settings, log_probability[token], log_ratio, reference[token], advantages[token]).gradient,
                    share);
        }

        share = sum_of_block(share, values) / (end - first);
    }

    for (int token = first + threadIdx.x; token < end; token += threads) {
        const double weight = weights[token];
        double sum = share;
        if (weight != 0) {
            const PolicyTerm term =
                term_of(settings, log_probability[token], log_ratio, reference[token], advantages[token]);
            sum += weight * ((settings.form == form_gspo_token ? term.gradient : 0) + settings.beta * term.kl_gradient);
        }

        gradient[token] = (float)(*loss_gradient * sum);
    }
}
