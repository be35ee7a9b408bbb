using System.Numerics;
using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// One step of Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW computes it:
/// <c>(weight, gradient, firstMoment, secondMoment, hyper [4], gradientScale [1] (, master)) → nothing</c>. Changes weight,
/// both moments and the master copy in place, element by element, in any storage.
/// </summary>
/// <remarks>
/// hyper = (learning rate, weight decay, 1 − β1^t, 1 − β2^t) for step t = 1, 2, …. With g = gradient·gradientScale:
/// w ← w·(1 − lr·decay); m ← m + (1 − β1)(g − m); v ← β2·v + (1 − β2)·g²; w ← w − lr/(1 − β1^t) · m / (√v/√(1 − β2^t) + ε).
/// A gradientScale that is not finite (see <see cref="GradientNorm"/>) leaves everything as it is.
/// A bfloat16 weight is the rounded copy of a float32 master, to which the step is applied.
/// </remarks>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added to the denominator.</param>
/// <param name="HasMaster">Whether a float32 master copy is the seventh input: exactly where the weight is bfloat16.</param>
public sealed record AdamW(float Beta1, float Beta2, float Epsilon, bool HasMaster = false) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => HasMaster ? [0, 2, 3, 6] : [0, 2, 3];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(6, 7).Is(0, "weight", DataType.Float32, DataType.BFloat16);
        bool isHalf = inputs[0].DataType == DataType.BFloat16;
        check.That(Beta1 is >= 0 and < 1 && Beta2 is >= 0 and < 1, $"both betas must be in [0, 1), not {Beta1} and {Beta2}")
            .That(isHalf == HasMaster, isHalf
                ? "a bfloat16 weight needs a float32 master copy as input 6 and HasMaster: true"
                : "a float32 weight takes no master copy: HasMaster must be false")
            .Count(HasMaster ? 7 : 6);
        TensorType state = inputs[0] with { DataType = DataType.Float32 };
        check.That(inputs[1] == state, $"input 1 (gradient) must be {state}, not {inputs[1]}")
            .That(inputs[2] == state, $"input 2 (firstMoment) must be {state}, not {inputs[2]}")
            .That(inputs[3] == state, $"input 3 (secondMoment) must be {state}, not {inputs[3]}")
            .Is(4, "hyper", DataType.Float32).Shape(4, "hyper", 4)
            .Is(5, "gradientScale", DataType.Float32).Shape(5, "gradientScale", 1);
        if (HasMaster)
            check.That(inputs[6] == state, $"input 6 (master) must be {state}, not {inputs[6]}");
        return [];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(14.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs) + MutatedInputs.Sum(input => inputs[input].Bytes));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float scale = arguments.InputFloat32(5)[0];
        if (!float.IsFinite(scale))
            return;
        ReadOnlySpan<float> hyper = arguments.InputFloat32(4);
        var step = new Step(this, hyper[0], hyper[1], hyper[2], hyper[3], scale);
        int count = arguments.InputFloat32(1).Length;
        float* gradient = arguments.InputPointer(1), first = arguments.InputPointer(2), second = arguments.InputPointer(3);
        float* weight = arguments.InputPointer(HasMaster ? 6 : 0);
        ushort* rounded = HasMaster ? (ushort*)CpuMemory.Pointer(arguments.Input(0)) : null;
        ElementWise.For(count, (start, length) =>
        {
            step.Apply(new Span<float>(weight + start, length), new ReadOnlySpan<float>(gradient + start, length),
                new Span<float>(first + start, length), new Span<float>(second + start, length));
            if (rounded != null)
                Round(new ReadOnlySpan<float>(weight + start, length), new Span<ushort>(rounded + start, length));
        });
    }

    /// <summary>Rounds to bfloat16 as <see cref="BFloat16"/> does.</summary>
    private static void Round(ReadOnlySpan<float> source, Span<ushort> target)
    {
        int index = 0;
        for (; index <= source.Length - Vector<ushort>.Count; index += Vector<ushort>.Count)
        {
            Vector<uint> low = Round(new Vector<float>(source[index..])),
                high = Round(new Vector<float>(source[(index + Vector<float>.Count)..]));
            Vector.Narrow(low, high).CopyTo(target[index..]);
        }

        for (; index < source.Length; index++)
            target[index] = ((BFloat16)source[index]).Bits;
    }

    private static Vector<uint> Round(Vector<float> value)
    {
        Vector<uint> bits = Vector.AsVectorUInt32(value);
        Vector<uint> rounded = bits + new Vector<uint>(0x7FFF) + (Vector.ShiftRightLogical(bits, 16) & Vector<uint>.One);
        Vector<uint> isNumber = Vector.AsVectorUInt32(Vector.Equals(value, value));
        return Vector.ShiftRightLogical(
            Vector.ConditionalSelect(isNumber, rounded, bits | new Vector<uint>(0x00400000)), 16);
    }

    /// <summary>The step with all that does not depend on the element computed before.</summary>
    private readonly struct Step
    {
        private readonly float _scale, _keep, _firstRate, _secondDecay, _secondRate, _correction, _epsilon, _rate;

        public Step(AdamW op, float learningRate, float weightDecay, float firstCorrection, float secondCorrection,
            float scale)
        {
            _scale = scale;
            _keep = (float)(1 - (double)learningRate * weightDecay);
            // 0.999 as a float is 1.3e-8 off, which 1 − β would make 1.3e-5 of itself: go by the decimal that was meant.
            _firstRate = (float)(1 - (decimal)op.Beta1);
            _secondDecay = op.Beta2;
            _secondRate = (float)(1 - (decimal)op.Beta2);
            _correction = (float)Math.Sqrt(secondCorrection);
            _epsilon = op.Epsilon;
            _rate = (float)((double)learningRate / firstCorrection);
        }

        public void Apply(Span<float> weight, ReadOnlySpan<float> gradient, Span<float> first, Span<float> second)
        {
            Span<Vector<float>> weights = MemoryMarshal.Cast<float, Vector<float>>(weight),
                firsts = MemoryMarshal.Cast<float, Vector<float>>(first),
                seconds = MemoryMarshal.Cast<float, Vector<float>>(second);
            ReadOnlySpan<Vector<float>> gradients = MemoryMarshal.Cast<float, Vector<float>>(gradient);
            Vector<float> firstRate = new(_firstRate), correction = new(_correction), epsilon = new(_epsilon);
            for (int index = 0; index < weights.Length; index++)
            {
                Vector<float> g = gradients[index] * _scale, m = firsts[index], v = seconds[index] * _secondDecay;
                m += (g - m) * firstRate;
                v += g * g * _secondRate;
                firsts[index] = m;
                seconds[index] = v;
                weights[index] = weights[index] * _keep - m / (Vector.SquareRoot(v) / correction + epsilon) * _rate;
            }

            for (int index = weights.Length * Vector<float>.Count; index < weight.Length; index++)
            {
                float g = gradient[index] * _scale, m = first[index], v = second[index] * _secondDecay;
                m += (g - m) * _firstRate;
                v += g * g * _secondRate;
                first[index] = m;
                second[index] = v;
                weight[index] = weight[index] * _keep - m / (MathF.Sqrt(v) / _correction + _epsilon) * _rate;
            }
        }
    }
}
