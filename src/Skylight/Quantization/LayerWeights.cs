using System.Numerics.Tensors;
using Skylight.Checkpoints;
using Skylight.Models;

namespace Skylight.Quantization;

/// <summary>The parameters of one layer of the language model in memory, in float32.</summary>
internal sealed class LayerWeights
{
    private readonly Dictionary<string, float[]> _values;

    private LayerWeights(Dictionary<string, float[]> values) => _values = values;

    /// <summary>All of them, by their names within the layer.</summary>
    public IReadOnlyDictionary<string, float[]> All => _values;

    /// <summary>The gain of the norm before queries, keys and values: [hidden].</summary>
    public float[] InputNorm => _values["input_norm.weight"];

    /// <summary>Queries, keys and values, one below the other: [outputs, hidden].</summary>
    public float[] Qkv => _values["attention.qkv.weight"];

    /// <summary>Their biases; null where there are none.</summary>
    public float[]? QkvBias => _values.GetValueOrDefault("attention.qkv.bias");

    /// <summary>The attention's output: [hidden, heads · width].</summary>
    public float[] Output => _values["attention.output.weight"];

    /// <summary>The gain of the norm before the MLP: [hidden].</summary>
    public float[] OutputNorm => _values["output_norm.weight"];

    /// <summary>Gate and up, one below the other: [2 · intermediate, hidden].</summary>
    public float[] GateUp => _values["mlp.gate_up.weight"];

    /// <summary>Down: [hidden, intermediate].</summary>
    public float[] Down => _values["mlp.down.weight"];

    /// <summary>What the names of a layer's parameters begin with.</summary>
    public static string Prefix(int layer) => FormattableString.Invariant($"language.layers.{layer}.");

    /// <summary>Reads a layer.</summary>
    public static LayerWeights Read(CheckpointReader reader, KeyMap keyMap, int layer, CancellationToken cancellationToken)
    {
        string prefix = Prefix(layer);
        var values = new Dictionary<string, float[]>(StringComparer.Ordinal);
        foreach (KeyMapEntry entry in keyMap.Entries.Where(
            entry => entry.ParameterName.StartsWith(prefix, StringComparison.Ordinal)))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var elements = new float[entry.Shape.ElementCount];
            reader.ReadParameter(entry, elements);
            values.Add(entry.ParameterName[prefix.Length..], elements);
        }

        return new LayerWeights(values);
    }

    /// <summary>Gives a part of a parameter.</summary>
    /// <param name="entry">Of this layer.</param>
    /// <param name="firstElement">Where to start.</param>
    /// <param name="destination">As many elements as are wanted.</param>
    public void Copy(KeyMapEntry entry, long firstElement, Span<float> destination)
    {
        string name = entry.ParameterName;
        // language.layers.N.
        int start = name.IndexOf('.', name.IndexOf("layers.", StringComparison.Ordinal) + "layers.".Length) + 1;
        _values[name[start..]].AsSpan((int)firstElement, destination.Length).CopyTo(destination);
    }

    /// <summary>
    /// Multiplies the inputs of queries, keys and values by scales and divides the gain before them, so that the layer
    /// computes what it did.
    /// </summary>
    public void ScaleAttentionInputs(ReadOnlySpan<float> scales)
    {
        Divide(InputNorm, scales);
        ScaleColumns(Qkv, scales);
    }

    /// <summary>The same of gate and up.</summary>
    public void ScaleMlpInputs(ReadOnlySpan<float> scales)
    {
        Divide(OutputNorm, scales);
        ScaleColumns(GateUp, scales);
    }

    /// <summary>
    /// Multiplies the inputs of the attention's output by scales, which heads that share a value have in common, and
    /// divides the values' rows.
    /// </summary>
    public void ScaleOutputInputs(ReadOnlySpan<float> scales, LanguageConfiguration language)
    {
        ScaleColumns(Output, scales);
        int width = language.HiddenSize, dimension = language.HeadDimension,
            group = language.HeadCount / language.KeyValueHeadCount, first = language.QuerySize + language.KeyValueSize;
        for (int row = 0; row < language.KeyValueSize; row++)
        {
            float scale = scales[row / dimension * group * dimension + row % dimension];
            DivideRow(Qkv.AsSpan((first + row) * width, width), scale);
            if (QkvBias is { } bias)
                bias[first + row] /= scale;
        }
    }

    /// <summary>Multiplies the inputs of down by scales and divides the rows of up, in which the MLP is linear.</summary>
    public void ScaleDownInputs(ReadOnlySpan<float> scales)
    {
        ScaleColumns(Down, scales);
        int width = OutputNorm.Length;
        for (int row = 0; row < scales.Length; row++)
            DivideRow(GateUp.AsSpan((int)((long)(scales.Length + row) * width), width), scales[row]);
    }

    private static void Divide(float[] values, ReadOnlySpan<float> scales) =>
        TensorPrimitives.Divide(values, scales, values);

    private static void DivideRow(Span<float> row, float scale) =>
        TensorPrimitives.Divide(row, scale, row);

    private static void ScaleColumns(float[] weight, ReadOnlySpan<float> scales)
    {
        for (int start = 0; start < weight.Length; start += scales.Length)
        {
            Span<float> row = weight.AsSpan(start, scales.Length);
            TensorPrimitives.Multiply(row, scales, row);
        }
    }
}
