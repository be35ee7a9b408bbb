using System.Globalization;
using System.Numerics.Tensors;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// How far log-probabilities computed in bfloat16 lie from those of float32, here and in PyTorch, for the same weights and
/// tokens: bench/baselines/torch_cpu.py has written PyTorch's, and Skylight's own float32 shows that the model is the same.
/// </summary>
internal static class AccuracyBenchmark
{
    private const string Usage =
        "accuracy --model DIR --reference FILE.json [--output PATH], or accuracy --like NAME [--key-bias NUMBER] [--output PATH]";

    internal sealed record Row(string Arm, double Greatest, double Mean, double RootMeanSquare);

    /// <summary>Compares, prints and writes the results.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        string? directory = null, reference = null, output = null, like = null;
        float keyBias = 0;
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            switch (arguments[index])
            {
                case "--model" when value.Length > 0:
                    directory = value;
                    break;
                case "--reference" when value.Length > 0:
                    reference = value;
                    break;
                case "--like" when ModelFamily.Names.Contains(value):
                    like = value;
                    break;
                case "--key-bias" when float.TryParse(value, CultureInfo.InvariantCulture, out keyBias):
                    break;
                case "--output" when value.Length > 0:
                    output = value;
                    break;
                default:
                    Console.Error.WriteLine($"'{arguments[index]} {value}' is not understood.\nUsage: {Usage}");
                    return 2;
            }
        }

        if (like is not null && directory is null && reference is null)
            return CacheAccuracy.Run(like, keyBias, output);
        if (directory is null || reference is null || like is not null)
        {
            Console.Error.WriteLine($"Either --like, or --model and --reference are needed.\nUsage: {Usage}");
            return 2;
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(reference));
        JsonElement root = document.RootElement;
        int[] tokens = [.. root.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32())];
        float[] exact = Numbers(root, "float32");
        var rows = new List<Row> { Compare("PyTorch, bfloat16", exact, Numbers(root, "bfloat16")) };
        foreach ((string arm, DataType compute, QuantizedFormat? format, DataType? cache) in
            ((string, DataType, QuantizedFormat?, DataType?)[])[
            ("Skylight, float32", DataType.Float32, null, null), ("Skylight, bfloat16", DataType.BFloat16, null, null),
            ("Skylight, q8", DataType.BFloat16, QuantizedFormat.Q8, null),
            ("Skylight, float32, cache of bfloat16", DataType.Float32, null, DataType.BFloat16),
            ("Skylight, float32, cache of int8", DataType.Float32, null, DataType.Int8),
            ("Skylight, bfloat16, cache of int8", DataType.BFloat16, null, DataType.Int8)])
        {
            using var device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
            using VisionLanguageModel loaded = ModelCheckpoint.Load(directory, device);
            if (format is { } rounded)
                loaded.Quantize(rounded);
            rows.Add(Compare(arm, exact, ScoredTokens.LogProbabilities(loaded, tokens, cache)));
        }

        Console.WriteLine($"log-probabilities of {exact.Length} tokens, their mean {exact.Average():F3}, beside PyTorch's in float32:");
        Print(rows);
        string torch = root.GetProperty("torch").GetString()!, model = root.GetProperty("model").GetString()!;
        BenchmarkReport.Write("cpu-accuracy.json", "accuracy --model DIR --reference FILE.json", json =>
        {
            json.WriteString("torch", torch);
            json.WriteString("model", model);
            json.WriteNumber("tokens", exact.Length);
            json.WriteString("unit", "absolute errors of log-probabilities in nats, beside those of PyTorch in float32");
            Write(json, "errors", rows);
        }, output);
        return 0;
    }

    private static float[] Numbers(JsonElement root, string name) =>
        [.. root.GetProperty(name).EnumerateArray().Select(number => number.GetSingle())];

    internal static Row Compare(string arm, float[] exact, float[] actual)
    {
        double[] errors = [.. exact.Zip(actual, (left, right) => Math.Abs((double)left - right))];
        return new Row(arm, errors.Max(), errors.Average(), Math.Sqrt(errors.Average(error => error * error)));
    }

    internal static void Print(IEnumerable<Row> rows)
    {
        foreach (Row row in rows)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Arm,-36} greatest error {row.Greatest:G3}, mean {row.Mean:G3}, root of mean square {row.RootMeanSquare:G3}"));
    }

    internal static void Write(Utf8JsonWriter json, string name, IEnumerable<Row> rows)
    {
        json.WriteStartArray(name);
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("arm", row.Arm);
            json.WriteNumber("greatest", row.Greatest);
            json.WriteNumber("mean", row.Mean);
            json.WriteNumber("root_mean_square", row.RootMeanSquare);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
