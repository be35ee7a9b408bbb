using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Gated activation: <c>gateUp [.., 2f] → silu(gate) · up [.., f]</c>, the gate's columns first (Shazeer, 2020).
/// </summary>
public sealed record SwiGlu : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "gateUp")
            .That(inputs[0].Shape.Rank >= 1 && inputs[0].Shape.Columns % 2 == 0,
                $"input 0 (gateUp) must have an even number of columns, not {inputs[0]}");
        return [inputs[0] with { Shape = inputs[0].Shape.WithColumns(inputs[0].Shape.Columns / 2) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new SwiGluBackward(), context.Inputs[0], context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5.0 * outputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape y = arguments.Output(0).Shape;
        Apply(arguments.InputPointer(0), arguments.OutputPointer(0), arguments.Input(0).Shape.Rows, y.Columns);
    }

    /// <summary>Row by row: gateUp [rows, 2·columns] → y [rows, columns].</summary>
    internal static unsafe void Apply(float* gateUp, float* y, int rows, int columns) =>
        ElementWise.ForRows(rows, 2 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* gate = gateUp + (long)row * 2 * columns;
                ElementMap.Apply<Forward>(gate, gate + columns, y + (long)row * columns, columns);
            }
        });

    private readonly struct Forward : IBinaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector gate, TVector up)
            where TSimd : struct, ISimd<TVector> =>
            TSimd.Multiply(TSimd.Multiply(gate, VectorMath.Sigmoid<TSimd, TVector>(gate)), up);
    }
}

/// <summary>The gradient of <see cref="SwiGlu"/>: <c>(gateUp [.., 2f], dy [.., f]) → dgateUp [.., 2f]</c>.</summary>
public sealed record SwiGluBackward : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "gateUp").Activation(1, "dy", 0, "gateUp")
            .That(inputs[0].Shape.Rank >= 1 && inputs[0].Shape.Columns % 2 == 0,
                $"input 0 (gateUp) must have an even number of columns, not {inputs[0]}")
            .Shape(1, "dy", [.. inputs[0].Shape.WithColumns(inputs[0].Shape.Columns / 2).Dimensions]);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(10.0 * inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(1).Shape.Columns;
        float* gateUp = arguments.InputPointer(0), dy = arguments.InputPointer(1), result = arguments.OutputPointer(0);
        ElementWise.ForRows(arguments.Input(1).Shape.Rows, 4 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                BackwardRow(gateUp + (long)row * 2 * columns, dy + (long)row * columns,
                    result + (long)row * 2 * columns, columns);
        });
    }

    private static unsafe void BackwardRow(float* gateUp, float* dy, float* result, int columns)
    {
        if (Vector512.IsHardwareAccelerated)
            BackwardRow<Simd512, Vector512<float>>(gateUp, dy, result, columns);
        else if (Vector256.IsHardwareAccelerated)
            BackwardRow<Simd256, Vector256<float>>(gateUp, dy, result, columns);
        else
            BackwardRow<Simd128, Vector128<float>>(gateUp, dy, result, columns);
    }

    private static unsafe void BackwardRow<TSimd, TVector>(float* gateUp, float* dy, float* result, int columns)
        where TSimd : struct, ISimd<TVector>
    {
        int index = 0;
        for (; index <= columns - TSimd.Count; index += TSimd.Count)
            BackwardElements<TSimd, TVector>(gateUp + index, dy + index, result + index, columns);
        for (; index < columns; index++)
            BackwardElements<SimdScalar, float>(gateUp + index, dy + index, result + index, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void BackwardElements<TSimd, TVector>(float* gateUp, float* dy, float* result, int columns)
        where TSimd : struct, ISimd<TVector>
    {
        TVector gate = TSimd.Load(gateUp), up = TSimd.Load(gateUp + columns), gradient = TSimd.Load(dy);
        TVector sigmoid = VectorMath.Sigmoid<TSimd, TVector>(gate), one = TSimd.Broadcast(1f);
        TVector slope = TSimd.Add(one, TSimd.Multiply(gate, TSimd.Subtract(one, sigmoid)));
        TSimd.Store(result, TSimd.Multiply(TSimd.Multiply(TSimd.Multiply(gradient, up), sigmoid), slope));
        TSimd.Store(result + columns, TSimd.Multiply(gradient, TSimd.Multiply(gate, sigmoid)));
    }
}

/// <summary>
/// <see cref="SplitColumns"/> into two halves, <see cref="Silu"/> of the first, <see cref="Multiply"/> by the second →
/// <see cref="SwiGlu"/>.
/// </summary>
public sealed class SwiGluFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(SwiGlu);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not Multiply)
            return null;
        return MatchOrdered(node, node.Inputs[0], node.Inputs[1], uses)
            ?? MatchOrdered(node, node.Inputs[1], node.Inputs[0], uses);
    }

    private static FusionMatch? MatchOrdered(Node node, Value activated, Value up, ValueUses uses)
    {
        if (activated.Producer is not { Op: Silu } silu || silu.Inputs[0].Producer is not { Op: SplitColumns } split)
            return null;
        Value gate = silu.Inputs[0];
        bool halves = split.Outputs.Count == 2 && split.Outputs[0] == gate && split.Outputs[1] == up && gate.Type == up.Type;
        if (!halves || !uses.OnlyReadBy(activated, node) || !uses.OnlyReadBy(gate, silu) || !uses.OnlyReadBy(up, node))
            return null;
        return new FusionMatch([split, silu, node], new SwiGlu(), [split.Inputs[0]], [node.Outputs[0]]);
    }
}
