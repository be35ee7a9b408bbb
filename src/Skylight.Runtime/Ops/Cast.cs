using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The same numbers in another data type: <c>x → x</c> in any shape and storage order. float32 becomes bfloat16 by
/// rounding to nearest, ties to even; bfloat16 becomes float32 exactly.
/// </summary>
/// <param name="Target">The data type of the output: float32 or bfloat16.</param>
public sealed record Cast(DataType Target) : Op, ICpuKernel
{
    /// <summary>A value in a data type: itself, where it has that type already.</summary>
    /// <param name="graph">Where to append the cast.</param>
    /// <param name="value">The value.</param>
    /// <param name="target">The wanted data type.</param>
    public static Value To(Graph graph, Value value, DataType target)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(value);
        return value.Type.DataType == target ? value : graph.Add(new Cast(target), value);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Is(0, "x", DataType.Float32, DataType.BFloat16)
            .That(Target.IsFloatingPoint(), $"the target must be {DataType.Float32} or {DataType.BFloat16}, not {Target}");
        return [inputs[0] with { DataType = Target }];
    }

    /// <summary>
    /// The gradient in the data type of x; that of a parameter in float32, as all gradients of parameters are.
    /// </summary>
    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value x = context.Inputs[0];
        return [To(context.Graph, context.OutputGradient(0), x.Kind == ValueKind.Persistent ? DataType.Float32
            : x.Type.DataType)];
    }

    /// <summary>Reads parameters of either type; the CPU has no bfloat16 activations to write.</summary>
    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* y = arguments.OutputPointer(0);
        int count = arguments.OutputFloat32(0).Length;
        if (arguments.Input(0).Type.DataType == DataType.BFloat16)
        {
            var stored = (BFloat16*)CpuMemory.Pointer(arguments.Input(0));
            ElementWise.For(count, (start, length) =>
            {
                for (int index = start; index < start + length; index++)
                    y[index] = stored[index];
            });
            return;
        }

        float* x = arguments.InputPointer(0);
        ElementWise.For(count,
            (start, length) => new ReadOnlySpan<float>(x + start, length).CopyTo(new Span<float>(y + start, length)));
    }
}
