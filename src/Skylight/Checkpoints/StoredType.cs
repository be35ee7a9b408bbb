using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>The element type of a tensor in a safetensors file.</summary>
public enum StoredType
{
    /// <summary>"F64": IEEE 754 binary64.</summary>
    Float64,

    /// <summary>"F32": IEEE 754 binary32.</summary>
    Float32,

    /// <summary>"F16": IEEE 754 binary16.</summary>
    Float16,

    /// <summary>"BF16": <see cref="Tensors.BFloat16"/>.</summary>
    BFloat16,

    /// <summary>"I64": 64-bit signed integer.</summary>
    Int64,

    /// <summary>"I32": 32-bit signed integer.</summary>
    Int32,

    /// <summary>"U8": byte.</summary>
    UInt8,

    /// <summary>"BOOL": one byte, 0 or 1.</summary>
    Boolean,

    /// <summary>"F8_E4M3": the codes of a weight of 8-bit floating point, which mean nothing without their scales.</summary>
    Float8E4M3,
}

/// <summary>Names and sizes of the stored types.</summary>
public static class StoredTypes
{
    private static readonly (string Name, StoredType Type)[] s_names =
    [
        ("F64", StoredType.Float64), ("F32", StoredType.Float32), ("F16", StoredType.Float16), ("BF16", StoredType.BFloat16),
        ("I64", StoredType.Int64), ("I32", StoredType.Int32), ("U8", StoredType.UInt8), ("BOOL", StoredType.Boolean),
        ("F8_E4M3", StoredType.Float8E4M3),
    ];

    /// <summary>The size of one element in bytes.</summary>
    public static int Size(this StoredType type) => type switch
    {
        StoredType.Float64 or StoredType.Int64 => 8,
        StoredType.Float32 or StoredType.Int32 => 4,
        StoredType.Float16 or StoredType.BFloat16 => 2,
        _ => 1,
    };

    /// <summary>The name in a safetensors header, such as "BF16".</summary>
    public static string HeaderName(this StoredType type) => Array.Find(s_names, pair => pair.Type == type).Name;

    /// <summary>The stored type that holds a device type exactly.</summary>
    public static StoredType ToStored(this DataType dataType) => dataType switch
    {
        DataType.Float32 => StoredType.Float32,
        DataType.BFloat16 => StoredType.BFloat16,
        DataType.Int32 => StoredType.Int32,
        _ => throw new ArgumentOutOfRangeException(nameof(dataType), dataType, "Unknown data type."),
    };

    internal static bool IsFloatingPoint(this StoredType type) =>
        type is StoredType.Float64 or StoredType.Float32 or StoredType.Float16 or StoredType.BFloat16;

    internal static bool IsInteger(this StoredType type) =>
        type is StoredType.Int64 or StoredType.Int32 or StoredType.UInt8 or StoredType.Boolean;

    internal static bool TryParse(string? name, out StoredType type)
    {
        foreach ((string known, StoredType value) in s_names)
        {
            if (known == name)
            {
                type = value;
                return true;
            }
        }

        type = default;
        return false;
    }

    internal static string Supported => string.Join(", ", s_names.Select(pair => pair.Name));
}
