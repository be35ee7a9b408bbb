using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Log-probabilities of targets from stored logits: <c>(logits [T, V] float32, targets int32 [T]) → (logProbability
/// [T], entropy [T], logSumExp [T], maximum [T], logSum [T])</c>: the unfused form of <see cref="VocabularyHead"/>,
/// which says what they are.
/// </summary>
/// <param name="Temperature">Divides the logits; above zero.</param>
public sealed record LogProbabilities(float Temperature = 1f) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs);
        check.Count(2);
        CheckInputs(check, inputs, Temperature);
        return [.. Enumerable.Repeat(TensorType.Float32(inputs[0].Shape.Rows), 5)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        (Value? logProbability, Value? entropy) = HeadGradients.Of(this, context);
        List<Value> inputs = [context.Inputs[0], context.Inputs[1], context.Outputs[3], context.Outputs[4]];
        HeadGradients.Append(inputs, context.Outputs[1], logProbability, entropy);
        var backward = new LogProbabilitiesBackward(Temperature, logProbability is not null, entropy is not null);
        return [context.Graph.Add(backward, [.. inputs]), null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => StoredLogits.ScratchBytes(inputs[0].Shape);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int vocabulary = arguments.Input(0).Shape.Columns;
        float* logits = arguments.InputPointer(0);
        int* targets = (int*)arguments.InputPointer(1);
        int[] rows = TargetRows.Select(Name, arguments.InputInt32(1), vocabulary);
        var outputs = new HeadOutputs(arguments);
        float temperature = Temperature;
        outputs.Clear(arguments.Input(0).Shape.Rows);
        StoredLogits.Reduce(arguments, rows, new RowTemperatures(temperature), (row, statistics) =>
            outputs.Write(row, logits[(long)row * vocabulary + targets[row]], temperature, statistics));
    }

    internal static void CheckInputs(TypeCheck check, IReadOnlyList<TensorType> inputs, float temperature) =>
        check.Float32(0, "logits").Rank(0, "logits", 2)
            .That(temperature > 0 && float.IsFinite(temperature), $"the temperature must be above zero, not {temperature}")
            .That(inputs[0].Shape.Columns > 0, "the vocabulary is empty")
            .Is(1, "targets", DataType.Int32).Shape(1, "targets", inputs[0].Shape.Rows);
}

/// <summary>
/// The gradient of <see cref="LogProbabilities"/>: <c>(logits, targets, maximum, logSum, entropy if it has a gradient,
/// dLogProbability if any, dEntropy if any) → dLogits [T, V]</c>; zero in rows without target.
/// </summary>
/// <param name="Temperature">As in the forward op.</param>
/// <param name="HasLogProbabilityGradient">Whether dLogProbability is given.</param>
/// <param name="HasEntropyGradient">Whether the entropy and dEntropy are given.</param>
public sealed record LogProbabilitiesBackward(float Temperature, bool HasLogProbabilityGradient,
    bool HasEntropyGradient) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs);
        check.Count(4 + HeadGradients.Count(HasLogProbabilityGradient, HasEntropyGradient))
            .That(HasLogProbabilityGradient || HasEntropyGradient, "neither logProbability nor entropy has a gradient");
        LogProbabilities.CheckInputs(check, inputs, Temperature);
        for (int input = 2; input < inputs.Count; input++)
            check.Is(input, "a value per row", DataType.Float32).Shape(input, "a value per row", inputs[0].Shape.Rows);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(6.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int vocabulary = arguments.Input(0).Shape.Columns;
        float* logits = arguments.InputPointer(0), logitGradients = arguments.OutputPointer(0);
        int* targets = (int*)arguments.InputPointer(1);
        TargetRows.Select(Name, arguments.InputInt32(1), vocabulary);
        var gradients = new HeadGradients(arguments, 2, Temperature, HasLogProbabilityGradient, HasEntropyGradient);
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, vocabulary, (start, length) =>
        {
            for (int row = start; row < start + length; row++)
            {
                long offset = (long)row * vocabulary;
                if (targets[row] < 0 || !gradients.IsNotZero(row))
                    new Span<float>(logitGradients + offset, vocabulary).Clear();
                else
                    VocabularyCore.Gradient(logits + offset, logitGradients + offset, vocabulary, targets[row],
                        gradients.Row(row));
            }
        });
    }
}

/// <summary>
/// <see cref="MatMul"/> without bias, then <see cref="LogProbabilities"/>, to <see cref="VocabularyHead"/>: same bits,
/// no logits in memory. Applies where nothing else reads the logits.
/// </summary>
public sealed class VocabularyHeadFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => "matmul + log_probabilities → vocabulary_head";

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not LogProbabilities losses || node.Inputs[0].Producer
            is not { Op: MatMul, Inputs.Count: 2 } product || !uses.OnlyReadBy(node.Inputs[0], node))
            return null;
        return new FusionMatch([product, node], new VocabularyHead(losses.Temperature),
            [.. product.Inputs, node.Inputs[1]], node.Outputs);
    }
}
