using System.Runtime.CompilerServices;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Gaussian error linear unit, exact: <c>x → x/2 · (1 + erf(x/√2))</c> (Hendrycks and Gimpel, 2016).</summary>
public sealed record Gelu : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "x");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new GeluBackward(), context.Inputs[0], context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Apply(arguments.InputPointer(0), arguments.OutputPointer(0), arguments.InputFloat32(0).Length);
    }

    /// <summary>Element by element; <paramref name="y"/> may be <paramref name="x"/>.</summary>
    internal static unsafe void Apply(float* x, float* y, int count) =>
        ElementWise.For(count, (start, length) => ElementMap.Apply<Forward>(x + start, y + start, length));

    private readonly struct Forward : IUnaryFunction
    {
        private const float InverseSqrt2 = 0.70710678118654752f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x)
            where TSimd : struct, ISimd<TVector>
        {
            TVector erf = VectorMath.Erf<TSimd, TVector>(TSimd.Multiply(x, TSimd.Broadcast(InverseSqrt2)));
            return TSimd.Multiply(TSimd.Multiply(x, TSimd.Broadcast(0.5f)), TSimd.Add(TSimd.Broadcast(1f), erf));
        }
    }
}

/// <summary>
/// The gradient of <see cref="Gelu"/>: <c>(x, dy) → dy · (Φ(x) + x·φ(x))</c>, Φ and φ the normal distribution and
/// density.
/// </summary>
public sealed record GeluBackward : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Activation(1, "dy", 0, "x").SameShape(1, "dy", 0, "x");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(10.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

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
        private const float InverseSqrt2 = 0.70710678118654752f;
        private const float InverseSqrtTwoPi = 0.39894228040143268f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x, TVector dy)
            where TSimd : struct, ISimd<TVector>
        {
            TVector erf = VectorMath.Erf<TSimd, TVector>(TSimd.Multiply(x, TSimd.Broadcast(InverseSqrt2)));
            TVector distribution = TSimd.Multiply(TSimd.Add(TSimd.Broadcast(1f), erf), TSimd.Broadcast(0.5f));
            TVector exponent = TSimd.Multiply(TSimd.Multiply(x, x), TSimd.Broadcast(-0.5f));
            TVector density = TSimd.Multiply(VectorMath.Exp<TSimd, TVector>(exponent), TSimd.Broadcast(InverseSqrtTwoPi));
            return TSimd.Multiply(dy, TSimd.Add(distribution, TSimd.Multiply(x, density)));
        }
    }
}
