using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Skylight.Bench.Models;
using Skylight.Bench.Training;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// Decoding and prompts of a real model's shape by batch and context, and training steps by batch, with a plot. Prompts
/// grow from one context to the next, so that each token is read once.
/// </summary>
internal static class SweepBenchmark
{
    private const string Usage =
        "sweep [--like internvl3-1b] [--dtype bfloat16|q8|q4] [--batch 1,2,4,8,16,32] [--context 512,…,16384] " +
        "[--tokens 32768] [--train 1,2,4] [--output PATH] | sweep --plot PATH";

    private const int NewTokens = KeyValuePages.Size, Rounds = 31, TrainingSteps = 4;
    private const long BandwidthFloats = 64L << 20;
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(2.5);

    private sealed record Options
    {
        public string Like { get; init; } = "internvl3-1b";

        public QuantizedFormat? Format { get; init; }

        public int[] Batches { get; init; } = [1, 2, 4, 8, 16, 32];

        public int[] Contexts { get; init; } = [512, 1024, 2048, 4096, 8192, 16384];

        /// <summary>The most tokens in the cache: larger batches of longer contexts are left out.</summary>
        public int Tokens { get; init; } = 32768;

        public int[] Training { get; init; } = [1, 2, 4];

        public string? Output { get; init; }

        public string? Plot { get; init; }
    }

    /// <summary>Measures, prints, writes the results and draws them.</summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        var options = new Options();
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string name = arguments[index], value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            Options? next = name switch
            {
                "--like" when ModelFamily.Names.Contains(value) => options with { Like = value },
                "--dtype" when value is "bfloat16" => options with { Format = null },
                "--dtype" when value is "q8" => options with { Format = QuantizedFormat.Q8 },
                "--dtype" when value is "q4" => options with { Format = QuantizedFormat.Q4 },
                "--batch" when Numbers(value) is { } batches => options with { Batches = batches },
                "--context" when Numbers(value) is { } contexts => options with { Contexts = contexts },
                "--tokens" when Numbers(value) is [var tokens] => options with { Tokens = tokens },
                "--train" when value == "0" => options with { Training = [] },
                "--train" when Numbers(value) is { } batches => options with { Training = batches },
                "--output" when value.Length > 0 => options with { Output = value },
                "--plot" when value.Length > 0 => options with { Plot = value },
                _ => null,
            };
            if (next is null)
            {
                Console.Error.WriteLine($"'{name} {value}' is not understood.\nUsage: {Usage}");
                return 2;
            }

            options = next;
        }

        if (options.Plot is not null)
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(options.Plot));
            JsonElement root = document.RootElement;
            Draw(SweepResults.Read(root), string.Create(CultureInfo.InvariantCulture,
                $"{root.GetProperty("cpu").GetString()} · {root.GetProperty("cores").GetInt32()} cores"));
            return 0;
        }

        (List<PrefillPoint> prefill, List<DecodingPoint> decoding) = MeasureGeneration(options);
        IReadOnlyList<TrainingPoint> training = options.Training.Length == 0 ? []
            : await TrainingBenchmark.MeasureConnectorAsync(options.Like, options.Training, TrainingSteps).ConfigureAwait(false);
        var results = new SweepResults(options.Like, options.Format is { } format
            ? $"bfloat16, matrices of the language model rounded to {(format == QuantizedFormat.Q8 ? "Q8_0" : "Q4_0")}"
            : "bfloat16", prefill, decoding, training);
        string path = BenchmarkReport.Write("cpu-sweep.json", string.Join(' ', arguments.Prepend("sweep")), results.Write,
            options.Output);
        if (options.Output is null)
            return await RunAsync(["--plot", path]).ConfigureAwait(false);
        return 0;
    }

    private static (List<PrefillPoint> Prefill, List<DecodingPoint> Decoding) MeasureGeneration(Options options)
    {
        using var device = new CpuDevice();
        using var model = new VisionLanguageModel(ModelFamily.Configuration(options.Like), device, DataType.BFloat16);
        RandomWeights.Fill(model);
        if (options.Format is { } format)
            model.Quantize(format);
        using var buffer = new NativeFloats(BandwidthFloats);
        Arm yardstick = Reading(buffer);
        int most = options.Batches.Max();
        // What a step adds to each sequence, and what is left of the steps before.
        int room = options.Tokens + 4 * most * KeyValuePages.Size + options.Contexts.Max();
        using var engine = new GenerationEngine(model, room, cachePrefixes: true);
        var random = new Random(5);
        int vocabulary = model.Configuration.ImageTokenId ?? model.Configuration.Language.VocabularySize;
        int[][] texts = [.. Enumerable.Range(0, most).Select(sequence =>
            (int[])[sequence, .. Enumerable.Range(1, options.Contexts.Max() - 1).Select(_ => random.Next(vocabulary))])];
        var prefill = new List<PrefillPoint>();
        var decoding = new List<DecodingPoint>();
        int from = 0;
        foreach (int context in options.Contexts.Order())
        {
            int sequences = Math.Min(most, options.Tokens / context);
            if (sequences == 0)
                break;
            prefill.Add(Read(engine, texts.AsSpan(0, sequences), from, context, yardstick));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"reading {from}–{context}: {prefill[^1].Speed:F1} tokens/s"));
            foreach (int batch in options.Batches.Where(batch => batch <= sequences))
            {
                decoding.Add(Decode(engine, texts.AsSpan(0, batch), context, yardstick));
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"decoding of {batch} after {context}: {decoding[^1].Speed:F1} tokens/s, read {decoding[^1].Bandwidth / 1e9:F1} GB/s{(decoding[^1].IsCalm ? "" : "  (machine busy)")}"));
            }

            from = context;
        }

        return (prefill, decoding);
    }

    private static unsafe Arm Reading(NativeFloats buffer) => new(() => MachinePeak.Read(buffer.Pointer, BandwidthFloats));

    private static PrefillPoint Read(GenerationEngine engine, ReadOnlySpan<int[]> texts, int from, int to, Arm yardstick)
    {
        var sampling = new SamplingOptions { MaxOutputTokens = 1 };
        var seconds = new List<double>();
        var bandwidths = new List<double>();
        // The first of a shape plans it, unless it is the only one.
        for (int text = 0; text < texts.Length; text++)
        {
            long start = Stopwatch.GetTimestamp();
            engine.Generate([new GenerationRequest(new TokenSequence(texts[text][..to]))], sampling);
            double taken = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (text > 0 || texts.Length == 1)
                seconds.Add(taken);
            start = Stopwatch.GetTimestamp();
            yardstick.Run();
            bandwidths.Add(BandwidthFloats * sizeof(float) / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return new PrefillPoint(from, to, Median(seconds), Median(bandwidths));
    }

    private static DecodingPoint Decode(GenerationEngine engine, ReadOnlySpan<int[]> texts, int context, Arm yardstick)
    {
        var sampling = new SamplingOptions { MaxOutputTokens = NewTokens };
        var requests = new GenerationRequest[texts.Length];
        for (int sequence = 0; sequence < texts.Length; sequence++)
            requests[sequence] = new GenerationRequest(new TokenSequence(texts[sequence][..context]), Stream: (ulong)sequence);
        var pass = new Arm(() => engine.Step(), () =>
        {
            if (engine.HasWork)
                return;
            foreach (GenerationRequest request in requests)
                engine.Add(request, sampling);
            engine.Step();
        });
        Measurement measured = Measurement.InTurn(Rounds, s_longest, yardstick, pass);
        while (engine.HasWork)
            engine.Step();
        return new DecodingPoint(context, texts.Length, measured.Seconds(1),
            BandwidthFloats * sizeof(float) / measured.Seconds(0), measured.IsCalm);
    }

    private static double Median(List<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static void Draw(SweepResults results, string machine)
    {
        string docs = Path.Combine(BenchmarkReport.RepositoryRoot(), "docs");
        foreach ((string name, bool isDark) in new[] { ("sweep.svg", false), ("sweep-dark.svg", true) })
            File.WriteAllText(Path.Combine(docs, name), new SweepChart(results, machine, isDark).ToSvg());
        Console.WriteLine("drawn: docs/sweep.svg, docs/sweep-dark.svg");
    }

    private static int[]? Numbers(string list)
    {
        var numbers = new List<int>();
        foreach (string part in list.Split(','))
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) || number < 1)
                return null;
            numbers.Add(number);
        }

        return [.. numbers];
    }
}
