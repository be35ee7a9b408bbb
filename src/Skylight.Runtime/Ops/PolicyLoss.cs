using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Estimators per token of the Kullback–Leibler divergence from a reference policy, with r = log p_ref − log p (Schulman, 2020).</summary>
public enum KlKind
{
    /// <summary>No penalty; the reference is not read.</summary>
    None,

    /// <summary>−r: unbiased, of any sign.</summary>
    K1,

    /// <summary>r²/2: biased, low variance.</summary>
    K2,

    /// <summary>e^r − r − 1: unbiased, never negative.</summary>
    K3,
}

/// <summary>
/// The clipped policy-gradient loss of PPO and GRPO with an optional KL penalty, all float32:
/// <c>(logProbability [T], oldLogProbability [T], referenceLogProbability [T], advantages [T], weights [T]) →
/// (loss [1], clippedTokens int32 [1], kl [1], maxAbsLogRatio [1])</c>.
/// With ρ = exp(logProbability − old): loss = Σ weight·(−min(ρ·A, clip(ρ, 1 − low, 1 + high)·A) + β·kl).
/// </summary>
/// <remarks>
/// clippedTokens counts tokens whose clipped term is strictly smaller (or whose dual clip acts), kl = Σ weight·kl, and
/// maxAbsLogRatio is the largest |logProbability − old|. Rows of weight 0 are ignored, whatever they hold. Sums run in double
/// precision in order. The gradient flows from the loss to logProbability only.
/// </remarks>
/// <param name="ClipLow">How far below 1 the ratio may go; in [0, 1].</param>
/// <param name="ClipHigh">How far above 1 the ratio may go; not negative.</param>
/// <param name="Kl">The estimator of the penalty.</param>
/// <param name="Beta">The weight of the penalty.</param>
/// <param name="DualClip">Where above 1: for negative advantages the objective is not less than DualClip·A (Ye et al., 2020). 0 for none.</param>
public sealed record PolicyLoss(float ClipLow, float ClipHigh, KlKind Kl, float Beta, float DualClip = 0) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs).Count(5);
        PolicyTerm.Check(check, this);
        return [TensorType.Float32(1), TensorType.Int32(1), TensorType.Float32(1), TensorType.Float32(1)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (context.OutputGradients[2] is not null || context.OutputGradients[3] is not null)
            throw new GraphException($"{Name}: only the loss (output 0) can be differentiated; the KL penalty's share is in it.");
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
        ReadOnlySpan<float> logProbability = arguments.InputFloat32(0), old = arguments.InputFloat32(1), reference = arguments.InputFloat32(2);
        ReadOnlySpan<float> advantages = arguments.InputFloat32(3), weights = arguments.InputFloat32(4);
        double loss = 0, kl = 0, largest = 0;
        int clipped = 0;
        for (int row = 0; row < weights.Length; row++)
        {
            if (weights[row] == 0)
                continue;
            var term = PolicyTerm.Of(this, logProbability[row], old[row], reference[row], advantages[row]);
            loss += weights[row] * term.Loss;
            kl += weights[row] * term.Kl;
            largest = Math.Max(largest, Math.Abs(term.LogRatio));
            clipped += term.IsClipped ? 1 : 0;
        }

        arguments.OutputFloat32(0)[0] = (float)loss;
        *(int*)arguments.OutputPointer(1) = clipped;
        arguments.OutputFloat32(2)[0] = (float)kl;
        arguments.OutputFloat32(3)[0] = (float)largest;
    }
}

/// <summary>
/// The gradient of <see cref="PolicyLoss"/>: <c>(its five inputs, dLoss [1]) → dLogProbability [T]</c>; zero for clipped
/// tokens' ratio term and for rows of weight 0.
/// </summary>
/// <param name="Forward">The forward op.</param>
public sealed record PolicyLossBackward(PolicyLoss Forward) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs).Count(6);
        PolicyTerm.Check(check, Forward);
        check.Is(5, "dLoss", DataType.Float32).Shape(5, "dLoss", 1);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(20.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments)
    {
        ReadOnlySpan<float> logProbability = arguments.InputFloat32(0), old = arguments.InputFloat32(1), reference = arguments.InputFloat32(2);
        ReadOnlySpan<float> advantages = arguments.InputFloat32(3), weights = arguments.InputFloat32(4);
        Span<float> gradient = arguments.OutputFloat32(0);
        double lossGradient = arguments.InputFloat32(5)[0];
        for (int row = 0; row < weights.Length; row++)
        {
            gradient[row] = weights[row] == 0
                ? 0
                : (float)(lossGradient * weights[row] * PolicyTerm.Of(Forward, logProbability[row], old[row], reference[row], advantages[row]).Gradient);
        }
    }
}

/// <summary>One token of the policy loss and its derivative, in double precision.</summary>
internal readonly record struct PolicyTerm(double Loss, double Kl, double LogRatio, bool IsClipped, double Gradient)
{
    public static PolicyTerm Of(PolicyLoss op, double logProbability, double old, double reference, double advantage)
    {
        double logRatio = logProbability - old, ratio = Math.Exp(logRatio);
        double free = ratio * advantage, bounded = Math.Clamp(ratio, 1.0 - op.ClipLow, 1.0 + op.ClipHigh) * advantage;
        bool isClipped = bounded < free;
        double objective = isClipped ? bounded : free;
        if (op.DualClip > 0 && advantage < 0 && objective < op.DualClip * advantage)
        {
            objective = op.DualClip * advantage;
            isClipped = true;
        }

        double kl = 0, klGradient = 0;
        if (op.Kl != KlKind.None)
        {
            double difference = reference - logProbability;
            (kl, klGradient) = op.Kl switch
            {
                KlKind.K1 => (-difference, 1),
                KlKind.K2 => (difference * difference / 2, -difference),
                // e^r − 1 without cancellation near zero would need expm1; double precision has digits to spare.
                _ => (Math.Exp(difference) - difference - 1, 1 - Math.Exp(difference)),
            };
        }

        double gradient = (isClipped ? 0 : -free) + op.Beta * klGradient;
        return new PolicyTerm(-objective + op.Beta * kl, kl, logRatio, isClipped, gradient);
    }

    /// <summary>Checks the five inputs and the attributes.</summary>
    public static void Check(TypeCheck check, PolicyLoss op)
    {
        check.Float32(0, "logProbability").Rank(0, "logProbability", 1)
            .That(op.ClipLow is >= 0 and <= 1 && op.ClipHigh >= 0, $"the clip range 1 − {op.ClipLow} … 1 + {op.ClipHigh} must contain 1 and nothing negative")
            .That(op.DualClip is 0 or > 1, $"the dual clip must be above 1, or 0 for none, not {op.DualClip}")
            .That(float.IsFinite(op.Beta) && Enum.IsDefined(op.Kl), "the KL penalty is not valid");
        ReadOnlySpan<string> names = ["logProbability", "oldLogProbability", "referenceLogProbability", "advantages", "weights"];
        for (int input = 1; input < names.Length; input++)
            check.Float32(input, names[input]).SameShape(input, names[input], 0, names[0]);
    }
}
