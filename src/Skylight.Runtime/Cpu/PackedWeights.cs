using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Weights that stay quantised in memory, whichever layout they have: <see cref="QuantizedLayout"/> of integers,
/// <see cref="FloatCodeLayout"/> of codes that are none.
/// </summary>
internal static unsafe class PackedWeights
{
    /// <summary>
    /// Grows with every change of how weights lie in memory, of panels of numbers too: files of other versions are not
    /// read.
    /// </summary>
    public const int Version = 1;

    /// <summary>Whether there are products with weights of a format.</summary>
    public static bool Supports(QuantizedFormat format) =>
        QuantizedLayout.Of(format) is not null || FloatCodeLayout.Supports(format);

    /// <summary>The bytes of a weight, padding included.</summary>
    public static long BytesOf(TensorType type) => FloatCodeLayout.Of(type) is { } layout
        ? layout.BytesOf(type.Shape.Rows) : QuantizedLayout.Of(type).BytesOf(type.Shape);

    /// <summary>Puts a weight, or rows of one, into its layout.</summary>
    public static void Pack(TensorType type, in QuantizedNumbers numbers, byte* target)
    {
        if (FloatCodeLayout.Of(type) is { } layout)
            layout.Pack(numbers.Format, (sbyte*)numbers.Codes, (float*)numbers.Scales, type.Shape.Rows, target);
        else
            QuantizedPacking.Pack(QuantizedLayout.Of(type), numbers, type.Shape.Rows, target);
    }

    /// <summary>One output's values.</summary>
    public static void DequantizeRow(TensorType type, byte* weight, int output, Span<float> target)
    {
        if (FloatCodeLayout.Of(type) is { } layout)
            layout.DequantizeRow(weight, output, target);
        else
            QuantizedLayout.Of(type).DequantizeRow(weight, output, type.Shape.Columns, target);
    }
}
