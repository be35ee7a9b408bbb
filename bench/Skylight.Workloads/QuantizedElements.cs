using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>The codes, scales and minimums of a quantised weight.</summary>
/// <param name="Type">Format and shape [outputs, inputs].</param>
/// <param name="Codes">Row-major, one a byte.</param>
/// <param name="Scales">[outputs, blocks of a row].</param>
/// <param name="Minimums">The same; empty where the format has none.</param>
/// <param name="SuperScales">[outputs, super-blocks, 1 or 2]; empty where the format has none.</param>
public sealed record QuantizedElements(TensorType Type, sbyte[] Codes, float[] Scales, float[] Minimums, float[] SuperScales)
{
    // QLoRA, arXiv 2305.14314, appendix E.
    private static readonly float[] s_quantiles =
    [
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
    ];

    private QuantizedFormat Format => Type.Format!;

    /// <summary>Every code with equal chance, with scales that make values as large as those of a weight.</summary>
    public static QuantizedElements Random(QuantizedFormat format, Shape shape, int seed)
    {
        ArgumentNullException.ThrowIfNull(format);
        var random = new Random(seed);
        int low = format.Codes == CodeType.Float8E4M3 ? -128 : -format.CodeBias;
        var codes = new sbyte[shape.ElementCount];
        for (int index = 0; index < codes.Length; index++)
        {
            do
                codes[index] = (sbyte)random.Next(low, low + (1 << format.CodeBits));
            while (format.Codes == CodeType.Float8E4M3 && (codes[index] & 0x7F) == 0x7F);
        }

        float spread = MathF.Sqrt(shape.Columns) * (format.Codes == CodeType.NormalFloat4 ? 0.5f
            : format.Codes == CodeType.Float8E4M3 ? 100 : (1 << format.CodeBits) / 3.5f);
        int blocks = shape.Rows * format.BlocksOf(shape.Columns);
        float[] scales = new float[blocks], minimums = format.HasMinimum ? new float[blocks] : [];
        for (int block = 0; block < blocks; block++)
        {
            float scale = (0.5f + random.NextSingle()) / spread * (random.Next(4) == 0 ? -1 : 1);
            scales[block] = format.HasHalfScales ? (float)(Half)scale : scale;
            if (format.HasMinimum)
                minimums[block] = scales[block] * (format.HasZeroPoints ? -random.Next(17) : -16 * random.NextSingle());
            if (format.HasHalfMinimums)
                minimums[block] = (float)(Half)minimums[block];
        }

        return new QuantizedElements(TensorType.Quantized(format, shape), codes, scales, minimums,
            MakeMultiples(format, shape.Columns, scales, minimums, random));
    }

    /// <summary>Makes the scales and minimums of each super-block multiples, by a byte, of one number of binary16.</summary>
    private static float[] MakeMultiples(QuantizedFormat format, int inputs, float[] scales, float[] minimums, Random random)
    {
        if (format.SuperBlockSize == 0)
            return [];
        int blocks = format.BlocksOf(inputs), each = format.HasMinimum ? 2 : 1, perSuper = format.SuperBlockSize / format.BlockSize,
            supers = format.SuperScalesOf(inputs), rows = scales.Length / blocks;
        var result = new float[rows * supers];
        for (int row = 0; row < rows; row++)
        {
            for (int block = 0; block < blocks; block++)
            {
                int at = row * blocks + block, super = row * supers + block / perSuper * each;
                if (block % perSuper == 0)
                {
                    result[super] = (float)(Half)(scales[at] / 40);
                    if (each == 2)
                        result[super + 1] = (float)(Half)(minimums[at] / 40);
                }

                scales[at] = result[super] * random.Next(-128, 128);
                if (each == 2)
                    minimums[at] = result[super + 1] * random.Next(-128, 128);
            }
        }

        return result;
    }

    /// <summary>The values, row-major: scale · code, then the minimum, each rounded to float32.</summary>
    public float[] Values()
    {
        int inputs = Type.Shape.Columns, blocks = Format.BlocksOf(inputs);
        var values = new float[Codes.Length];
        for (int index = 0; index < values.Length; index++)
        {
            int block = index / inputs * blocks + index % inputs / Format.BlockSize;
            float value = Scales[block] * ValueOf(Codes[index]);
            values[index] = Format.HasMinimum ? value + Minimums[block] : value;
        }

        return values;
    }

    /// <summary>Writes them to a device that multiplies such weights.</summary>
    public void Upload(Device device, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(device);
        device.UploadCodes(destination, Codes, Scales, Minimums, SuperScales);
    }

    private float ValueOf(sbyte code)
    {
        switch (Format.Codes)
        {
            case CodeType.NormalFloat4:
                return s_quantiles[code];
            case CodeType.Float8E4M3:
                int exponent = (code >> 3) & 15, mantissa = code & 7;
                float magnitude = (code & 0x7F) == 0x7F ? float.NaN
                    : exponent == 0 ? MathF.ScaleB(mantissa, -9) : MathF.ScaleB(8 + mantissa, exponent - 10);
                return code < 0 ? -magnitude : magnitude;
            default:
                return code;
        }
    }
}
