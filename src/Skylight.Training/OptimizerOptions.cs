using Skylight.Graphs;

namespace Skylight.Training;

/// <summary>What a trainer does with a step whose loss or gradients are not finite.</summary>
public enum NotFiniteStep
{
    /// <summary>
    /// It throws a <see cref="TrainingDivergedException"/> that names step and tensor; the parameters are as they were.
    /// </summary>
    Stop,

    /// <summary>
    /// It drops the gradients, leaves parameters and moments as they are, and counts the step: see
    /// <see cref="ModelTrainer.SkippedSteps"/>.
    /// </summary>
    Skip,
}

/// <summary>
/// AdamW with decoupled weight decay and clipping by global norm. The defaults are those of PyTorch, but for the decay,
/// which is 0.
/// </summary>
public sealed record OptimizerOptions
{
    /// <summary>Decay of the first moment, in [0, 1).</summary>
    public float Beta1 { get; init; } = 0.9f;

    /// <summary>Decay of the second moment, in [0, 1).</summary>
    public float Beta2 { get; init; } = 0.999f;

    /// <summary>Added to the root of the second moment.</summary>
    public float Epsilon { get; init; } = 1e-8f;

    /// <summary>
    /// Decoupled weight decay. Of matrices (embedding and head included) only, as is usual: norms, biases, positions,
    /// class token and layer scales have none unless
    /// <see cref="DecaysEveryParameter"/>.
    /// </summary>
    public float WeightDecay { get; init; }

    /// <summary>Whether <see cref="WeightDecay"/> is for every parameter.</summary>
    public bool DecaysEveryParameter { get; init; }

    /// <summary>Gradients are scaled down to this global norm; 0 for no clipping.</summary>
    public float MaximumGradientNorm { get; init; } = 1f;

    /// <summary>What is done with a step that is not finite.</summary>
    public NotFiniteStep NotFinite { get; init; }

    /// <summary>Whether a parameter's weights decay.</summary>
    internal bool Decays(PersistentTensor parameter) =>
        DecaysEveryParameter
            || (parameter.Type.Shape.Rank > 1 && parameter.Name.EndsWith(".weight", StringComparison.Ordinal));

    internal OptimizerOptions Validate()
    {
        if (!(WeightDecay >= 0) || !float.IsFinite(WeightDecay))
            throw new ArgumentException($"The weight decay must be a number from 0, not {WeightDecay}.");
        if (!(Epsilon >= 0) || !float.IsFinite(Epsilon))
            throw new ArgumentException($"Epsilon must be a number from 0, not {Epsilon}.");
        if (float.IsNaN(MaximumGradientNorm))
            throw new ArgumentException("The maximum gradient norm must be a number; 0 for no clipping.");
        return this;
    }
}

/// <summary>The learning rates of one step, by module. A single number is the rate of all of them.</summary>
/// <param name="Vision">Of the vision encoder.</param>
/// <param name="Connector">Of the connector.</param>
/// <param name="Language">Of the language model, embedding and head included.</param>
public readonly record struct LearningRates(float Vision, float Connector, float Language)
{
    /// <summary>One rate for every module.</summary>
    public static implicit operator LearningRates(float rate) => FromSingle(rate);

    /// <summary>One rate for every module.</summary>
    public static LearningRates FromSingle(float rate) => new(rate, rate, rate);

    /// <summary>Each rate multiplied: by what a schedule says of the step, for one.</summary>
    public LearningRates Times(float factor) => new(Vision * factor, Connector * factor, Language * factor);

    internal float Of(TrainableModules module) => module switch
    {
        TrainableModules.Vision => Vision,
        TrainableModules.Connector => Connector,
        _ => Language,
    };

    internal void Validate()
    {
        foreach ((string name, float rate) in ((string, float)[])[(nameof(Vision), Vision),
            (nameof(Connector), Connector), (nameof(Language), Language)])
        {
            if (!(rate >= 0) || !float.IsFinite(rate))
                throw new ArgumentException(
                    $"The learning rate of {name.ToLowerInvariant()} must be a number from 0, not {rate}.");
        }
    }
}
