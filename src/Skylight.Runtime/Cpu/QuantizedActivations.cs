using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>What a block of a row of activations is, beside its codes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ActivationBlock
{
    /// <summary>The scale s: value ≈ s · code.</summary>
    public float Scale;

    /// <summary>−bias · Σ codes, which the sum of products starts from, because the weight's codes have the bias in them.</summary>
    public int Start;

    /// <summary>s · Σ codes, which minimums are multiplied with.</summary>
    public float ScaledSum;

    /// <summary>Σ codes, which zeros are multiplied with.</summary>
    public float Sum;
}

/// <summary>
/// Rounds rows of activations to signed bytes, with a scale for each block of a row: s = max |x| / 127, code = x · (127 /
/// max |x|) to nearest even. A row's codes depend on nothing but the row. A block that is not finite has a scale of NaN, so
/// that its row's results are.
/// </summary>
internal static class QuantizedActivations
{
    /// <summary>Rounds one block.</summary>
    /// <param name="source">Its values, at most as many as a block has.</param>
    /// <param name="bias">The weight's.</param>
    /// <param name="codes">As many as a block has; filled up with zeros.</param>
    public static ActivationBlock Round(ReadOnlySpan<float> source, int bias, Span<sbyte> codes)
    {
        float largest = 0;
        bool finite = true;
        foreach (float value in source)
        {
            finite &= float.IsFinite(value);
            largest = Math.Max(largest, Math.Abs(value));
        }

        codes.Clear();
        if (!finite)
            return new ActivationBlock { Scale = float.NaN, ScaledSum = float.NaN };
        // So small that 127 / max is infinite: zero.
        float inverse = 127f / largest;
        if (!float.IsFinite(inverse))
            return default;
        int sum = 0;
        for (int index = 0; index < source.Length; index++)
        {
            int code = (int)MathF.Round(source[index] * inverse);
            codes[index] = (sbyte)code;
            sum += code;
        }

        float scale = largest / 127f;
        return new ActivationBlock { Scale = scale, Start = -bias * sum, ScaledSum = scale * sum, Sum = sum };
    }
}
