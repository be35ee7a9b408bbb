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
    private const string Usage = "accuracy --model DIR --reference FILE.json [--output PATH]";

    private sealed record Row(string Arm, double Greatest, double Mean, double RootMeanSquare);

    /// <summary>Compares, prints and writes the results.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        string? directory = null, reference = null, output = null;
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
                case "--output" when value.Length > 0:
                    output = value;
                    break;
                default:
                    Console.Error.WriteLine($"'{arguments[index]} {value}' is not understood.\nUsage: {Usage}");
                    return 2;
            }
        }

        if (directory is null || reference is null)
        {
            Console.Error.WriteLine($"--model and --reference are needed.\nUsage: {Usage}");
            return 2;
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(reference));
        JsonElement root = document.RootElement;
        int[] tokens = [.. root.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32())];
        float[] exact = Numbers(root, "float32");
        var rows = new List<Row> { Compare("PyTorch, bfloat16", exact, Numbers(root, "bfloat16")) };
        foreach ((string arm, DataType compute, QuantizedFormat? format) in ((string, DataType, QuantizedFormat?)[])[
            ("Skylight, float32", DataType.Float32, null), ("Skylight, bfloat16", DataType.BFloat16, null),
            ("Skylight, q8", DataType.BFloat16, QuantizedFormat.Q8)])
            rows.Add(Compare(arm, exact, LogProbabilities(directory, tokens, compute, format)));
        Console.WriteLine($"log-probabilities of {exact.Length} tokens, their mean {exact.Average():F3}, beside PyTorch's in float32:");
        foreach (Row row in rows)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Arm,-20} greatest error {row.Greatest:G3}, mean {row.Mean:G3}, root of mean square {row.RootMeanSquare:G3}"));
        string torch = root.GetProperty("torch").GetString()!, model = root.GetProperty("model").GetString()!;
        BenchmarkReport.Write("cpu-accuracy.json", "accuracy --model DIR --reference FILE.json", json =>
        {
            json.WriteString("torch", torch);
            json.WriteString("model", model);
            json.WriteNumber("tokens", exact.Length);
            json.WriteString("unit", "absolute errors of log-probabilities in nats, beside those of PyTorch in float32");
            json.WriteStartArray("errors");
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
        }, output);
        return 0;
    }

    private static float[] Numbers(JsonElement root, string name) =>
        [.. root.GetProperty(name).EnumerateArray().Select(number => number.GetSingle())];

    private static Row Compare(string arm, float[] exact, float[] actual)
    {
        double[] errors = [.. exact.Zip(actual, (left, right) => Math.Abs((double)left - right))];
        return new Row(arm, errors.Max(), errors.Average(), Math.Sqrt(errors.Average(error => error * error)));
    }

    /// <summary>Of each token after the first, given those before it.</summary>
    private static float[] LogProbabilities(string directory, int[] tokens, DataType compute, QuantizedFormat? format)
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
        using VisionLanguageModel model = ModelCheckpoint.Load(directory, device);
        if (format is { } rounded)
            model.Quantize(rounded);
        PackedBatch batch = PackedBatch.Pack([new TokenSequence(tokens, [])], model.Configuration);
        var graph = new Graph();
        PackedForward forward = model.Forward(graph, batch.Shape);
        Value output = model.Language.Logits(graph, forward.Hidden);
        graph.Output("logits", output);
        model.Fuse(graph);
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        forward.Write(executor, batch);
        executor.Run(CancellationToken.None);
        float[] logits = executor.ReadFloats(output);
        int vocabulary = model.Configuration.Language.VocabularySize;
        var probabilities = new float[tokens.Length - 1];
        Parallel.For(0, probabilities.Length, index =>
        {
            ReadOnlySpan<float> row = logits.AsSpan(index * vocabulary, vocabulary);
            float greatest = TensorPrimitives.Max(row);
            double sum = 0;
            foreach (float logit in row)
                sum += Math.Exp((double)logit - greatest);
            probabilities[index] = (float)(row[tokens[index + 1]] - greatest - Math.Log(sum));
        });
        return probabilities;
    }
}
