namespace Skylight.Training.Rewards;

/// <summary>What one completion earned.</summary>
/// <param name="Total">The weighted sum: what the policy is trained on.</param>
/// <param name="Accuracy">1 if the verifier accepted the answer, otherwise 0.</param>
/// <param name="Format">1 if the form was right and the completion ended, otherwise 0.</param>
public readonly record struct RewardBreakdown(double Total, double Accuracy, double Format);
