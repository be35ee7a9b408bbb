using Skylight.Cpu;
using Skylight.Graphs;

namespace Skylight.Ops;

/// <summary>The five outputs per row that <see cref="VocabularyHead"/> and <see cref="LogProbabilities"/> share.</summary>
internal readonly unsafe struct HeadOutputs(in CpuArguments arguments)
{
    private readonly float* _logProbability = arguments.OutputPointer(0);
    private readonly float* _entropy = arguments.OutputPointer(1);
    private readonly float* _logSumExp = arguments.OutputPointer(2);
    private readonly float* _maximum = arguments.OutputPointer(3);
    private readonly float* _logSum = arguments.OutputPointer(4);

    /// <summary>Zero for all rows.</summary>
    public void Clear(int rows)
    {
        new Span<float>(_logProbability, rows).Clear();
        new Span<float>(_entropy, rows).Clear();
        new Span<float>(_logSumExp, rows).Clear();
        new Span<float>(_maximum, rows).Clear();
        new Span<float>(_logSum, rows).Clear();
    }

    /// <summary>Writes a row.</summary>
    public void Write(int row, float targetLogit, float temperature, RowStatistics statistics)
    {
        _logProbability[row] = VocabularyCore.LogProbability(targetLogit, temperature, statistics.Maximum,
            statistics.LogSum);
        _entropy[row] = statistics.Entropy;
        _logSumExp[row] = statistics.Maximum + statistics.LogSum;
        _maximum[row] = statistics.Maximum;
        _logSum[row] = statistics.LogSum;
    }
}

/// <summary>
/// What the backward ops of the two heads read per row, from the inputs (maximum, logSum, [entropy], [dLogProbability],
/// [dEntropy]).
/// </summary>
internal readonly unsafe struct HeadGradients
{
    private readonly float* _maximum;
    private readonly float* _logSum;
    private readonly float* _entropy;
    private readonly float* _logProbabilityGradient;
    private readonly float* _entropyGradient;
    private readonly float _temperature;

    public HeadGradients(in CpuArguments arguments, int firstInput, float temperature, bool hasLogProbability,
        bool hasEntropy)
    {
        _temperature = temperature;
        _maximum = arguments.InputPointer(firstInput++);
        _logSum = arguments.InputPointer(firstInput++);
        if (hasEntropy)
            _entropy = arguments.InputPointer(firstInput++);
        if (hasLogProbability)
            _logProbabilityGradient = arguments.InputPointer(firstInput++);
        if (hasEntropy)
            _entropyGradient = arguments.InputPointer(firstInput);
    }

    /// <summary>How many inputs there are beside maximum and logSum.</summary>
    public static int Count(bool hasLogProbability, bool hasEntropy) => (hasLogProbability ? 1 : 0) + (hasEntropy ? 2 : 0);

    /// <summary>The gradients of a head's logProbability and entropy.</summary>
    /// <exception cref="GraphException">Another output has a gradient.</exception>
    public static (Value? LogProbability, Value? Entropy) Of(Op op, GradientContext context)
    {
        for (int output = 2; output < context.OutputGradients.Count; output++)
        {
            if (context.OutputGradients[output] is not null)
                throw new GraphException(
                    $"{op.Name}: only logProbability and entropy (outputs 0 and 1) can be differentiated, not " +
                    $"output {output}.");
        }

        return (context.OutputGradients[0], context.OutputGradients[1]);
    }

    /// <summary>Appends the optional inputs of a backward op.</summary>
    public static void Append(List<Value> inputs, Value entropyValue, Value? logProbability, Value? entropy)
    {
        if (entropy is not null)
            inputs.Add(entropyValue);
        if (logProbability is not null)
            inputs.Add(logProbability);
        if (entropy is not null)
            inputs.Add(entropy);
    }

    /// <summary>Whether a row has any gradient; NaN counts.</summary>
    public bool IsNotZero(int row) =>
        (_logProbabilityGradient != null && _logProbabilityGradient[row] != 0)
            || (_entropyGradient != null && _entropyGradient[row] != 0);

    /// <summary>A row.</summary>
    public RowGradient Row(int row) => new(
        _logProbabilityGradient == null ? 0 : _logProbabilityGradient[row],
        _entropyGradient == null ? 0 : _entropyGradient[row],
        _entropy == null ? 0 : _entropy[row],
        _maximum[row],
        _logSum[row],
        _temperature);
}
