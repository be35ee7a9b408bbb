using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Adds to a persistent float32 tensor in any storage: <c>(accumulator, value) → nothing</c>; accumulator ← accumulator
/// + value. The value is float32 or bfloat16. For gradients of several micro-batches.
/// </summary>
public sealed record Accumulate : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => [0];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "accumulator", DataType.Float32)
            .Is(1, "value", DataType.Float32, DataType.BFloat16)
            .That(inputs[0].Shape == inputs[1].Shape && inputs[0].Storage == inputs[1].Storage,
                "accumulator and value must have one shape and storage");
        return [];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs) + inputs[0].Bytes);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* accumulator = arguments.InputPointer(0);
        if (arguments.Input(1).Type.DataType == DataType.BFloat16)
        {
            var stored = (BFloat16*)CpuMemory.Pointer(arguments.Input(1));
            ElementWise.For(arguments.InputFloat32(0).Length, (start, count) =>
            {
                for (int index = start; index < start + count; index++)
                    accumulator[index] += stored[index];
            });
            return;
        }

        float* value = arguments.InputPointer(1);
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
    public void Run(in CpuArguments arguments) => CpuMemory.Clear(arguments.Input(0));
}
