using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// What of a token's ratio ρ = π/π_old and advantage A is made larger. "Held" means that no gradient flows through it.
/// </summary>
public enum PolicyForm
{
    /// <summary>
    /// min(ρA, clip(ρ)A): PPO and GRPO; DAPO and Dr. GRPO differ in clip range and weights (arXiv 2402.03300,
    /// 2503.14476, 2503.20783).
    /// </summary>
    Clip,

    /// <summary>
    /// As <see cref="Clip"/> with the ratio of the whole sequence, s = exp(mean log ρ), in the place of ρ: GSPO (arXiv
    /// 2507.18071).
    /// </summary>
    Gspo,

    /// <summary>
    /// The value of <see cref="Gspo"/>, of which each token gets its own gradient −weight·sA, s held: GSPO-token.
    /// </summary>
    GspoToken,

    /// <summary>
    /// clip(ρ)·A·log π with the clipped ratio held: CISPO (arXiv 2506.13585). A clip range below of 1 leaves the ratio
    /// free to fall.
    /// </summary>
    Cispo,

    /// <summary>
    /// (4/t)·sigmoid(t·(ρ − 1))·A with a temperature t for A above 0 and another one otherwise: SAPO (arXiv
    /// 2511.20347).
    /// </summary>
    Sapo,

    /// <summary>A·log π, without any ratio: REINFORCE, REINFORCE++ (arXiv 2501.03262).</summary>
    Reinforce,
}

/// <summary>
/// Estimators per token of the Kullback–Leibler divergence from a reference policy, with r = log p_ref − log p
/// (Schulman, 2020).
/// </summary>
public enum KlKind
{
    /// <summary>No penalty; the reference is not read.</summary>
    None,

    /// <summary>
    /// −r: unbiased, of any sign. As a part of a loss it does nothing but add noise: its gradient is that of log p,
    /// whose expectation under p is zero. It belongs into the reward, or into a figure to look at.
    /// </summary>
    K1,

    /// <summary>
    /// r²/2: biased, low variance; the only one whose gradient, on-policy, is that of the divergence in expectation.
    /// </summary>
    K2,

    /// <summary>e^r − r − 1: unbiased, never negative.</summary>
    K3,
}

/// <summary>
/// The loss of policy gradients in all their forms, with an optional KL penalty; float32 but for the sequences:
/// <c>(logProbability [T], oldLogProbability [T], referenceLogProbability [T], advantages [T], weights [T][, sequences
/// int32 [T]]) → (loss [1], clippedTokens int32 [1], kl [1], maxAbsLogRatio [1])</c>.
/// With ρ = exp(logProbability − old): loss = Σ weight·(−objective(ρ, A) + β·kl), the objective as
/// <see cref="PolicyForm"/> says.
/// </summary>
/// <remarks>
/// The forms of GSPO, and only they, take sequences: rows next to each other with the same number are one sequence,
/// rows with a number below 0 belong to none and are ignored. The ratio of a sequence is of all its rows, also of those
/// of weight 0. clippedTokens counts tokens whose clipped term is strictly smaller, or whose dual clip or (CISPO) cap
/// acts; kl = Σ weight·kl, and maxAbsLogRatio is the largest |logProbability − old| of a token. Rows of weight 0 have
/// no loss; in the forms without sequences they may hold anything. Sums run in double precision in order. The gradient
/// flows from the loss to logProbability only.
/// </remarks>
/// <param name="ClipLow">How far below 1 the ratio may go; in [0, 1]. Read by the clipped forms, CISPO among them.</param>
/// <param name="ClipHigh">How far above 1 the ratio may go; not negative. Read by the clipped forms, CISPO among
/// them.</param>
/// <param name="Kl">The estimator of the penalty.</param>
/// <param name="Beta">The weight of the penalty.</param>
/// <param name="DualClip">
/// Where above 1: for negative advantages the objective is not less than DualClip·A (Ye et al., 2020). 0 for none. For
/// the forms that take the smaller of two terms.
/// </param>
public sealed record PolicyLoss(float ClipLow, float ClipHigh, KlKind Kl, float Beta, float DualClip = 0) : Op, ICpuKernel
{
    /// <summary>What is made larger.</summary>
    public PolicyForm Form { get; init; }

    /// <summary>SAPO's temperature where the advantage is above 0.</summary>
    public float SapoPositive { get; init; } = 1f;

    /// <summary>
    /// SAPO's temperature elsewhere: steeper, because the gradient of a token made less likely spreads over the whole
    /// vocabulary.
    /// </summary>
    public float SapoNegative { get; init; } = 1.05f;

    /// <summary>Whether a ratio is that of a whole sequence, so that the op takes a sixth input.</summary>
    public bool TakesSequences => Form is PolicyForm.Gspo or PolicyForm.GspoToken;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        Check(new TypeCheck(this, inputs).Count(InputCount));
        return [TensorType.Float32(1), TensorType.Int32(1), TensorType.Float32(1), TensorType.Float32(1)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (context.OutputGradients[2] is not null || context.OutputGradients[3] is not null)
            throw new GraphException(
                $"{Name}: only the loss (output 0) can be differentiated; the KL penalty's share is in it.");
        Value?[] gradients = context.NoGradients();
        for (int input = 1; input < gradients.Length; input++)
        {
            if (context.Needs(input))
                throw new GraphException($"{Name}: only logProbability (input 0) has a gradient, not input {input}.");
        }

        gradients[0] = context.Graph.Add(new PolicyLossBackward(this), [.. context.Inputs, context.OutputGradient(0)]);
        return gradients;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(20.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        var rows = new PolicyRows(this, arguments);
        double loss = 0, kl = 0, largest = 0;
        int clipped = 0;
        for (int first = 0; first < rows.Count; first = rows.EndOf(first))
        {
            int end = rows.EndOf(first);
            double logRatio = rows.IsIgnored(first) ? 0 : rows.MeanLogRatio(first, end);
            for (int row = first; row < end; row++)
            {
                if (rows.IsIgnored(row) || rows.Weights[row] == 0)
                    continue;
                PolicyTerm term = rows.Term(row, logRatio);
                double weight = rows.Weights[row];
                loss += weight * (term.Loss + Beta * term.Kl);
                kl += weight * term.Kl;
                largest = Math.Max(largest, Math.Abs(rows.LogRatio(row)));
                clipped += term.IsClipped ? 1 : 0;
            }
        }

        arguments.OutputFloat32(0)[0] = (float)loss;
        *(int*)arguments.OutputPointer(1) = clipped;
        arguments.OutputFloat32(2)[0] = (float)kl;
        arguments.OutputFloat32(3)[0] = (float)largest;
    }

    internal int InputCount => TakesSequences ? 6 : 5;

    /// <summary>Checks the rows and the attributes.</summary>
    internal void Check(TypeCheck check)
    {
        check.Float32(0, "logProbability").Rank(0, "logProbability", 1)
            .That(Enum.IsDefined(Form), $"the form {Form} is not defined")
            .That(ClipLow is >= 0 and <= 1 && ClipHigh >= 0,
                $"the clip range 1 − {ClipLow} … 1 + {ClipHigh} must contain 1 and nothing negative")
            .That(DualClip is 0 or > 1, $"the dual clip must be above 1, or 0 for none, not {DualClip}")
            .That(DualClip == 0 || Form is PolicyForm.Clip || TakesSequences,
                $"{Form} takes no minimum that a dual clip of {DualClip} could bound: give it 0")
            .That(SapoPositive is > 0 and < float.PositiveInfinity && SapoNegative is > 0 and < float.PositiveInfinity,
                $"SAPO's temperatures must be above 0, not {SapoPositive} and {SapoNegative}")
            .That(float.IsFinite(Beta) && Enum.IsDefined(Kl), "the KL penalty is not valid");
        ReadOnlySpan<string> names = ["logProbability", "oldLogProbability", "referenceLogProbability", "advantages",
            "weights"];
        for (int input = 1; input < names.Length; input++)
            check.Float32(input, names[input]).SameShape(input, names[input], 0, names[0]);
        if (TakesSequences)
            check.Is(5, "sequences", DataType.Int32).SameShape(5, "sequences", 0, names[0]);
    }
}

/// <summary>
/// The gradient of <see cref="PolicyLoss"/>: <c>(its inputs, dLoss [1]) → dLogProbability [T]</c>. Zero for the clipped
/// term of clipped tokens and for what has no weight; in GSPO every row of a sequence has the same share, (Σ of the
/// sequence's weighted gradients in log s) / its length, for s is a mean.
/// </summary>
/// <param name="Forward">The forward op.</param>
public sealed record PolicyLossBackward(PolicyLoss Forward) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(Forward.InputCount + 1);
        Forward.Check(check);
        check.Is(Forward.InputCount, "dLoss", DataType.Float32).Shape(Forward.InputCount, "dLoss", 1);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(20.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments)
    {
        var rows = new PolicyRows(Forward, arguments);
        Span<float> gradient = arguments.OutputFloat32(0);
        double lossGradient = arguments.InputFloat32(Forward.InputCount)[0];
        for (int first = 0; first < rows.Count; first = rows.EndOf(first))
        {
            int end = rows.EndOf(first);
            if (rows.IsIgnored(first))
            {
                gradient[first..end].Clear();
                continue;
            }

            // Without sequences, a run is one token and its share its own gradient.
            double logRatio = rows.MeanLogRatio(first, end), share = 0;
            for (int row = first; row < end && Forward.Form != PolicyForm.GspoToken; row++)
                share += rows.Weights[row] == 0 ? 0 : rows.Weights[row] * rows.Term(row, logRatio).Gradient;
            share /= end - first;
            for (int row = first; row < end; row++)
            {
                double sum = share;
                if (rows.Weights[row] != 0)
                {
                    PolicyTerm term = rows.Term(row, logRatio);
                    sum += rows.Weights[row]
                        * ((Forward.Form == PolicyForm.GspoToken ? term.Gradient : 0) + Forward.Beta * term.KlGradient);
                }

                gradient[row] = (float)(lossGradient * sum);
            }
        }
    }
}
