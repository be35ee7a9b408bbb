using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Quantization;

/// <summary>What became of a projection.</summary>
/// <param name="Name">Such as <c>q_proj</c>.</param>
/// <param name="Type">What it is stored as.</param>
/// <param name="Error">
/// With calibration ‖(W′ − W)x‖ / ‖Wx‖ over the calibration's activations, else ‖W′ − W‖ / ‖W‖.
/// </param>
/// <param name="NearestError">The same where it is rounded to nearest without any scaling; null without calibration.</param>
/// <param name="Exponent">That of the activations' means in the scales of its input channels; null without
/// calibration.</param>
public sealed record ProjectionReport(string Name, string Type, double Error, double? NearestError, double? Exponent);

/// <summary>What became of a layer.</summary>
/// <param name="Layer">Its number, from 0.</param>
/// <param name="Projections">Its matrices.</param>
public sealed record LayerReport(int Layer, IReadOnlyList<ProjectionReport> Projections);

/// <summary>What became of a model.</summary>
/// <param name="Type">"q4" or "q8".</param>
/// <param name="Format">"gguf" or "awq".</param>
/// <param name="GroupSize">Inputs that share a scale.</param>
/// <param name="CalibrationSequences">How many there were; 0 without calibration.</param>
/// <param name="CalibrationTokens">Of all of them.</param>
/// <param name="SourceBytes">What the weights took.</param>
/// <param name="Bytes">What the files take.</param>
/// <param name="Files">Their names.</param>
/// <param name="Layers">The layers of the language model.</param>
/// <param name="Warnings">What is not as it was, a sentence each.</param>
public sealed record QuantizationReport(
    string Type, string Format, int GroupSize, int CalibrationSequences, long CalibrationTokens, long SourceBytes,
    long Bytes, IReadOnlyList<string> Files, IReadOnlyList<LayerReport> Layers, IReadOnlyList<string> Warnings)
{
    /// <summary>The name of the file beside the weights.</summary>
    public const string FileName = "quantization_report.json";

    /// <summary>As JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, QuantizationJson.Default.QuantizationReport);

    /// <summary>A table, a line a layer, and where errors were measured their means before and after.</summary>
    public string ToTable()
    {
        var text = new StringBuilder();
        bool isCalibrated = CalibrationSequences > 0;
        string[] names = [.. Layers.SelectMany(layer => layer.Projections).Select(projection => projection.Name).Distinct()];
        text.Append("Relative error of ").AppendLine(isCalibrated
            ? "outputs on the calibration's activations, in percent" : "weights, in percent");
        text.Append("layer").AppendLine(string.Concat(names.Select(name => name.PadLeft(Width(name)))));
        foreach (LayerReport layer in Layers)
            Row(layer.Layer.ToString(CultureInfo.InvariantCulture), name => layer.Projections
                .Where(projection => projection.Name == name).Select(projection => projection.Error));
        Row("mean", name => Of(name, projection => projection.Error));
        if (isCalibrated)
            Row("RTN", name => Of(name, projection => projection.NearestError ?? 0));
        return text.ToString();

        static int Width(string name) => Math.Max(name.Length, 6) + 2;

        IEnumerable<double> Of(string name, Func<ProjectionReport, double> value) =>
            Layers.SelectMany(layer => layer.Projections).Where(projection => projection.Name == name).Select(value);

        void Row(string head, Func<string, IEnumerable<double>> values)
        {
            text.Append(head.PadRight(5));
            foreach (string name in names)
                text.Append((values(name).DefaultIfEmpty(0).Average() * 100).ToString("F2", CultureInfo.InvariantCulture)
                    .PadLeft(Width(name)));
            text.AppendLine();
        }
    }

    internal static string ToJson(LayerReport layer) => JsonSerializer.Serialize(layer, QuantizationJson.Default.LayerReport);

    internal static LayerReport? LayerOf(string json) =>
        json.Length == 0 ? null : JsonText.Deserialize(Encoding.UTF8.GetBytes(json), QuantizationJson.Default.LayerReport);
}

/// <summary>How reports are written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(QuantizationReport))]
internal sealed partial class QuantizationJson : JsonSerializerContext;
