using Skylight.Ops;

namespace Skylight.Training.Objectives;

/// <summary>
/// The policy objectives of the literature, by the names that they go by: form, clip range, aggregation and advantage
/// scale, and nothing else.
/// </summary>
public static class GrpoPresets
{
    /// <summary>The presets by name; names are lower case with underscores.</summary>
    public static IReadOnlyDictionary<string, GrpoOptions> All { get; } = new Dictionary<string, GrpoOptions>
    {
        // DeepSeekMath, arXiv 2402.03300; the clip range is that of PPO, which the paper does not state.
        ["grpo"] = new(),

        // arXiv 2503.14476: clip-higher, every token counts the same. Its dynamic sampling is
        // GrpoOptions.ResampleAttempts, its penalty OverlongPenalty.
        ["dapo"] = new() { Objective = new PolicyObjective(0.2f, 0.28f), Aggregation = LossAggregation.TokenMean },

        // arXiv 2503.20783: neither the deviation nor a completion's own length divides. ConstantLength is the run's
        // most new tokens.
        ["dr_grpo"] = new() { Aggregation = LossAggregation.Constant, AdvantageScale = AdvantageScale.None },

        // arXiv 2507.18071, section 5.1.
        ["gspo"] = new() { Objective = new PolicyObjective(3e-4f, 4e-4f) { Form = PolicyForm.Gspo } },
        ["gspo_token"] = new() { Objective = new PolicyObjective(3e-4f, 4e-4f) { Form = PolicyForm.GspoToken } },

        // MiniMax-M1, arXiv 2506.13585: no bound below. The paper does not state the cap; 5 (1 + 4) is what is in use.
        ["cispo"] = new()
        {
            Objective = new PolicyObjective(1f, 4f) { Form = PolicyForm.Cispo },
            Aggregation = LossAggregation.TokenMean
        },

        // arXiv 2511.20347: temperatures 1 and 1.05.
        ["sapo"] = new() { Objective = new PolicyObjective { Form = PolicyForm.Sapo } },

        // arXiv 2501.03262, with the group's mean as baseline.
        ["reinforce_pp"] = new()
        {
            Objective = new PolicyObjective { Form = PolicyForm.Reinforce },
            Aggregation = LossAggregation.TokenMean,
            AdvantageScale = AdvantageScale.Batch
        },
    };
}
