using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The whole connector: <c>(hidden [B·(1 + gh·gw), h], norm weight [4h], norm bias [4h], weight1 [n, 4h], bias1 [n],
/// weight2 [n, n], bias2 [n]) → [B·(gh/2)·(gw/2), n]</c>: <see cref="PixelShuffle"/>, <see cref="LayerNorm"/>, Linear,
/// <see cref="Gelu"/>, Linear. Shuffled, normalised and inner activations exist for one block of tokens at a time; the
/// backward pass computes them again.
/// </summary>
/// <param name="GridHeight">gh, patches from top to bottom; even.</param>
/// <param name="GridWidth">gw, patches from left to right; even.</param>
/// <param name="Epsilon">Of the LayerNorm.</param>
public sealed record FusedConnector(int GridHeight, int GridWidth, float Epsilon) : Op, ICpuKernel
{
    private const int RowBlock = 192;

    private PixelShuffle Shuffle => new(GridHeight, GridWidth);

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(7).Activation(0, "hidden").Rank(0, "hidden", 2)
            .That(GridHeight > 0 && GridWidth > 0 && GridHeight % 2 == 0 && GridWidth % 2 == 0,
                $"the grid must be even in both directions, not {GridHeight} x {GridWidth}");
        int tokens = checked(1 + GridHeight * GridWidth), width = checked(4 * inputs[0].Shape[1]),
            n = inputs[3].Shape.Rank == 2 ? inputs[3].Shape[0] : -1;
        ReadOnlySpan<string> names = ["hidden", "norm weight", "norm bias", "weight1", "bias1", "weight2", "bias2"];
        foreach (int input in (ReadOnlySpan<int>)[1, 2, 4, 6])
            check.Is(input, names[input], DataType.Float32, DataType.BFloat16);
        check.That(inputs[0].Shape[0] % tokens == 0,
            $"input 0 (hidden) must have a multiple of {tokens} rows, not {inputs[0]}")
            .Shape(1, names[1], width).Shape(2, names[2], width)
            .Weight(3, names[3], 0, names[0], quantized: true).Weight(5, names[5], 0, names[0], quantized: true)
            .That(n >= 0 && inputs[3].Shape[1] == width, $"input 3 (weight1) must be [n, {width}], not {inputs[3]}")
            .Shape(4, names[4], n).Shape(5, names[5], n, n).Shape(6, names[6], n);
        return [inputs[0] with { Shape = new Shape(inputs[0].Shape[0] / tokens * (GridHeight * GridWidth / 4), n) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        // Forward again, node by node, then back through those nodes: nothing but the hidden states is kept in between.
        Graph graph = context.Graph;
        IReadOnlyList<Value> inputs = context.Inputs;
        Value shuffled = graph.Add(Shuffle, inputs[0]);
        Value normalized = graph.Add(new LayerNorm(Epsilon), shuffled, inputs[1], inputs[2]);
        Value inner = graph.Add(new MatMul(), normalized, inputs[3], inputs[4]);
        Value?[] gradients = context.NoGradients();
        Value gradient = context.OutputGradient(0);
        if (context.Needs(5))
            gradients[5] = graph.Add(new MatMulWeightGradient(inputs[5].Type.DataType), graph.Add(new Gelu(), inner), gradient);
        if (context.Needs(6))
            gradients[6] = graph.Add(new ColumnSum(), gradient);
        if (!Enumerable.Range(0, 5).Any(context.Needs))
            return gradients;
        gradient = graph.Add(new GeluBackward(), inner, graph.Add(new MatMulInputGradient(), gradient, inputs[5]));
        if (context.Needs(3))
            gradients[3] = graph.Add(new MatMulWeightGradient(inputs[3].Type.DataType), normalized, gradient);
        if (context.Needs(4))
            gradients[4] = graph.Add(new ColumnSum(), gradient);
        if (!Enumerable.Range(0, 3).Any(context.Needs))
            return gradients;
        IReadOnlyList<Value> norm = graph.AddNode(new LayerNormBackward(Epsilon), shuffled, inputs[1],
            graph.Add(new MatMulInputGradient(), gradient, inputs[3]));
        (gradients[1], gradients[2]) = (norm[1], norm[2]);
        if (context.Needs(0))
            gradients[0] = graph.Add(new PixelShuffleBackward(GridHeight, GridWidth), norm[0]);
        return gradients;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * outputs[0].Shape.Rows * (inputs[3].Shape.ElementCount + inputs[5].Shape.ElementCount),
            Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        (long)RowBlock * (4 * inputs[0].Shape[1] + inputs[3].Shape[0]) * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, width = 4 * columns, n = arguments.Input(3).Shape[0],
            rows = arguments.Output(0).Shape.Rows;
        float* hidden = arguments.InputPointer(0), y = arguments.OutputPointer(0),
            normalized = arguments.ScratchPointer, inner = normalized + (long)RowBlock * width;
        float[] normWeight = arguments.ReadParameter(1), normBias = arguments.ReadParameter(2),
            bias1 = arguments.ReadParameter(4), bias2 = arguments.ReadParameter(6);
        Tensor weight1 = arguments.Input(3), weight2 = arguments.Input(5);
        PixelShuffle shuffle = Shuffle;
        fixed (float* bias1Pointer = bias1, bias2Pointer = bias2)
        {
            for (int first = 0; first < rows; first += RowBlock)
            {
                int count = Math.Min(RowBlock, rows - first), offset = first;
                ElementWise.ForRows(count, width, (start, length) =>
                {
                    for (int row = start; row < start + length; row++)
                    {
                        float* token = normalized + (long)row * width;
                        shuffle.GatherToken(hidden, token, offset + row, columns);
                        LayerNorm.NormalizeRow(token, token, normWeight, normBias, Epsilon);
                    }
                });
                Gemm.MultiplyWeight(arguments, weight1, normalized, bias1Pointer, inner, count);
                Gelu.Apply(inner, inner, count * n);
                Gemm.MultiplyWeight(arguments, weight2, inner, bias2Pointer, y + (long)first * n, count);
            }
        }
    }
}

/// <summary>Pixel shuffle, LayerNorm, Linear, GELU, Linear → <see cref="FusedConnector"/>.</summary>
public sealed class ConnectorFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(FusedConnector);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node is not { Op: MatMul, Inputs.Count: 3 }
            || Only(node, uses) is not { Op: Gelu } gelu
            || Only(gelu, uses) is not { Op: MatMul, Inputs.Count: 3 } linear
            || Only(linear, uses) is not { Op: LayerNorm layerNorm } norm
            || Only(norm, uses) is not { Op: PixelShuffle shuffle } shuffled
            || node.Outputs[0].Shape.Columns != linear.Outputs[0].Shape.Columns
            || node.Outputs[0].Type.DataType != linear.Outputs[0].Type.DataType
            || node.Outputs[0].Type.DataType != shuffled.Inputs[0].Type.DataType)
        {
            return null;
        }

        return new FusionMatch(
            [shuffled, norm, linear, gelu, node],
            new FusedConnector(shuffle.GridHeight, shuffle.GridWidth, layerNorm.Epsilon),
            [shuffled.Inputs[0], norm.Inputs[1], norm.Inputs[2], linear.Inputs[1], linear.Inputs[2], node.Inputs[1],
                node.Inputs[2]], [node.Outputs[0]]);
    }

    /// <summary>The node that makes the first input, if nothing else reads it.</summary>
    private static Node? Only(Node node, ValueUses uses) => uses.OnlyReadBy(node.Inputs[0], node)
        ? node.Inputs[0].Producer : null;
}
