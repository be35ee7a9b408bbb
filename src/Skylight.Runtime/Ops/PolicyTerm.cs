using Skylight.Cpu;

namespace Skylight.Ops;

/// <summary>
/// One token of the policy loss, in double precision: what <see cref="PolicyForm"/> and <see cref="KlKind"/> say, and
/// nothing else.
/// </summary>
/// <param name="Loss">−objective.</param>
/// <param name="Gradient">Its derivative in the logarithm of the ratio; in log p where the ratio is held or there is
/// none.</param>
/// <param name="IsClipped">Whether a bound acts.</param>
/// <param name="Kl">The divergence estimate.</param>
/// <param name="KlGradient">Its derivative in log p.</param>
internal readonly record struct PolicyTerm(double Loss, double Gradient, bool IsClipped, double Kl, double KlGradient)
{
    public static PolicyTerm Of(PolicyLoss op, double logProbability, double logRatio, double reference, double advantage)
    {
        (double objective, double gradient, bool isClipped) = op.Form switch
        {
            PolicyForm.Cispo => CappedRatio(op, logProbability, Math.Exp(logRatio), advantage),
            PolicyForm.Sapo => SoftGate(advantage > 0 ? op.SapoPositive : op.SapoNegative, Math.Exp(logRatio), advantage),
            PolicyForm.Reinforce => (advantage * logProbability, advantage, false),
            _ => Clipped(op, Math.Exp(logRatio), advantage),
        };
        (double kl, double klGradient) = op.Kl == KlKind.None ? (0, 0) : Divergence(op.Kl, reference - logProbability);
        return new PolicyTerm(-objective, -gradient, isClipped, kl, klGradient);
    }

    /// <summary>min(ρA, clip(ρ)A), and not below DualClip·A where A is negative.</summary>
    private static (double Objective, double Gradient, bool IsClipped) Clipped(PolicyLoss op, double ratio, double advantage)
    {
        double free = ratio * advantage, bounded = Bounded(op, ratio) * advantage;
        bool isClipped = bounded < free;
        double objective = isClipped ? bounded : free;
        if (op.DualClip > 0 && advantage < 0 && objective < op.DualClip * advantage)
            (objective, isClipped) = (op.DualClip * advantage, true);
        return (objective, isClipped ? 0 : free, isClipped);
    }

    /// <summary>clip(ρ)·A·log π; the ratio is held, so a clipped token has a gradient too.</summary>
    private static (double Objective, double Gradient, bool IsClipped) CappedRatio(PolicyLoss op, double logProbability,
        double ratio, double advantage)
    {
        double bounded = Bounded(op, ratio);
        return (bounded * advantage * logProbability, bounded * advantage, bounded != ratio);
    }

    /// <summary>
    /// (4/t)·σ·A with σ = sigmoid(t·(ρ − 1)), whose derivative in log ρ is 4·σ·(1 − σ)·ρ·A: A where ρ = 1, and nothing
    /// far from it.
    /// </summary>
    private static (double Objective, double Gradient, bool IsClipped) SoftGate(double temperature, double ratio,
        double advantage)
    {
        double at = temperature * (ratio - 1), gate = 1 / (1 + Math.Exp(-at)), rest = 1 / (1 + Math.Exp(at));
        // Far above 1 the rest is 0, also where the ratio itself overflows.
        return (4 / temperature * gate * advantage, rest == 0 ? 0 : 4 * gate * rest * ratio * advantage, false);
    }

    /// <summary>The estimate and its derivative in log p, of r = log p_ref − log p.</summary>
    private static (double Kl, double Gradient) Divergence(KlKind kind, double difference) => kind switch
    {
        KlKind.K1 => (-difference, 1),
        KlKind.K2 => (difference * difference / 2, -difference),
        // e^r − 1 without cancellation near zero would need expm1; double precision has digits to spare.
        _ => (Math.Exp(difference) - difference - 1, 1 - Math.Exp(difference)),
    };

    private static double Bounded(PolicyLoss op, double ratio) => Math.Clamp(ratio, 1.0 - op.ClipLow, 1.0 + op.ClipHigh);
}

/// <summary>
/// The rows of the policy loss in runs that have one ratio: sequences where the form takes them, else single tokens.
/// </summary>
internal readonly ref struct PolicyRows
{
    private readonly PolicyLoss _op;
    private readonly ReadOnlySpan<float> _logProbability;
    private readonly ReadOnlySpan<float> _old;
    private readonly ReadOnlySpan<float> _reference;
    private readonly ReadOnlySpan<float> _advantages;
    private readonly ReadOnlySpan<int> _sequences;

    public PolicyRows(PolicyLoss op, in CpuArguments arguments)
    {
        _op = op;
        _logProbability = arguments.InputFloat32(0);
        _old = arguments.InputFloat32(1);
        _reference = arguments.InputFloat32(2);
        _advantages = arguments.InputFloat32(3);
        Weights = arguments.InputFloat32(4);
        _sequences = op.TakesSequences ? arguments.InputInt32(5) : [];
    }

    public ReadOnlySpan<float> Weights { get; }

    public int Count => Weights.Length;

    /// <summary>Whether a run, which begins with a row, is ignored whatever it holds.</summary>
    public bool IsIgnored(int row) => _op.TakesSequences ? _sequences[row] < 0 : Weights[row] == 0;

    /// <summary>The row after the run that begins with a row.</summary>
    public int EndOf(int first)
    {
        int end = first + 1;
        while (_op.TakesSequences && end < Count && _sequences[end] == _sequences[first])
            end++;
        return end;
    }

    public double LogRatio(int row) => (double)_logProbability[row] - _old[row];

    /// <summary>The logarithm of the ratio of a run.</summary>
    public double MeanLogRatio(int first, int end)
    {
        double sum = 0;
        for (int row = first; row < end; row++)
            sum += LogRatio(row);
        return sum / (end - first);
    }

    public PolicyTerm Term(int row, double logRatio) =>
        PolicyTerm.Of(_op, _logProbability[row], logRatio, _reference[row], _advantages[row]);
}
