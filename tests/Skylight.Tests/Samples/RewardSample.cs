#region docs/rewards.md: a host
using Skylight.Training.Rewards;

public static class RewardSample
{
    // 0.8 · (rule or model) + 0.2 · format, as in the paper, and a penalty for overlong completions that is subtracted
    // from both.
    public static RewardSet Create(string endpoint) => new(
        [
            new RewardTerm(RewardCatalog.Create("verifier", new Dictionary<string, string>
            {
                ["endpoint"] = endpoint, ["model"] = "judge", ["key_variable"] = "JUDGE_KEY",
            }), weight: 0.8, name: "accuracy"),
            new RewardTerm(RewardCatalog.Create("format", new Dictionary<string, string>()), weight: 0.2),
            new RewardTerm(RewardCatalog.Create("length", new Dictionary<string, string> { ["buffer"] = "512" }), weight: 1),
        ],
        RewardFailure.Skip);

    public static async Task<string> JudgeAsync(RewardSet rewards, CancellationToken cancellationToken)
    {
        var request = new RewardRequest
        {
            Id = "train.jsonl:12",
            Question = "What is 7 + 5?",
            Answers = ["12"],
            PromptSuffix = "<think>\n",
            Completion = "7 + 5 = 12</think>It is a dozen.",
            Finished = true,
            TokenCount = 4000,
            MaximumTokens = 4096,
        };
        RewardBreakdown reward = (await rewards.ScoreAsync([request], cancellationToken))[0];
        return reward.IsSkipped ? $"skipped: {reward.Fault}"
            : $"{reward.Total:F4}: {string.Join(", ", reward.Components.Zip(reward.Values))}";
    }
}
#endregion
