using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>The element types of a GGUF file that are read; the numbers are the file's.</summary>
internal enum GgufType
{
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ4_NL = 20,
    IQ4_XS = 23,
    BF16 = 30,
}

/// <summary>Names, sizes and formats of the types.</summary>
internal static class GgufTypes
{
    /// <summary>Values in a block of the types with names that end in _K, and of IQ4_XS.</summary>
    public const int SuperBlock = 256;

    // What else there is or was, so that an error can name it.
    private static readonly (uint Number, string Name)[] s_others =
    [
        (4, "Q4_2"), (5, "Q4_3"), (9, "Q8_1"), (15, "Q8_K"), (16, "IQ2_XXS"), (17, "IQ2_XS"), (18, "IQ3_XXS"), (19, "IQ1_S"),
        (21, "IQ3_S"), (22, "IQ2_S"), (24, "I8"), (25, "I16"), (26, "I32"), (27, "I64"), (28, "F64"), (29, "IQ1_M"),
        (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"), (34, "TQ1_0"), (35, "TQ2_0"), (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"), (38, "IQ4_NL_8_8"), (39, "MXFP4"), (40, "NVFP4"),
    ];

    /// <summary>The types that are read, for errors.</summary>
    public static string Supported { get; } = string.Join(", ", Enum.GetNames<GgufType>());

    /// <summary>Whether a number is that of a type that is read.</summary>
    public static bool TryParse(uint number, out GgufType type)
    {
        type = (GgufType)number;
        return number <= int.MaxValue && Enum.IsDefined(type);
    }

    /// <summary>A type that is not read, as an error names it.</summary>
    public static string Describe(uint number) =>
        Array.Find(s_others, other => other.Number == number) is { Name: { } name } ? name : $"number {number}";

    /// <summary>Consecutive values of a row that are stored together.</summary>
    public static int BlockSize(this GgufType type) => type switch
    {
        GgufType.F32 or GgufType.F16 or GgufType.BF16 => 1,
        GgufType.Q4_0 or GgufType.Q4_1 or GgufType.Q5_0 or GgufType.Q5_1 or GgufType.Q8_0 or GgufType.IQ4_NL => 32,
        _ => SuperBlock,
    };

    /// <summary>The bytes of a block.</summary>
    public static int BlockBytes(this GgufType type) => type switch
    {
        GgufType.F32 => 4,
        GgufType.F16 or GgufType.BF16 => 2,
        GgufType.Q4_0 or GgufType.IQ4_NL => 18,
        GgufType.Q4_1 => 20,
        GgufType.Q5_0 => 22,
        GgufType.Q5_1 => 24,
        GgufType.Q8_0 => 34,
        GgufType.Q2_K => 84,
        GgufType.Q3_K => 110,
        GgufType.Q4_K => 144,
        GgufType.Q5_K => 176,
        GgufType.Q6_K => 210,
        GgufType.IQ4_XS => 136,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Unknown type."),
    };

    /// <summary>The type of unquantised elements; null for the others.</summary>
    public static StoredType? Plain(this GgufType type) => type switch
    {
        GgufType.F32 => StoredType.Float32,
        GgufType.F16 => StoredType.Float16,
        GgufType.BF16 => StoredType.BFloat16,
        _ => null,
    };

    /// <summary>How a quantised type is seen; null for the others.</summary>
    public static QuantizedFormat? Format(this GgufType type) => type switch
    {
        GgufType.F32 or GgufType.F16 or GgufType.BF16 => null,
        GgufType.Q4_0 => QuantizedFormat.Q4,
        GgufType.Q4_1 => new QuantizedFormat(CodeType.UInt4, 32, true) { HasHalfScales = true, HasHalfMinimums = true },
        GgufType.Q4_K => Super(CodeType.UInt4, 32, true),
        GgufType.Q8_0 or GgufType.IQ4_NL => QuantizedFormat.Q8,
        GgufType.IQ4_XS => Super(CodeType.Int8, 32, false),
        GgufType.Q5_0 => new QuantizedFormat(CodeType.Int5, 32, false) { HasHalfScales = true },
        GgufType.Q5_1 => new QuantizedFormat(CodeType.UInt5, 32, true) { HasHalfScales = true, HasHalfMinimums = true },
        GgufType.Q5_K => Super(CodeType.UInt5, 32, true),
        GgufType.Q2_K => Super(CodeType.UInt4, 16, true),
        GgufType.Q3_K => Super(CodeType.Int4, 16, false),
        GgufType.Q6_K => Super(CodeType.Int6, 16, false),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Unknown type."),
    };

    private static QuantizedFormat Super(CodeType codes, int block, bool hasMinimum) =>
        new(codes, block, hasMinimum) { SuperBlockSize = SuperBlock };
}
