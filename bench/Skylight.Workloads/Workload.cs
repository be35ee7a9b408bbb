using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>An input of a workload: its type and how it is filled.</summary>
/// <param name="Type">Element type, shape and storage.</param>
/// <param name="Fill">Makes the elements, row-major, from a seed: <c>float[]</c> or <c>int[]</c>.</param>
/// <param name="Differentiable">Whether its gradient is to be checked.</param>
/// <param name="Persistent">Whether it is a persistent tensor (a parameter, or state that the op changes).</param>
/// <param name="KeepsType">Whether it has its data type whatever the activations are (pixels, or what a test is
/// about).</param>
public sealed record Operand(TensorType Type, Func<int, Array> Fill, bool Differentiable = false,
    bool Persistent = false, bool KeepsType = false)
{
    /// <summary>
    /// Of a quantised weight: makes its codes from a seed; <see cref="Fill"/> then gives their values. Null for everything
    /// else.
    /// </summary>
    public Func<int, QuantizedElements>? Codes { get; init; }

    /// <summary>Normal random float32 activations, differentiable.</summary>
    public static Operand Normal(params int[] shape) => Normal(1f, shape);

    /// <summary>Normal random float32 activations of a given standard deviation, differentiable.</summary>
    public static Operand Normal(float deviation, params int[] shape) =>
        new(TensorType.Float32(shape), seed => Random(seed, new Shape(shape).ElementCount, deviation, 0),
            Differentiable: true);

    /// <summary>A weight [outputs, inputs] in the device's storage order, differentiable.</summary>
    public static Operand Weight(DataType dataType, int outputs, int inputs) =>
        new(new TensorType(dataType, new Shape(outputs, inputs), Storage.Weight),
            seed => Random(seed, (long)outputs * inputs, 1f / MathF.Sqrt(inputs), 0),
            Differentiable: dataType == DataType.Float32, Persistent: true);

    /// <summary>A weight [outputs, inputs] that stays quantised in memory.</summary>
    public static Operand Quantized(QuantizedFormat format, int outputs, int inputs)
    {
        var shape = new Shape(outputs, inputs);
        return new(TensorType.Quantized(format, shape), seed => QuantizedElements.Random(format, shape, seed).Values(),
            Persistent: true)
        { Codes = seed => QuantizedElements.Random(format, shape, seed) };
    }

    /// <summary>The same numbers as a plain float32 operand, for a device that does not multiply the quantised one.</summary>
    public Operand Dequantized() => Codes is null ? this
        : this with { Type = new TensorType(DataType.Float32, Type.Shape, Type.Storage), Codes = null };

    /// <summary>Uniform random int32 in [minimum, maximum).</summary>
    public static Operand Integers(int minimum, int maximum, params int[] shape) => new(TensorType.Int32(shape), seed =>
    {
        var random = new Random(seed);
        var values = new int[new Shape(shape).ElementCount];
        for (int index = 0; index < values.Length; index++)
            values[index] = random.Next(minimum, maximum);
        return values;
    });

    /// <summary>Given int32 elements.</summary>
    public static Operand Integers(int[] values) => new(TensorType.Int32(values.Length), _ => values);

    /// <summary>Given float32 elements, not differentiable.</summary>
    public static Operand Constant(params float[] values) => new(TensorType.Float32(values.Length), _ => values);

    private static float[] Random(int seed, long count, float deviation, float mean)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (long index = 0; index < count; index++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            values[index] = (float)(mean + deviation * radius * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        return values;
    }
}

/// <summary>
/// One op at one shape, on the CPU's float32 activations; <see cref="WorkloadActivations.ForActivations"/> gives it for
/// other ones. Tests take the small ones for correctness, gradients and misuse; benchmarks take all of them.
/// </summary>
/// <param name="Name">op/shape, for example <c>rms_norm/tiny</c>.</param>
/// <param name="Op">What is computed.</param>
/// <param name="Inputs">On what.</param>
/// <param name="Tiny">Whether it is small enough for finite differences.</param>
public sealed record Workload(string Name, Op Op, IReadOnlyList<Operand> Inputs, bool Tiny)
{
    /// <summary>
    /// The op for activations of a data type, where one of its attributes names that; by default always
    /// <see cref="Op"/>.
    /// </summary>
    public Func<DataType, Op>? OpFor { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Name;
}
