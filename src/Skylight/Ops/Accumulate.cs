using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Adds to a persistent float32 tensor in any storage: <c>(accumulator, value) → nothing</c>; accumulator ← accumulator + value. For gradients of several micro-batches.</summary>
public sealed record Accumulate : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => [0];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "accumulator", DataType.Float32)
            .That(inputs[0] == inputs[1], "accumulator and value must be of one type");
        return [];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs) + inputs[0].Bytes);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* accumulator = arguments.InputPointer(0), value = arguments.InputPointer(1);
        ElementWise.For(arguments.InputFloat32(0).Length, (start, count) =>
        {
            var target = new Span<float>(accumulator + start, count);
            TensorPrimitives.Add(target, new ReadOnlySpan<float>(value + start, count), target);
        });
    }
}

/// <summary>Fills a persistent tensor with zeros: <c>tensor → nothing</c>. Any type and storage.</summary>
public sealed record Clear : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => [0];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1);
        return [];
    }

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments) => CpuMemory.Span<byte>(arguments.Input(0)).Clear();
}
