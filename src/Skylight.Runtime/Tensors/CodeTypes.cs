namespace Skylight.Tensors;

/// <summary>What codes that are no integers stand for.</summary>
public static class CodeTypes
{
    private static readonly float[] s_float8 = Float8();

    // QLoRA, arXiv 2305.14314, appendix E.
    private static ReadOnlySpan<float> NormalFloat4 =>
    [
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
        -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
        0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
    ];

    /// <summary>
    /// The number that each code, taken as unsigned, stands for: 256 of <see cref="CodeType.Float8E4M3"/> (NaN for the
    /// two codes that stand for none), 16 of <see cref="CodeType.NormalFloat4"/>. Empty for integers, which stand for
    /// themselves.
    /// </summary>
    public static ReadOnlySpan<float> Values(this CodeType codes) => codes switch
    {
        CodeType.Float8E4M3 => s_float8,
        CodeType.NormalFloat4 => NormalFloat4,
        _ => [],
    };

    private static float[] Float8()
    {
        float[] values = new float[256];
        for (int code = 0; code < 256; code++)
        {
            int exponent = (code >> 3) & 0xF, mantissa = code & 7;
            float magnitude = (code & 0x7F) == 0x7F ? float.NaN
                : exponent == 0 ? MathF.ScaleB(mantissa, -9) : MathF.ScaleB(8 + mantissa, exponent - 10);
            values[code] = code < 128 ? magnitude : -magnitude;
        }

        return values;
    }
}
