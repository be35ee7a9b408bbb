using Skylight.Graphs;
using Skylight.Ops;

namespace Skylight.Training.Objectives;

/// <summary>
/// What a training step minimises. A host derives its own: <see cref="AppendLoss"/> writes the loss into the graph of
/// the pass, in ops that have a gradient, and everything else (packing, backward pass, optimizer) is the library's.
/// </summary>
/// <remarks>
/// Planned passes are kept by objective: a derived record with attributes must compare by them, as records do.
/// </remarks>
/// <param name="Temperature">Divides the logits before the softmax; above 0.</param>
public abstract record Objective(float Temperature)
{
    /// <summary>Appends the loss over the rows of a pass, one for each completion token.</summary>
    /// <param name="graph">Log-probabilities, entropies and weights of the rows, and inputs for what else samples
    /// bring.</param>
    /// <returns>The loss, float32 [1]: a sum over rows, in which rows of weight 0 (padding among them) have no part.
    /// Micro-batches add up.</returns>
    public abstract Value AppendLoss(ObjectiveGraph graph);

    /// <summary>Refuses a sample that lacks what the loss needs. Called for all samples before the first is run.</summary>
    /// <param name="sample">The sample.</param>
    /// <exception cref="ArgumentException">It lacks something; the message names it.</exception>
    public virtual void Check(TrainingSample sample)
    {
    }
}

/// <summary>Cross-entropy: −Σ weight · log p. Supervised tuning.</summary>
public sealed record CrossEntropyObjective() : Objective(1f)
{
    /// <inheritdoc/>
    public override Value AppendLoss(ObjectiveGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        return graph.Graph.Add(new CrossEntropy(), graph.LogProbabilities, graph.Weights);
    }
}
