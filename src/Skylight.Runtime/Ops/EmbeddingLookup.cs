using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The embeddings of tokens: <c>(table [V, h], ids int32 [T]) → [T, h]</c>. The table is float32, bfloat16 or quantised,
/// row-major or in weight order (an output projection tied to it needs that). An id outside of the vocabulary is an error
/// at run time.
/// </summary>
/// <param name="OutputType">The data type of the output: that of the activations which follow.</param>
public sealed record EmbeddingLookup(DataType OutputType = DataType.Float32) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2)
            .Is(0, "table", DataType.Float32, DataType.BFloat16, DataType.Quantized).Rank(0, "table", 2)
            .Is(1, "ids", DataType.Int32).Rank(1, "ids", 1)
            .That(inputs[0].Format is not { HasInputOrder: true }, "the columns of the table are in another order")
            .That(OutputType.IsFloatingPoint(), $"embeddings cannot be {OutputType}");
        return [new TensorType(OutputType, new Shape(inputs[1].Shape[0], inputs[0].Shape[1]))];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new EmbeddingGradient(context.Inputs[0].Type), context.Inputs[1], context.OutputGradient(0)),
            null];

    /// <summary>Only the rows that are looked up move, not the whole table.</summary>
    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, inputs[1].Bytes + outputs[0].Bytes
            + (double)outputs[0].Shape.ElementCount * inputs[0].Bytes / Math.Max(inputs[0].Shape.ElementCount, 1));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        TensorType table = arguments.Input(0).Type;
        IndexCheck.Range(this, "ids", arguments.InputInt32(1), 0, table.Shape[0]);
        void* elements = CpuMemory.Pointer(arguments.Input(0));
        int* ids = (int*)arguments.InputPointer(1);
        float* y = arguments.OutputPointer(0);
        int columns = table.Shape[1];
        // In weight order the elements of a row are as far apart as a panel is wide.
        bool panels = table.Storage == Storage.Weight;
        int stride = panels ? WeightPanels.Width : 1;
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int token = start; token < start + count; token++)
            {
                long first = panels ? WeightPanels.IndexOf(ids[token], 0, columns) : (long)ids[token] * columns;
                var target = new Span<float>(y + (long)token * columns, columns);
                if (table.Format is not null)
                    PackedWeights.DequantizeRow(table, (byte*)elements, ids[token], target);
                else if (table.DataType == DataType.Float32)
                    CopyRow((float*)elements + first, stride, target);
                else
                    WidenRow((BFloat16*)elements + first, stride, target);
            }
        });
    }

    private static unsafe void CopyRow(float* source, int stride, Span<float> target)
    {
        if (stride == 1)
        {
            new ReadOnlySpan<float>(source, target.Length).CopyTo(target);
            return;
        }

        for (int column = 0; column < target.Length; column++)
            target[column] = source[(long)column * stride];
    }

    private static unsafe void WidenRow(BFloat16* source, int stride, Span<float> target)
    {
        for (int column = 0; column < target.Length; column++)
            target[column] = source[(long)column * stride];
    }
}

/// <summary>
/// The gradient of <see cref="EmbeddingLookup"/>: <c>(ids int32 [T], dy [T, h]) → dtable [V, h]</c>, float32 in the
/// table's storage order, zero where no token looked. Tokens are added in ascending order.
/// </summary>
/// <param name="TableType">The type of the table.</param>
public sealed record EmbeddingGradient(TensorType TableType) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "ids", DataType.Int32).Rank(0, "ids", 1)
            .That(TableType.Shape.Rank == 2, $"the table must have rank 2, not {TableType}")
            .Activation(1, "dy").Shape(1, "dy", inputs[0].Shape[0], TableType.Shape[1]);
        return [TableType with { DataType = DataType.Float32 }];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        RowScatter.ScratchBytes(inputs[0].Shape[0], TableType.Shape[0]);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        IndexCheck.Range(this, "ids", arguments.InputInt32(0), 0, TableType.Shape[0]);
        RowScatter.Run(arguments.InputInt32(0), arguments.InputPointer(1), arguments.OutputPointer(0),
            arguments.Output(0).Type, arguments.ScratchPointer);
    }
}
