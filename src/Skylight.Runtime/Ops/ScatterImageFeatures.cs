using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Puts image features where the text has image tokens: <c>(embeddings [T, h], features [F, h], featureIndex int32 [T])
/// → [T, h]</c>, row t = features[featureIndex[t]], or embeddings[t] where the index is −1. Several tokens may read one
/// feature row. An index outside of the features is an error at run time.
/// </summary>
public sealed record ScatterImageFeatures : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(3).Activation(0, "embeddings").Rank(0, "embeddings", 2)
            .Activation(1, "features").Rank(1, "features", 2)
            .That(inputs[0].DataType == inputs[1].DataType && inputs[0].Shape[1] == inputs[1].Shape[1],
                "features must have the data type and the columns of embeddings")
            .Is(2, "featureIndex", DataType.Int32).Shape(2, "featureIndex", inputs[0].Shape[0]);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value index = context.Inputs[2], gradient = context.OutputGradient(0);
        return
        [
            context.Needs(0) ? context.Graph.Add(new ScatterImageFeaturesEmbeddingGradient(), index, gradient) : null,
            context.Needs(1) ? context.Graph.Add(new ScatterImageFeaturesGradient(context.Inputs[1].Shape[0]), index,
                gradient) : null,
            null,
        ];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, inputs[2].Bytes + 2.0 * outputs[0].Bytes);

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        IndexCheck.Range(this, "featureIndex", arguments.InputInt32(2), -1, arguments.Input(1).Shape[0]);
        float* embeddings = arguments.InputPointer(0), features = arguments.InputPointer(1), y = arguments.OutputPointer(0);
        int* index = (int*)arguments.InputPointer(2);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* source = index[row] < 0 ? embeddings + (long)row * columns : features + (long)index[row] * columns;
                float* target = y + (long)row * columns;
                if (source != target)
                    new ReadOnlySpan<float>(source, columns).CopyTo(new Span<float>(target, columns));
            }
        });
    }
}

/// <summary>
/// The gradient of <see cref="ScatterImageFeatures"/> in the embeddings: <c>(featureIndex int32 [T], dy [T, h]) → [T,
/// h]</c>, zero in replaced rows.
/// </summary>
public sealed record ScatterImageFeaturesEmbeddingGradient : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "featureIndex", DataType.Int32).Rank(0, "featureIndex", 1)
            .Activation(1, "dy").Rank(1, "dy", 2).Shape(1, "dy", inputs[0].Shape[0], inputs[1].Shape.Columns);
        return [inputs[1]];
    }

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 1;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(1).Shape.Columns;
        float* dy = arguments.InputPointer(1), result = arguments.OutputPointer(0);
        int* index = (int*)arguments.InputPointer(0);
        ElementWise.ForRows(arguments.Input(1).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                var target = new Span<float>(result + (long)row * columns, columns);
                if (index[row] >= 0)
                    target.Clear();
                else if (dy != result)
                    new ReadOnlySpan<float>(dy + (long)row * columns, columns).CopyTo(target);
            }
        });
    }
}

/// <summary>
/// The gradient of <see cref="ScatterImageFeatures"/> in the features: <c>(featureIndex int32 [T], dy [T, h]) → [F,
/// h]</c>, tokens added in ascending order.
/// </summary>
/// <param name="FeatureCount">F.</param>
public sealed record ScatterImageFeaturesGradient(int FeatureCount) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "featureIndex", DataType.Int32).Rank(0, "featureIndex", 1)
            .Activation(1, "dy").Rank(1, "dy", 2).Shape(1, "dy", inputs[0].Shape[0], inputs[1].Shape.Columns);
        return [inputs[1] with { Shape = new Shape(FeatureCount, inputs[1].Shape[1]) }];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => RowScatter.ScratchBytes(inputs[0].Shape[0], FeatureCount);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        IndexCheck.Range(this, "featureIndex", arguments.InputInt32(0), -1, FeatureCount);
        RowScatter.Run(arguments.InputInt32(0), arguments.InputPointer(1), arguments.OutputPointer(0),
            arguments.Output(0).Type, arguments.ScratchPointer);
    }
}
