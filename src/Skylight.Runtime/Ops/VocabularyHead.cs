using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The last layer and the loss's raw material in one, without a tokens × vocabulary array:
/// <c>(hidden [T, h], weight [V, h], targets int32 [T]) → (logProbability [T], entropy [T], logSumExp [T], maximum [T],
/// logSum [T])</c>
/// of softmax(x), x = hidden·weightᵀ / temperature. Entropy is in nats; logSumExp = maximum + logSum, where maximum = max x
/// and logSum = log Σ exp(x − maximum). All five are float32, and so are the logits in between, whatever hidden is. A
/// target of −1 means none: its row is not computed, its outputs are 0 and it has no gradient.
/// </summary>
/// <remarks>
/// Always logProbability ≤ 0 and 0 ≤ entropy ≤ ln V. Equal bit for bit to <see cref="LogitStatistics"/> and
/// <see cref="LogProbabilities"/> on stored logits. Only logProbability and entropy can be differentiated; maximum and
/// logSum are there for the backward pass.
/// </remarks>
/// <param name="Temperature">Divides the logits; above zero.</param>
public sealed record VocabularyHead(float Temperature = 1f) : Op, ICpuKernel
{
    // Rows whose statistics are kept at once, and rows × segment of logits that one core works on.
    private const int BlockRows = 2048;
    private const int TileRows = 192;

    // Rows a power of two apart would fall into the same cache sets.
    internal const int RowPadding = 32;

    [ThreadStatic]
    private static float[]? _tile;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs);
        check.Count(3).Activation(0, "hidden").Rank(0, "hidden", 2);
        CheckWeightAndTargets(check, inputs, Temperature, quantized: true);
        int tokens = inputs[0].Shape.Rows;
        return [.. Enumerable.Repeat(TensorType.Float32(tokens), 5)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        (Value? logProbability, Value? entropy) = HeadGradients.Of(this, context);
        var backward = new VocabularyHeadBackward(Temperature, logProbability is not null, entropy is not null,
            context.Needs(0), context.Needs(1));
        List<Value> inputs = [context.Inputs[0], context.Inputs[1], context.Inputs[2], context.Outputs[3],
            context.Outputs[4]];
        HeadGradients.Append(inputs, context.Outputs[1], logProbability, entropy);
        IReadOnlyList<Value> gradients = context.Graph.AddNode(backward, [.. inputs]);
        return [context.Needs(0) ? gradients[0] : null, context.Needs(1) ? gradients[^1] : null, null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.Rows * inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe long ScratchBytes(IReadOnlyList<TensorType> inputs)
    {
        int rows = Math.Clamp(inputs[0].Shape.Rows, 1, BlockRows),
            segments = VocabularyCore.SegmentCount(inputs[1].Shape.Rows);
        return (long)rows * (inputs[0].Shape.Columns + 1) * sizeof(float)
            + (long)rows * segments * sizeof(SegmentStatistics);
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int tokens = arguments.Input(0).Shape.Rows, width = arguments.Input(0).Shape.Columns,
            vocabulary = arguments.Input(1).Shape.Rows;
        float* hidden = arguments.InputPointer(0);
        Tensor weight = arguments.Input(1);
        CpuArguments kernelArguments = arguments;
        int* targets = (int*)arguments.InputPointer(2);
        int[] rows = TargetRows.Select(Name, arguments.InputInt32(2), vocabulary);
        var outputs = new HeadOutputs(arguments);
        if (rows.Length < tokens)
            outputs.Clear(tokens);

        float* gathered = arguments.ScratchPointer, targetLogits = gathered + (long)Math.Min(tokens, BlockRows) * width;
        var statistics = (SegmentStatistics*)(targetLogits + Math.Min(tokens, BlockRows));
        int segments = VocabularyCore.SegmentCount(vocabulary);
        float temperature = Temperature;
        for (int start = 0; start < rows.Length; start += BlockRows)
        {
            int first = start, count = Math.Min(BlockRows, rows.Length - start);
            float* x = TargetRows.Gather(hidden, width, rows, first, count, gathered);
            double work = (double)count * vocabulary * width;
            int threads = GemmBlocked.ThreadsFor(work), tileRows = TileRows;
            while (threads > 1 && tileRows > 24 && (count + tileRows - 1) / tileRows * segments < 4 * threads)
                tileRows /= 2;
            int tiles = (count + tileRows - 1) / tileRows;
            // Neighbouring tasks share a segment of the weight.
            CpuParallel.For(tiles * segments, threads, task =>
            {
                int segment = task / tiles, firstRow = task % tiles * tileRows,
                    rowCount = Math.Min(tileRows, count - firstRow);
                int columns = VocabularyCore.ColumnsOf(segment, vocabulary), panels = WeightPanels.PanelCount(columns),
                    stride = panels * WeightPanels.Width + RowPadding;
                float* logits = Tile(rowCount * stride);
                int firstPanel = segment * (VocabularyCore.SegmentWidth / WeightPanels.Width);
                float* xRows = x + (long)firstRow * width;
                Gemm.MultiplyWeightRange(kernelArguments, weight, xRows, logits, stride, rowCount, firstPanel, panels);
                for (int row = 0; row < rowCount; row++)
                {
                    float* line = logits + (long)row * stride;
                    statistics[(long)(firstRow + row) * segments + segment] = VocabularyCore.Reduce(line, columns,
                        temperature);
                    int column = targets[rows[first + firstRow + row]] - segment * VocabularyCore.SegmentWidth;
                    if ((uint)column < (uint)columns)
                        targetLogits[firstRow + row] = line[column];
                }
            });
            ElementWise.ForRows(count, 16 * segments, (from, length) =>
            {
                for (int row = from; row < from + length; row++)
                    outputs.Write(rows[first + row], targetLogits[row], temperature,
                        VocabularyCore.Merge(statistics + (long)row * segments, vocabulary));
            });
        }
    }

    internal static void CheckWeightAndTargets(TypeCheck check, IReadOnlyList<TensorType> inputs, float temperature,
        bool quantized = false)
    {
        check.That(temperature > 0 && float.IsFinite(temperature), $"the temperature must be above zero, not {temperature}")
            .Weight(1, "weight", 0, "hidden", quantized)
            .That(inputs[1].Shape.Rows > 0, "the vocabulary is empty")
            .That(inputs[1].Shape.Columns == inputs[0].Shape.Columns,
                "the weight's columns must be as many as those of hidden")
            .Is(2, "targets", DataType.Int32).Shape(2, "targets", inputs[0].Shape.Rows);
    }

    private static unsafe float* Tile(int floats)
    {
        if (_tile is null || _tile.Length < floats)
            _tile = GC.AllocateUninitializedArray<float>(Math.Max(floats, VocabularyCore.SegmentWidth), pinned: true);
        return (float*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(_tile, 0);
    }
}

/// <summary>
/// The gradient of <see cref="VocabularyHead"/>: <c>(hidden, weight, targets, maximum, logSum, entropy if it has a gradient,
/// dLogProbability if any, dEntropy if any) → (dHidden if needed, dWeight if needed)</c>. The logits are computed again, one
/// block of rows × segment of the vocabulary at a time; each gradient element is one chain in ascending order of the
/// vocabulary or of the rows. Rows without target or with zero gradients cost nothing.
/// </summary>
/// <param name="Temperature">As in the forward op.</param>
/// <param name="HasLogProbabilityGradient">Whether dLogProbability is given.</param>
/// <param name="HasEntropyGradient">Whether the entropy and dEntropy are given.</param>
/// <param name="NeedsHidden">Whether dHidden is an output.</param>
/// <param name="NeedsWeight">Whether dWeight is an output (float32, in the weight's shape and storage).</param>
public sealed record VocabularyHeadBackward(float Temperature, bool HasLogProbabilityGradient, bool HasEntropyGradient,
    bool NeedsHidden, bool NeedsWeight) : Op, ICpuKernel
{
    // Logits of a block at once: small enough for the caches of a few cores, many rows for long chains of multiply-adds.
    private const int BlockFloats = 2 << 20;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        var check = new TypeCheck(this, inputs);
        check.Count(5 + HeadGradients.Count(HasLogProbabilityGradient, HasEntropyGradient)).Activation(0, "hidden")
            .Rank(0, "hidden", 2)
            .That(HasLogProbabilityGradient || HasEntropyGradient, "neither logProbability nor entropy has a gradient")
            .That(NeedsHidden || NeedsWeight, "no gradient is needed");
        VocabularyHead.CheckWeightAndTargets(check, inputs, Temperature);
        for (int input = 3; input < inputs.Count; input++)
            check.Float32(input, "a value per row").Shape(input, "a value per row", inputs[0].Shape.Rows);
        var outputs = new List<TensorType>();
        if (NeedsHidden)
            outputs.Add(inputs[0]);
        if (NeedsWeight)
            outputs.Add(inputs[1] with { DataType = DataType.Float32 });
        return outputs;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * (1 + outputs.Count) * inputs[0].Shape.Rows * inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs)
    {
        int vocabulary = inputs[1].Shape.Rows;
        long rows = BlockRows(inputs[0].Shape.Rows, vocabulary);
        return rows * (2 * inputs[0].Shape.Columns + Math.Min(vocabulary, VocabularyCore.SegmentWidth)
            + VocabularyHead.RowPadding) * sizeof(float);
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int tokens = arguments.Input(0).Shape.Rows, width = arguments.Input(0).Shape.Columns,
            vocabulary = arguments.Input(1).Shape.Rows;
        float* hidden = arguments.InputPointer(0);
        DataType weightType = arguments.Input(1).Type.DataType, operands = arguments.OperandsOf(weightType);
        byte* weight = (byte*)CpuMemory.Pointer(arguments.Input(1));
        int* targets = (int*)arguments.InputPointer(2);
        float* hiddenGradient = NeedsHidden ? arguments.OutputPointer(0) : null;
        float* weightGradient = NeedsWeight ? arguments.OutputPointer(NeedsHidden ? 1 : 0) : null;
        var gradients = new HeadGradients(arguments, 3, Temperature, HasLogProbabilityGradient, HasEntropyGradient);
        int[] rows = [.. TargetRows.Select(Name, arguments.InputInt32(2), vocabulary).Where(gradients.IsNotZero)];
        if (NeedsHidden && rows.Length < tokens)
            arguments.OutputFloat32(0).Clear();
        if (NeedsWeight && rows.Length == 0)
            arguments.OutputFloat32(NeedsHidden ? 1 : 0).Clear();

        int blockRows = BlockRows(tokens, vocabulary), segments = VocabularyCore.SegmentCount(vocabulary);
        float* gathered = arguments.ScratchPointer, gatheredGradient = gathered + (long)blockRows * width,
            logits = gatheredGradient + (long)blockRows * width;
        int stride = Math.Min(vocabulary, VocabularyCore.SegmentWidth) + VocabularyHead.RowPadding;
        for (int start = 0; start < rows.Length; start += blockRows)
        {
            int first = start, count = Math.Min(blockRows, rows.Length - start);
            float* x = TargetRows.Gather(hidden, width, rows, first, count, gathered);
            bool inPlace = TargetRows.AreContiguous(rows, first, count);
            float* xGradient = inPlace ? hiddenGradient + (long)rows[first] * width : gatheredGradient;
            for (int segment = 0; segment < segments; segment++)
            {
                int firstColumn = segment * VocabularyCore.SegmentWidth,
                    columns = VocabularyCore.ColumnsOf(segment, vocabulary);
                long offset = (long)firstColumn * width;
                void* segmentWeight = weight + offset * weightType.Size();
                Gemm.MultiplyWeight(x, width, segmentWeight, weightType, null, logits, stride, count, columns, width,
                    operands);
                ElementWise.ForRows(count, columns, (from, length) =>
                {
                    for (int row = from; row < from + length; row++)
                    {
                        float* line = logits + (long)row * stride;
                        int token = rows[first + row];
                        VocabularyCore.Gradient(line, line, columns, targets[token] - firstColumn, gradients.Row(token));
                    }
                });
                if (hiddenGradient != null)
                    Gemm.MultiplyWeightTransposed(logits, stride, segmentWeight, weightType, xGradient, width, count,
                        columns, width, accumulate: segment > 0, operands);
                if (weightGradient != null)
                    Gemm.WeightGradient(x, width, logits, stride, weightGradient + offset, count, columns, width,
                        accumulate: start > 0, operands);
            }

            if (hiddenGradient != null && !inPlace)
                TargetRows.Scatter(gatheredGradient, width, rows, first, count, hiddenGradient);
        }
    }

    private static int BlockRows(int tokens, int vocabulary) =>
        Math.Clamp(tokens, 1, BlockFloats / Math.Min(Math.Max(vocabulary, 64), VocabularyCore.SegmentWidth));
}
