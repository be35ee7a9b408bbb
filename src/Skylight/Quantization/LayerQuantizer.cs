using Skylight.Checkpoints;
using Skylight.Checkpoints.Quantized;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Quantization;

/// <summary>Searches and folds the scales of one layer after the other.</summary>
/// <param name="configuration">The language model.</param>
/// <param name="device">Computes in float32.</param>
/// <param name="source">Named in errors.</param>
internal sealed class LayerQuantizer(LanguageConfiguration configuration, Device device, string source) : IDisposable
{
    // Of the inputs that are scaled together, as LayerActivations gives them.
    private const int Attention = 0, Output = 1, Mlp = 2, Down = 3;

    private readonly ScaleSearch _search = new(device);

    /// <summary>The names of a parameter's pieces, as reports have them.</summary>
    public static IReadOnlyList<string> Names(string parameterName) => parameterName switch
    {
        _ when parameterName.EndsWith(".attention.qkv.weight", StringComparison.Ordinal) => ["q_proj", "k_proj", "v_proj"],
        _ when parameterName.EndsWith(".attention.output.weight", StringComparison.Ordinal) => ["o_proj"],
        _ when parameterName.EndsWith(".mlp.gate_up.weight", StringComparison.Ordinal) => ["gate_proj", "up_proj"],
        _ when parameterName.EndsWith(".mlp.down.weight", StringComparison.Ordinal) => ["down_proj"],
        _ => [],
    };

    /// <summary>Searches scales for a layer and folds them into it.</summary>
    /// <param name="layer">Its number.</param>
    /// <param name="weights">Changed: as they are to be rounded.</param>
    /// <param name="statistics">Of what its products read.</param>
    /// <param name="target">Says what they become.</param>
    /// <param name="cancellationToken">Checked between products.</param>
    public LayerReport Fold(int layer, LayerWeights weights, InputStatistics[] statistics, QuantizedTarget target,
        CancellationToken cancellationToken)
    {
        string prefix = LayerWeights.Prefix(layer);
        Dictionary<string, TargetTensor> tensors = target.Tensors
            .Where(tensor => tensor.Entry.ParameterName.StartsWith(prefix, StringComparison.Ordinal))
            .SelectMany(tensor => Names(tensor.Entry.ParameterName).Skip(tensor.Entry.Pieces.IndexOf(tensor.Piece)).Take(1)
                .Select(name => (name, tensor))).ToDictionary(pair => pair.name, pair => pair.tensor, StringComparer.Ordinal);
        var projections = new List<ProjectionReport>();
        int query = configuration.QuerySize, key = configuration.KeyValueSize, inner = configuration.IntermediateSize,
            hidden = configuration.HiddenSize;
        weights.ScaleAttentionInputs(Find(Attention, scales => Exact(scales, weights.InputNorm),
            ("q_proj", weights.Qkv, 0, query), ("k_proj", weights.Qkv, query, key), ("v_proj", weights.Qkv, query + key, key)));
        weights.ScaleOutputInputs(Find(Output, _ => { }, ("o_proj", weights.Output, 0, hidden)), configuration);
        weights.ScaleMlpInputs(Find(Mlp, scales => Exact(scales, weights.OutputNorm),
            ("gate_proj", weights.GateUp, 0, inner), ("up_proj", weights.GateUp, inner, inner)));
        weights.ScaleDownInputs(Find(Down, _ => { }, ("down_proj", weights.Down, 0, hidden)));
        return new LayerReport(layer, projections);

        float[] Find(int inputs, Action<float[]> adjust, params (string Name, float[] Weight, int FirstRow, int Rows)[] matrices)
        {
            float[] means = statistics[inputs].Means();
            if (inputs == Output)
                ShareAmongHeads(means);
            SearchResult result = _search.Find(
                [.. matrices.Select(matrix => new SearchedMatrix(matrix.Name, matrix.Weight, matrix.FirstRow, matrix.Rows,
                    tensors[matrix.Name].Format))],
                statistics[inputs].Rows, means, adjust, source, cancellationToken);
            for (int index = 0; index < matrices.Length; index++)
                projections.Add(new ProjectionReport(matrices[index].Name, tensors[matrices[index].Name].TypeName,
                    result.Errors[index], result.NearestErrors[index], result.Exponent));
            return result.Scales;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _search.Dispose();

    /// <summary>
    /// Makes scales by which a gain can be divided without another rounding than that of bfloat16, as which it may be
    /// saved: the scale is what the rounded gain makes of it.
    /// </summary>
    internal static void Exact(float[] scales, float[] gain)
    {
        for (int channel = 0; channel < scales.Length; channel++)
        {
            float folded = (float)(BFloat16)(gain[channel] / scales[channel]);
            // A gain of zero makes inputs of zero, whatever the scale.
            scales[channel] = gain[channel] != 0 && float.IsNormal(folded) ? gain[channel] / folded : 1;
        }
    }

    /// <summary>Heads of queries that share a head of values have its scales.</summary>
    private void ShareAmongHeads(float[] means)
    {
        int dimension = configuration.HeadDimension, group = configuration.HeadCount / configuration.KeyValueHeadCount;
        for (int channel = 0; channel < configuration.KeyValueSize; channel++)
        {
            int first = channel / dimension * group * dimension + channel % dimension;
            float sum = 0;
            for (int head = 0; head < group; head++)
                sum += means[first + head * dimension];
            for (int head = 0; head < group; head++)
                means[first + head * dimension] = sum / group;
        }
    }
}
