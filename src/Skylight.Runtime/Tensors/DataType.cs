namespace Skylight.Tensors;

/// <summary>The element type of a tensor in device memory.</summary>
public enum DataType
{
    /// <summary>IEEE 754 binary32.</summary>
    Float32,

    /// <summary>bfloat16: the upper half of a binary32, see <see cref="BFloat16"/>.</summary>
    BFloat16,

    /// <summary>32-bit signed integer: token ids, indices, lengths.</summary>
    Int32,

    /// <summary>
    /// Codes with scales, as <see cref="TensorType.Format"/> says: weights of products, for inference only.
    /// </summary>
    Quantized,

    /// <summary>
    /// Bytes of a key-value cache for inference: codes of 8 bits with a bfloat16 scale for every
    /// <see cref="Execution.KeyValuePages.BlockSize"/> numbers, in an order of the device's own.
    /// </summary>
    Int8,
}

/// <summary>Sizes of the data types.</summary>
public static class DataTypes
{
    /// <summary>The size of one element in bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The elements have no size of their own: they are quantised.</exception>
    public static int Size(this DataType dataType) => dataType switch
    {
        DataType.Float32 or DataType.Int32 => 4,
        DataType.BFloat16 => 2,
        DataType.Int8 => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(dataType), dataType, "Elements of this type have no size of their own."),
    };

    /// <summary>Whether the type holds real numbers (and so may carry a gradient).</summary>
    public static bool IsFloatingPoint(this DataType dataType) => dataType is DataType.Float32 or DataType.BFloat16;
}
