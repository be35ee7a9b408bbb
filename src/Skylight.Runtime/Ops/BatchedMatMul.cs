using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Products of pairs of activations: <c>(a [b, m, k], b [b, k, n]) → [b, m, n]</c>; a transposed operand is given as
/// <c>[b, k, m]</c> or <c>[b, n, k]</c>.
/// </summary>
/// <param name="TransposeA">Whether a is given transposed.</param>
/// <param name="TransposeB">Whether b is given transposed.</param>
public sealed record BatchedMatMul(bool TransposeA = false, bool TransposeB = false) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(2).Activation(0, "a").Rank(0, "a", 3)
            .Activation(1, "b", 0, "a").Rank(1, "b", 3);
        (int m, int ka) = Extents(inputs[0].Shape, TransposeA);
        (int kb, int n) = Extents(inputs[1].Shape, TransposeB);
        check.That(inputs[0].Shape[0] == inputs[1].Shape[0],
            $"a has {inputs[0].Shape[0]} matrices, but b {inputs[1].Shape[0]}")
            .That(ka == kb, $"the inner extents differ: {ka} and {kb}");
        return [inputs[0] with { Shape = new Shape(inputs[0].Shape[0], m, n) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Graph graph = context.Graph;
        Value a = context.Inputs[0], b = context.Inputs[1], dy = context.OutputGradient(0);
        Value?[] gradients = context.NoGradients();
        if (context.Needs(0))
        {
            gradients[0] = TransposeA
                ? graph.Add(new BatchedMatMul(TransposeB, true), b, dy)
                : graph.Add(new BatchedMatMul(false, !TransposeB), dy, b);
        }

        if (context.Needs(1))
        {
            gradients[1] = TransposeB
                ? graph.Add(new BatchedMatMul(true, TransposeA), dy, a)
                : graph.Add(new BatchedMatMul(!TransposeA, false), a, dy);
        }

        return gradients;
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * outputs[0].Shape.ElementCount * Extents(inputs[0].Shape, TransposeA).Columns, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape shapeA = arguments.Input(0).Shape, shapeB = arguments.Input(1).Shape;
        (int m, int k) = Extents(shapeA, TransposeA);
        int n = Extents(shapeB, TransposeB).Columns;
        for (int matrix = 0; matrix < shapeA[0]; matrix++)
        {
            Gemm.Multiply(
                arguments.InputPointer(0) + (long)matrix * m * k, shapeA[2], TransposeA,
                arguments.InputPointer(1) + (long)matrix * k * n, shapeB[2], TransposeB,
                arguments.OutputPointer(0) + (long)matrix * m * n, n, m, n, k, accumulate: false);
        }
    }

    private static (int Rows, int Columns) Extents(Shape shape, bool transposed) =>
        transposed ? (shape[2], shape[1]) : (shape[1], shape[2]);
}
