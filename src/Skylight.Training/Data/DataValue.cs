using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Skylight.Training.Data;

/// <summary>A value of a row, whatever file it came from. Null is null.</summary>
internal abstract record DataValue
{
    /// <summary>What errors call it.</summary>
    public abstract string Kind { get; }

    /// <summary>What an error says of a value that may be absent.</summary>
    public static string Describe(DataValue? value) => value?.Kind ?? "null";

    /// <summary>
    /// The value as a text, for who reads it under its column's name: texts as they are, lists and structs as JSON;
    /// null for bytes.
    /// </summary>
    public string? ToColumnText()
    {
        switch (this)
        {
            case ScalarValue scalar:
                return scalar.Text;
            case ListValue or StructValue:
                using (var stream = new MemoryStream())
                {
                    using (var writer = new Utf8JsonWriter(stream,
                        new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
                        Write(writer, this);
                    return System.Text.Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
                }

            default:
                return null;
        }
    }

    private static void Write(Utf8JsonWriter writer, DataValue? value)
    {
        switch (value)
        {
            case TextValue text:
                writer.WriteStringValue(text.Text);
                break;
            case NumberValue number when double.TryParse(number.Text, NumberStyles.Float, CultureInfo.InvariantCulture,
                out double parsed) && double.IsFinite(parsed):
                writer.WriteRawValue(number.Text);
                break;
            case BooleanValue boolean:
                writer.WriteBooleanValue(boolean.Value);
                break;
            case ScalarValue scalar:
                writer.WriteStringValue(scalar.Text);
                break;
            case ListValue list:
                writer.WriteStartArray();
                foreach (DataValue? item in list.Items)
                    Write(writer, item);
                writer.WriteEndArray();
                break;
            case StructValue fields:
                writer.WriteStartObject();
                foreach ((string name, DataValue? field) in fields.Fields)
                {
                    writer.WritePropertyName(name);
                    Write(writer, field);
                }

                writer.WriteEndObject();
                break;
            case BytesValue bytes:
                writer.WriteStringValue($"{bytes.Bytes.Length} bytes");
                break;
            default:
                writer.WriteNullValue();
                break;
        }
    }
}

/// <summary>What has a text of its own.</summary>
internal abstract record ScalarValue(string Text) : DataValue;

/// <summary>A text.</summary>
internal sealed record TextValue(string Content) : ScalarValue(Content)
{
    public override string Kind => "a text";
}

/// <summary>A number, a date or a time as it is written.</summary>
internal sealed record NumberValue(string Written) : ScalarValue(Written)
{
    public override string Kind => $"'{Text}'";
}

/// <summary>True or false.</summary>
internal sealed record BooleanValue(bool Value) : ScalarValue(Value ? "true" : "false")
{
    public override string Kind => $"'{Text}'";
}

/// <summary>Bytes; only Parquet has them.</summary>
internal sealed record BytesValue(ReadOnlyMemory<byte> Bytes) : DataValue
{
    public override string Kind => "bytes";
}

/// <summary>A list.</summary>
internal sealed record ListValue(IReadOnlyList<DataValue?> Items) : DataValue
{
    public override string Kind => "a list";
}

/// <summary>Named values in the order of the file.</summary>
internal sealed record StructValue(IReadOnlyList<KeyValuePair<string, DataValue?>> Fields) : DataValue
{
    public override string Kind => "an object";

    /// <summary>The value of a field; null if it is null or absent.</summary>
    public DataValue? this[string name]
    {
        get
        {
            foreach ((string field, DataValue? value) in Fields)
            {
                if (field == name)
                    return value;
            }

            return null;
        }
    }

    /// <summary>Whether there is such a field, be it null.</summary>
    public bool Has(string name) => Fields.Any(field => field.Key == name);
}

/// <summary>A value whose type in the file is one that cannot be read. It does no harm to who does not ask for it.</summary>
internal sealed record UnreadableValue(string Reason) : DataValue
{
    public override string Kind => $"what cannot be read ({Reason})";
}
