namespace Skylight.Cli.Verify;

/// <summary>What a result is: it decides how the result is compared and how far it may be off.</summary>
internal enum ResultKind
{
    /// <summary>A tensor of the forward pass.</summary>
    Activation,

    /// <summary>Log-probabilities of tokens, nats.</summary>
    LogProbability,

    /// <summary>Entropies of tokens, nats.</summary>
    Entropy,

    /// <summary>Advantages of completions: computed on the host from rewards, on no device.</summary>
    Advantage,

    /// <summary>Tokens chosen greedily.</summary>
    GreedyTokens,

    /// <summary>Log-probabilities of a rollout, which are to be those of the training forward pass.</summary>
    Rollout,

    /// <summary>The gradient of a tensor on disk.</summary>
    Gradient,

    /// <summary>A tensor on disk after optimizer steps.</summary>
    Weight,

    /// <summary>A number: the loss.</summary>
    Loss,

    /// <summary>A number: the mean of entropies.</summary>
    MeanEntropy,

    /// <summary>A number: the global norm of all gradients.</summary>
    GradientNorm,

    /// <summary>A number: how many tokens were clipped.</summary>
    ClippedTokens,
}

/// <summary>One thing that a model computed while a dump was recomputed.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Group">The row of the table that it belongs to.</param>
/// <param name="Name">Its name, different for every result of a run.</param>
/// <param name="Values">Its elements.</param>
internal sealed record ModelResult(ResultKind Kind, string Group, string Name, float[] Values)
{
    /// <summary>What the dump calls it.</summary>
    public string DumpName { get; init; } = Name;

    /// <summary>
    /// What the same run computed in another way and must be equal; null where the reference is another run.
    /// </summary>
    public float[]? Twin { get; init; }
}
