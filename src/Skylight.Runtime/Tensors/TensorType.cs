namespace Skylight.Tensors;

/// <summary>In which order the elements of a tensor lie in memory.</summary>
public enum Storage
{
    /// <summary>Row-major, dense.</summary>
    RowMajor,

    /// <summary>
    /// The right-hand operand of a matrix product, <c>[outputs, inputs]</c>, in the order that the device likes best
    /// (on the CPU: panels of 32 outputs, see <c>Skylight.Cpu.WeightPanels</c>; on CUDA: row-major). Only matrix products,
    /// embedding look-ups and element-wise updates read it; everything else goes through <c>Device.Upload</c> and
    /// <c>Download</c>.
    /// </summary>
    Weight,
}

/// <summary>What a value of a graph is: element type, shape and storage order.</summary>
/// <param name="DataType">The element type.</param>
/// <param name="Shape">The extents.</param>
/// <param name="Storage">The order of the elements in memory.</param>
public readonly record struct TensorType(DataType DataType, Shape Shape, Storage Storage = Storage.RowMajor)
{
    /// <summary>A row-major float32 type.</summary>
    public static TensorType Float32(params ReadOnlySpan<int> dimensions) => new(DataType.Float32, new Shape(dimensions));

    /// <summary>A row-major int32 type.</summary>
    public static TensorType Int32(params ReadOnlySpan<int> dimensions) => new(DataType.Int32, new Shape(dimensions));

    /// <summary>How a quantised weight is coded; null for everything else.</summary>
    public QuantizedFormat? Format { get; init; }

    /// <summary>The type of a quantised weight, in weight storage.</summary>
    /// <param name="format">How it is coded.</param>
    /// <param name="shape">[outputs, inputs].</param>
    public static TensorType Quantized(QuantizedFormat format, Shape shape)
    {
        ArgumentNullException.ThrowIfNull(format);
        return new TensorType(DataType.Quantized, shape, Storage.Weight) { Format = format };
    }

    /// <summary>The bytes of the elements, without any padding a device may add.</summary>
    public long Bytes => Format is { } format ? format.BytesOf(Shape) : Shape.ElementCount * DataType.Size();

    /// <inheritdoc/>
    public override string ToString()
    {
        string name = DataType switch
        {
            DataType.Float32 => "f32",
            DataType.BFloat16 => "bf16",
            DataType.Quantized => $"{Format}",
            DataType.Int8 => "i8",
            _ => "i32",
        };
        return Storage == Storage.Weight ? $"{name}{Shape} weight" : $"{name}{Shape}";
    }
}
