using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// What a GGUF file says of its model, by key; an error names the file, the key, what was found and what is supported.
/// Numbers are taken from any of the types of numbers.
/// </summary>
internal sealed class GgufMetadata(string file, ReadOnlyMemory<byte> bytes, IReadOnlyDictionary<string, GgufValue> values)
{
    private const int LongestText = 64 << 20;

    /// <summary>The file.</summary>
    public string File => file;

    /// <summary>The keys.</summary>
    public IEnumerable<string> Keys => values.Keys;

    /// <summary>Whether there is such a key.</summary>
    public bool Has(string key) => values.ContainsKey(key);

    /// <summary>A text; null where there is none.</summary>
    public string? Text(string key)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return null;
        if (value.Type != GgufValueType.Text || value.Length > LongestText)
            throw Error(key, Describe(value), "a text");
        ReadOnlySpan<byte> text = bytes.Span.Slice(value.Start, value.Length);
        return System.Text.Unicode.Utf8.IsValid(text) ? Encoding.UTF8.GetString(text)
            : throw new CheckpointException(file, $"'{key}' is not UTF-8. The file is corrupt.");
    }

    /// <summary>A text that must be there.</summary>
    public string RequiredText(string key) => Text(key) ?? throw Missing(key);

    /// <summary>A whole number; null where there is none.</summary>
    public int? Integer(string key, int least = 0, int most = int.MaxValue)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return null;
        return WholeAt(value.Type, value.Start) is { } number && number >= least && number <= most ? (int)number
            : throw Error(key, Describe(value), string.Create(CultureInfo.InvariantCulture,
                $"a whole number from {least} to {most}"));
    }

    /// <summary>A whole number that must be there.</summary>
    public int RequiredInteger(string key, int least = 0, int most = int.MaxValue) =>
        Integer(key, least, most) ?? throw Missing(key);

    /// <summary>A finite number; null where there is none.</summary>
    public double? Number(string key, string supported, Func<double, bool> fits)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return null;
        return NumberAt(value.Type, value.Start) is { } number && double.IsFinite(number) && fits(number) ? number
            : throw Error(key, Describe(value), supported);
    }

    /// <summary>A positive number that must be there.</summary>
    public double RequiredPositive(string key) =>
        Number(key, "a positive number", number => number > 0) ?? throw Missing(key);

    /// <summary>How many elements a list has; null where there is none.</summary>
    public int? Count(string key) => !values.TryGetValue(key, out GgufValue value) ? null
        : value.Type == GgufValueType.Array ? value.Count : throw Error(key, Describe(value), "a list");

    /// <summary>True or false; null where there is neither.</summary>
    public bool? Boolean(string key) => !values.TryGetValue(key, out GgufValue value) ? null
        : value.Type == GgufValueType.Boolean ? bytes.Span[value.Start] == 1
        : throw Error(key, Describe(value), "true or false");

    /// <summary>A list of whole numbers; default where there is none.</summary>
    public ImmutableArray<int> Integers(string key)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return default;
        if (value.Type != GgufValueType.Array || WholeSize(value.ElementType) is not { } size)
            throw Error(key, Describe(value), "a list of whole numbers");
        var numbers = ImmutableArray.CreateBuilder<int>(value.Count);
        for (int i = 0; i < value.Count; i++)
            numbers.Add(WholeAt(value.ElementType, value.Start + (i * size)) is { } number && number >= int.MinValue
                && number <= int.MaxValue ? (int)number
                : throw new CheckpointException(file, $"'{key}' has an element {i} that does not fit 32 bits."));
        return numbers.MoveToImmutable();
    }

    /// <summary>A list of finite numbers; default where there is none.</summary>
    public ImmutableArray<double> Numbers(string key, int count)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return default;
        string supported = string.Create(CultureInfo.InvariantCulture, $"a list of {count} numbers");
        if (value.Type != GgufValueType.Array || value.ElementType is not (GgufValueType.Float32 or GgufValueType.Float64)
            || value.Count != count)
            throw Error(key, Describe(value), supported);
        var numbers = ImmutableArray.CreateBuilder<double>(count);
        for (int i = 0; i < count; i++)
            numbers.Add(NumberAt(value.ElementType, value.Start + (i * value.Length / value.Count)) is { } number
                && double.IsFinite(number) ? number : throw Error(key, "a list with something else", supported));
        return numbers.MoveToImmutable();
    }

    /// <summary>A list of texts, their bytes; default where there is none.</summary>
    public ImmutableArray<ReadOnlyMemory<byte>> Texts(string key)
    {
        if (!values.TryGetValue(key, out GgufValue value))
            return default;
        if (value.Type != GgufValueType.Array || value.ElementType != GgufValueType.Text)
            throw Error(key, Describe(value), "a list of texts");
        var texts = ImmutableArray.CreateBuilder<ReadOnlyMemory<byte>>(value.Count);
        int position = value.Start;
        for (int i = 0; i < value.Count; i++)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes.Span[position..]);
            texts.Add(bytes.Slice(position + 8, length));
            position += 8 + length;
        }

        return texts.MoveToImmutable();
    }

    /// <summary>The value of a key as JSON has it, where it is a number, true or false; for what is only reported.</summary>
    public string Json(string key) => values[key] is { Count: 1 } value && value.Type != GgufValueType.Text
        && value.Type != GgufValueType.Array
        ? value.Type == GgufValueType.Boolean ? bytes.Span[value.Start] == 1 ? "true" : "false"
            : NumberAt(value.Type, value.Start) is { } number && double.IsFinite(number)
            ? number.ToString("R", CultureInfo.InvariantCulture) : "null"
        : $"\"{Describe(values[key]).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    /// <summary>The error for a key with a value that is not supported.</summary>
    public CheckpointException Error(string key, string found, string supported) =>
        new(file, $"'{key}' is {found}; supported: {supported}.");

    private CheckpointException Missing(string key) =>
        new(file, $"'{key}' is missing. The file does not describe a model as llama.cpp's converter does.");

    private string Describe(GgufValue value)
    {
        const int Most = 60;
        if (value.Type == GgufValueType.Array)
            return string.Create(CultureInfo.InvariantCulture, $"a list of {value.Count} of {value.ElementType}");
        if (value.Type == GgufValueType.Text)
        {
            string text = Encoding.UTF8.GetString(bytes.Span.Slice(value.Start, Math.Min(value.Length, Most)));
            return $"'{string.Concat(text.Where(character => !char.IsControl(character)))}{(value.Length > Most ? "…" : "")}'";
        }

        return value.Type == GgufValueType.Boolean ? bytes.Span[value.Start] == 1 ? "true" : "false"
            : NumberAt(value.Type, value.Start)!.Value.ToString("R", CultureInfo.InvariantCulture);
    }

    private static int? WholeSize(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 => 4,
        GgufValueType.UInt64 or GgufValueType.Int64 => 8,
        _ => null,
    };

    private Int128? WholeAt(GgufValueType type, int start)
    {
        ReadOnlySpan<byte> at = bytes.Span[start..];
        return type switch
        {
            GgufValueType.UInt8 => at[0],
            GgufValueType.Int8 => (sbyte)at[0],
            GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(at),
            GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(at),
            GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(at),
            GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(at),
            GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(at),
            GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(at),
            _ => null,
        };
    }

    private double? NumberAt(GgufValueType type, int start) => type switch
    {
        GgufValueType.Float32 => Decimal(BinaryPrimitives.ReadSingleLittleEndian(bytes.Span[start..])),
        GgufValueType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(bytes.Span[start..]),
        _ => WholeAt(type, start) is { } whole ? (double)whole : null,
    };

    // What was written as a float32 was a number of few digits: 0.485, not 0.48500001430511475.
    private static double Decimal(float value) =>
        float.IsFinite(value) ? double.Parse(value.ToString("R", CultureInfo.InvariantCulture),
            CultureInfo.InvariantCulture) : value;
}
