using System.Runtime.CompilerServices;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Sigmoid-weighted linear unit: <c>x → x · sigmoid(x)</c> (Elfwing et al., 2018).</summary>
public sealed record Silu : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "x");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new SiluBackward(), context.Inputs[0], context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(4.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        ElementWise.For(arguments.InputFloat32(0).Length,
            (start, count) => ElementMap.Apply<Forward>(x + start, y + start, count));
    }

    private readonly struct Forward : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x)
            where TSimd : struct, ISimd<TVector> => TSimd.Multiply(x, VectorMath.Sigmoid<TSimd, TVector>(x));
    }
}

/// <summary>The gradient of <see cref="Silu"/>: <c>(x, dy) → dy · s·(1 + x·(1 − s))</c> with s = sigmoid(x).</summary>
public sealed record SiluBackward : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Activation(1, "dy", 0, "x").SameShape(1, "dy", 0, "x");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(8.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 1;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* x = arguments.InputPointer(0), dy = arguments.InputPointer(1), dx = arguments.OutputPointer(0);
        ElementWise.For(arguments.InputFloat32(0).Length,
            (start, count) => ElementMap.Apply<Backward>(x + start, dy + start, dx + start, count));
    }

    private readonly struct Backward : IBinaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x, TVector dy)
            where TSimd : struct, ISimd<TVector>
        {
            TVector sigmoid = VectorMath.Sigmoid<TSimd, TVector>(x), one = TSimd.Broadcast(1f);
            return TSimd.Multiply(TSimd.Multiply(dy, sigmoid),
                TSimd.Add(one, TSimd.Multiply(x, TSimd.Subtract(one, sigmoid))));
        }
    }
}
