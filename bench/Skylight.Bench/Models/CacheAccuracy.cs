using System.Globalization;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// What the type of the key-value cache does to log-probabilities, with random weights: everything is computed in float32 but
/// what is said, beside float32 all through. Trained models of the family have a few numbers in each key that are far beyond
/// the others, which come from biases; random ones have none, so a bias can be given.
/// </summary>
internal static class CacheAccuracy
{
    private const int TokenCount = 384;

    public static int Run(string like, float keyBias, string? output)
    {
        using var float32 = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        using VisionLanguageModel model = new(ModelFamily.Configuration(like), float32, DataType.BFloat16);
        RandomWeights.Fill(model);
        int channels = keyBias == 0 ? 0 : SetKeyBiases(model, keyBias);
        var random = new Random(7);
        int[] tokens = [.. Enumerable.Range(0, TokenCount).Select(_ => random.Next(model.Configuration.ImageTokenId ?? 1000))];
        float[] exact = ScoredTokens.LogProbabilities(model, tokens, null);
        DataType[] types = [DataType.Float32, DataType.BFloat16, DataType.Int8];
        List<AccuracyBenchmark.Row> rows = [.. types.Select(type => AccuracyBenchmark.Compare(
            $"cache of {type}", exact, ScoredTokens.LogProbabilities(model, tokens, type)))];
        string name = string.Create(CultureInfo.InvariantCulture,
            $"{like}'s shape, random weights{(keyBias == 0 ? "" : $", {channels} biases of ±{keyBias} in the keys of each layer")}");
        Console.WriteLine($"log-probabilities of {exact.Length} tokens, their mean {exact.Average():F3}, {name}, beside float32:");
        AccuracyBenchmark.Print(rows);
        BenchmarkReport.Write("cpu-cache-accuracy.json",
            string.Create(CultureInfo.InvariantCulture, $"accuracy --like {like} --key-bias {keyBias}"), json =>
            {
                json.WriteString("model", name);
                json.WriteNumber("tokens", exact.Length);
                json.WriteString("unit", "absolute errors of log-probabilities in nats, beside float32 all through");
                AccuracyBenchmark.Write(json, "errors", rows);
            }, output);
        return 0;
    }

    /// <summary>A pair of dimensions that rotate together, in each head.</summary>
    private static int SetKeyBiases(VisionLanguageModel model, float bias)
    {
        LanguageConfiguration language = model.Configuration.Language;
        int dimension = language.HeadDimension, queries = language.HeadCount * dimension;
        foreach (PersistentTensor parameter in model.Parameters.All.Where(parameter =>
            parameter.Name.EndsWith("attention.qkv.bias", StringComparison.Ordinal)))
        {
            float[] values = PersistentTensors.Read(model.Device, parameter);
            for (int head = 0; head < language.KeyValueHeadCount; head++)
            {
                int place = queries + head * dimension + dimension / 4;
                (values[place], values[place + dimension / 2]) = (bias, -bias);
            }

            PersistentTensors.Write(model.Device, parameter, values);
        }

        return 2 * language.KeyValueHeadCount;
    }
}
