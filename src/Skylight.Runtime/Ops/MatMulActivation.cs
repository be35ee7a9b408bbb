using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>What a <see cref="MatMulActivation"/> makes of a product.</summary>
public enum ProductActivation
{
    /// <summary>What <see cref="Ops.Gelu"/> makes of it.</summary>
    Gelu,

    /// <summary>What <see cref="Ops.SwiGlu"/> makes of it: of 2f columns f.</summary>
    SwiGlu,
}

/// <summary>
/// <see cref="MatMul"/> and the activation of what it gives: <c>(x [.., k], weight [n, k]) → gelu(x · weightᵀ) [.., n]</c> or
/// <c>swiglu(x · weightᵀ) [.., n / 2]</c>, with a third input <c>bias [n]</c> added before.
/// </summary>
/// <remarks>
/// The product is rounded to the type of x before its activation is taken, as between the two ops, so it has their bits. A
/// gradient would need the product itself, so there is none: what is differentiated keeps the two ops
/// (<see cref="FusionRules.AfterDifferentiation"/>).
/// </remarks>
/// <param name="Activation">What is made of the product.</param>
public sealed record MatMulActivation(ProductActivation Activation) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = MatMul.Check(this, inputs);
        int columns = inputs[1].Shape[0];
        if (Activation == ProductActivation.SwiGlu)
        {
            check.That(columns % 2 == 0, $"the weight must make an even number of columns, not {inputs[1]}");
            columns /= 2;
        }

        return [new TensorType(inputs[0].DataType, inputs[0].Shape.WithColumns(columns))];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.ElementCount * inputs[1].Shape[0] + 5.0 * outputs[0].Shape.ElementCount,
            Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => Activation == ProductActivation.SwiGlu
        ? (long)inputs[0].Shape.Rows * inputs[1].Shape[0] * sizeof(float) : 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, columns = arguments.Output(0).Shape.Columns;
        if (rows == 0)
            return;
        bool isGated = Activation == ProductActivation.SwiGlu;
        float* y = arguments.OutputPointer(0), product = isGated ? arguments.ScratchPointer : y;
        float[]? bias = arguments.InputCount > 2 ? arguments.ReadParameter(2) : null;
        fixed (float* biasPointer = bias)
            Gemm.MultiplyWeight(arguments, arguments.Input(1), arguments.InputPointer(0), biasPointer, product, rows);
        if (isGated)
            SwiGlu.Apply(product, y, rows, columns);
        else
            Gelu.Apply(y, y, checked(rows * columns));
    }
}

/// <summary>
/// <see cref="MatMul"/>, then <see cref="Gelu"/> or <see cref="SwiGlu"/>, where nothing else reads the product →
/// <see cref="MatMulActivation"/>.
/// </summary>
public sealed class MatMulActivationFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(MatMulActivation);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        ProductActivation? activation = node.Op switch
        {
            Gelu => ProductActivation.Gelu,
            SwiGlu => ProductActivation.SwiGlu,
            _ => null,
        };
        if (activation is null || node.Inputs[0].Producer is not { Op: MatMul } product
            || product.Inputs[0].Type.DataType != node.Inputs[0].Type.DataType || !uses.OnlyReadBy(node.Inputs[0], node))
            return null;
        return new FusionMatch([product, node], new MatMulActivation(activation.Value), product.Inputs, [node.Outputs[0]]);
    }
}
