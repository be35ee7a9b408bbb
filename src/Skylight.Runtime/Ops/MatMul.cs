using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Product with a weight: <c>(x [.., k], weight [n, k]) → x · weightᵀ [.., n]</c>, with a third input <c>bias [n]</c> added.
/// Every output element adds its k terms in float32 in one fixed order, whatever the number of rows.
/// </summary>
/// <remarks>
/// A quantised weight (<see cref="TensorType.Format"/>) is for inference: there is no gradient.
/// </remarks>
/// <param name="OutputType">The data type of the output: that of x (null), or float32 where sums of bfloat16 products
/// are to stay unrounded, as logits are.</param>
public sealed record MatMul(DataType? OutputType = null) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = Check(this, inputs);
        DataType output = OutputType ?? inputs[0].DataType;
        check.That(output == inputs[0].DataType || output == DataType.Float32,
            $"the output can be float32 or have the data type of x, not {output}");
        return [new TensorType(output, inputs[0].Shape.WithColumns(inputs[1].Shape[0]))];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value x = context.Inputs[0], weight = context.Inputs[1], gradient = context.OutputGradient(0);
        if (weight.Type.Format is not null)
            throw new GraphException(
                $"{Name}: {weight} is quantised, which serves inference only. Train the model with float32 or bfloat16 " +
                $"weights, and quantise it afterwards.");
        Value?[] gradients = context.NoGradients();
        // Products read operands of one type; a bias, which is only added up, sees the gradient unrounded.
        Value operand = context.Needs(0) || context.Needs(1) ? Cast.To(context.Graph, gradient, x.Type.DataType) : gradient;
        if (context.Needs(0))
            gradients[0] = context.Graph.Add(new MatMulInputGradient(), operand, weight);
        if (context.Needs(1))
            gradients[1] = context.Graph.Add(new MatMulWeightGradient(weight.Type.DataType), x, operand);
        if (context.Inputs.Count == 3 && context.Needs(2))
            gradients[2] = context.Graph.Add(new ColumnSum(), gradient);
        return gradients;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.ElementCount * inputs[1].Shape[0], Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float[]? bias = arguments.InputCount > 2 ? arguments.ReadParameter(2) : null;
        fixed (float* biasPointer = bias)
            Gemm.MultiplyWeight(arguments, arguments.Input(1), arguments.InputPointer(0), biasPointer,
                arguments.OutputPointer(0), arguments.Input(0).Shape.Rows);
    }

    /// <summary>Checks the operands of a product with a weight, of this or another op.</summary>
    internal static TypeCheck Check(Op op, IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(op, inputs).Count(2, 3).Activation(0, "x").Weight(1, "weight", 0, "x", quantized: true);
        check.That(inputs[0].Shape.Columns == inputs[1].Shape.Columns,
            $"x has {inputs[0].Shape.Columns} columns, but the weight reads {inputs[1].Shape.Columns}");
        if (inputs.Count > 2)
            check.Is(2, "bias", DataType.Float32, DataType.BFloat16).Shape(2, "bias", inputs[1].Shape[0]);
        return check;
    }
}

/// <summary>
/// The gradient of the input of <see cref="MatMul"/>: <c>(dy [.., n], weight [n, k]) → dy · weight [.., k]</c>.
/// </summary>
public sealed record MatMulInputGradient : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "dy").Weight(1, "weight", 0, "dy")
            .That(inputs[0].Shape.Columns == inputs[1].Shape[0],
                $"dy has {inputs[0].Shape.Columns} columns, but the weight makes {inputs[1].Shape[0]}");
        return [inputs[0] with { Shape = inputs[0].Shape.WithColumns(inputs[1].Shape[1]) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value?[] gradients = context.NoGradients();
        if (context.Needs(0))
            gradients[0] = context.Graph.Add(new MatMul(), context.OutputGradient(0), context.Inputs[1]);
        if (context.Needs(1))
            gradients[1] = context.Graph.Add(new MatMulWeightGradient(context.Inputs[1].Type.DataType), context.OutputGradient(0),
                context.Inputs[0]);
        return gradients;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.ElementCount * inputs[1].Shape[1], Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape weight = arguments.Input(1).Shape;
        int rows = arguments.Input(0).Shape.Rows, n = weight[0], k = weight[1];
        DataType type = arguments.Input(1).Type.DataType;
        Gemm.MultiplyWeightTransposed(
            arguments.InputPointer(0), n, CpuMemory.Pointer(arguments.Input(1)), type, arguments.OutputPointer(0), k, rows, n, k,
            accumulate: false, arguments.OperandsOf(type));
    }
}

/// <summary>
/// The gradient of the weight of <see cref="MatMul"/>: <c>(x [.., k], dy [.., n]) → dyᵀ · x [n, k]</c>, float32, in
/// weight storage.
/// </summary>
/// <param name="WeightType">The data type of the weight: where it is bfloat16, the CPU may round both operands to it, as in
/// the product itself (<see cref="CpuDevice.Compute"/>).</param>
public sealed record MatMulWeightGradient(DataType WeightType = DataType.Float32) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Activation(1, "dy", 0, "x")
            .That(inputs[0].Shape.Rows == inputs[1].Shape.Rows,
                $"x has {inputs[0].Shape.Rows} rows, but dy {inputs[1].Shape.Rows}");
        return [new TensorType(DataType.Float32, new Shape(inputs[1].Shape.Columns, inputs[0].Shape.Columns),
            Storage.Weight)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.ElementCount * inputs[1].Shape.Columns, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, k = arguments.Input(0).Shape.Columns, n = arguments.Input(1).Shape.Columns;
        Gemm.WeightGradient(arguments.InputPointer(0), k, arguments.InputPointer(1), n, arguments.OutputPointer(0),
            rows, n, k, accumulate: false, arguments.OperandsOf(WeightType));
    }
}
