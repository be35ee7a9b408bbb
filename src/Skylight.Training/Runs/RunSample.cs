namespace Skylight.Training.Runs;

/// <summary>A completion that a step was trained on, as samples.jsonl keeps it.</summary>
/// <param name="Step">The step.</param>
/// <param name="Id">The row it belongs to: file and row.</param>
/// <param name="Prompt">The question.</param>
/// <param name="Completion">What the model wrote.</param>
/// <param name="Rewards">Each component's value, and the total as <c>total</c>.</param>
/// <param name="Advantage">How much better than its group it is.</param>
/// <param name="Tokens">Its length.</param>
/// <param name="Finished">Whether the model ended it.</param>
public sealed record RunSample(
    int Step, string Id, string Prompt, string Completion, IReadOnlyList<(string Name, double Value)> Rewards,
    double Advantage, int Tokens, bool Finished);
