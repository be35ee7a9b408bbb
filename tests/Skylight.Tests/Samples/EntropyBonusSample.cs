using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Samples;

/// <summary>A host's own objective: cross-entropy that keeps distributions broad, −Σ weight·(log p + bonus·H).</summary>
/// <param name="Bonus">How much a nat of entropy is worth.</param>
public sealed record EntropyBonusObjective(float Bonus) : Objective(1f)
{
    /// <inheritdoc/>
    public override Value AppendLoss(ObjectiveGraph graph)
    {
        // CrossEntropy is −Σ weight·x, whatever x is; rows of weight 0 have no part in it.
        Value likelihood = graph.Graph.Add(new CrossEntropy(), graph.LogProbabilities, graph.Weights);
        Value entropy = graph.Graph.Add(new CrossEntropy(), graph.Entropies, graph.Weights);
        return graph.Graph.Add(new Add(), likelihood, graph.Graph.Add(new Scale(Bonus), entropy));
    }
}
