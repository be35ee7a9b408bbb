using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;

namespace Skylight.Bench.Kernels;

/// <summary>
/// Generation on a card, end to end, with a published model's shape and random weights: the time to the first token,
/// with and without a picture, and that of a decoding step, by the host's clock from the call until its tokens are on
/// the host. On the emulator everything runs and nothing is timed.
/// </summary>
internal static class GenerationBenchmark
{
    private const int Rounds = 11;
    private const int NewTokens = 64;

    // A plan is queued step by step, then recorded: what comes after is what lasts.
    private const int WarmUps = 3;
    private const string Usage =
        "generation [--like internvl3-1b] [--device cuda:0] [--batch 1,8,32] [--prompt 512] [--tiles 0,1] [--output PATH]";

    private sealed record Settings(string Like, string Device, int[] Batches, int[] Prompts, int[] Tiles, string? Output);

    private sealed record Row(string Name, int Tokens, double[] Seconds, int Plans, int Replayed);

    /// <summary>Measures, prints and writes the results.</summary>
    /// <param name="arguments">What follows the verb.</param>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        var settings = new Settings("internvl3-1b", "cuda:0", [1, 8, 32], [512], [0, 1], null);
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string? value = index + 1 < arguments.Length ? arguments[index + 1] : null;
            Settings? next = (arguments[index], value) switch
            {
                ("--like", { } name) when ModelFamily.Names.Contains(name) => settings with { Like = name },
                ("--device", { } name) when name == "simt" || Ordinal(name) >= 0 => settings with { Device = name },
                ("--batch", { } list) when Numbers(list, 1) is { } numbers => settings with { Batches = numbers },
                ("--prompt", { } list) when Numbers(list, 1) is { } numbers => settings with { Prompts = numbers },
                ("--tiles", { } list) when Numbers(list, 0) is { } numbers => settings with { Tiles = numbers },
                ("--output", { } path) => settings with { Output = path },
                _ => null,
            };
            if (next is null)
            {
                Console.Error.WriteLine(
                    $"'{arguments[index]} {value}' is not understood. Models: {string.Join(", ", ModelFamily.Names)}.");
                Console.Error.WriteLine($"Usage: {Usage}");
                return 2;
            }

            settings = next;
        }

        try
        {
            return Measure(settings);
        }
        catch (Exception exception) when (exception is CudaException or OutOfDeviceMemoryException)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }

    private static int Ordinal(string device) =>
        device.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(device.AsSpan("cuda:".Length),
            NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal) ? ordinal : -1;

    private static int[]? Numbers(string list, int least)
    {
        int[] numbers = [.. list.Split(',').Select(
            part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1)];
        return numbers.All(number => number >= least) ? numbers : null;
    }

    private static int Measure(Settings settings)
    {
        using var device = new CudaDevice(settings.Device == "simt"
            ? new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() }
            : new CudaDeviceOptions { Ordinal = Ordinal(settings.Device) });
        using var model = new VisionLanguageModel(ModelFamily.Configuration(settings.Like), device);
        model.Initialize(1);
        long streamed = model.Parameters.All.Where(IsReadByEveryStep).Sum(parameter => device.StorageBytes(parameter.Type));
        Console.WriteLine(
            FormattableString.Invariant(
                $"{device.CardName}: {settings.Like}, {model.Parameters.ElementCount / 1e9:F2} billion parameters; a decoding step reads {streamed / 1e9:F2} GB of weights"));
        var rows = new List<Row>();
        foreach (int tiles in settings.Tiles)
        {
            foreach (int prompt in settings.Prompts)
            {
                Add(Prefill(model, prompt, tiles));
                foreach (int batch in settings.Batches)
                    Add(Decoding(model, prompt, tiles, batch, ofOnePrompt: false));
                // Completions of one prompt share its pages.
                Add(Decoding(model, prompt, tiles, settings.Batches.Max(), ofOnePrompt: true));
            }
        }

        return 0;

        void Add(Row row)
        {
            rows.Add(row);
            double median = KernelBenchmark.Median(row.Seconds);
            Console.WriteLine(device.Libraries.IsSimulated
                ? FormattableString.Invariant(
                    $"{row.Name}: {row.Seconds.Length} passes, {row.Replayed} replayed, {row.Plans} plans; not timed, the emulator has no time of its own")
                : FormattableString.Invariant(
                    $"{row.Name}: {median * 1e3:F3} ms ({row.Seconds.Min() * 1e3:F3} to {row.Seconds.Max() * 1e3:F3}), {row.Tokens / median:F0} tokens/s, {row.Replayed} of {row.Seconds.Length} passes replayed, {row.Plans} plans"));
            // After every row: what was measured is not lost with a card that hangs later.
            if (!device.Libraries.IsSimulated)
                BenchmarkReport.Write("cuda-generation.json", $"generation --like {settings.Like}",
                    json => Write(json, settings, device, streamed, rows), settings.Output, announce: false);
        }
    }

    /// <summary>
    /// Whether a decoding step without pictures reads all of a parameter: those of the language model, but of the
    /// embedding only some rows.
    /// </summary>
    private static bool IsReadByEveryStep(PersistentTensor parameter) =>
        parameter.Name.StartsWith("language.", StringComparison.Ordinal)
            && !parameter.Name.StartsWith("language.embedding", StringComparison.Ordinal);

    /// <summary>From the request to its first token on the host.</summary>
    private static Row Prefill(VisionLanguageModel model, int text, int tiles)
    {
        int tokens = Prompt(model.Configuration, text, tiles, 0).Tokens.Length, replayed = 0;
        using var engine = new GenerationEngine(model, tokens + 2 * KeyValuePages.Size);
        var seconds = new double[Rounds];
        for (int round = -WarmUps; round < Rounds; round++)
        {
            // Another picture every time, so that it is encoded.
            var request = new GenerationRequest(Prompt(model.Configuration, text, tiles, round + WarmUps));
            long start = Stopwatch.GetTimestamp();
            engine.Generate([request], new SamplingOptions { MaxOutputTokens = 1 });
            if (round < 0)
                continue;
            seconds[round] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            replayed += engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        return new Row($"first token after {Describe(text, tiles)}", tokens, seconds, engine.Plans.Made, replayed);
    }

    /// <summary>A token for each of some completions.</summary>
    private static Row Decoding(VisionLanguageModel model, int text, int tiles, int batch, bool ofOnePrompt)
    {
        var sampling = new SamplingOptions { MaxOutputTokens = NewTokens };
        GenerationRequest[] requests = [.. Enumerable.Range(0, ofOnePrompt ? 1 : batch)
            .Select(index => new GenerationRequest(Prompt(model.Configuration, text, tiles, index),
                ofOnePrompt ? batch : 1, (ulong)index))];
        using var engine = new GenerationEngine(model,
            batch * (requests[0].Prompt.Tokens.Length + NewTokens + 2 * KeyValuePages.Size));
        foreach (GenerationRequest request in requests)
            engine.Add(request, sampling);
        var seconds = new List<double>();
        int replayed = 0, warm = 0;
        while (engine.HasWork)
        {
            bool decodes = engine.WritingSequences == batch;
            int plans = engine.Plans.Made;
            long start = Stopwatch.GetTimestamp();
            engine.Step();
            double taken = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (!decodes || warm++ < WarmUps)
                continue;
            seconds.Add(taken);
            replayed += engine.Plans.Made == plans && engine.Plans.Kept.Last().IsRecorded ? 1 : 0;
        }

        return new Row(
            $"decoding of {batch}{(ofOnePrompt ? ", all of one prompt," : "")} after {Describe(text, tiles)}", batch,
            [.. seconds], engine.Plans.Made, replayed);
    }

    /// <summary>The places of a picture's tiles, and random text.</summary>
    private static TokenSequence Prompt(ModelConfiguration configuration, int text, int tiles, int seed)
    {
        var random = new Random(seed);
        VisionConfiguration vision = configuration.Vision;
        int place = configuration.ImageTokenId ?? configuration.Language.VocabularySize;
        ImageTile[] images = [.. Enumerable.Range(0, tiles).Select(_ => new ImageTile(
            [.. Enumerable.Range(0, vision.ChannelCount * vision.ImageHeight * vision.ImageWidth)
                .Select(_ => random.NextSingle() * 2 - 1)], vision.ImageHeight, vision.ImageWidth))];
        return new TokenSequence([.. Enumerable.Repeat(place, tiles * configuration.TokensPerTile),
            .. Enumerable.Range(0, text).Select(_ => random.Next(place))], images);
    }

    private static string Describe(int text, int tiles) =>
        FormattableString.Invariant(
            $"{text} text tokens{(tiles == 0 ? "" : FormattableString.Invariant($" and {tiles} tiles"))}");

    private static void Write(Utf8JsonWriter json, Settings settings, CudaDevice device, long streamed, List<Row> rows)
    {
        json.WriteString("device", device.CardName);
        json.WriteString("architecture", device.Target.ArchitectureName);
        json.WriteString("warpgroups", device.Target.HasHopperInstructions ? device.WarpgroupsOff ?? "used" : "none");
        json.WriteString("nvrtc", device.Libraries.NvrtcVersion.ToString());
        json.WriteString("model", settings.Like);
        json.WriteNumber("weight_bytes_of_a_step", streamed);
        json.WriteString("method",
            "median by the host's clock, from the call of the engine until its tokens are on the host; after " +
            "warm-up, so that plans are replayed; a first token includes the picture's encoding and the " +
            "reading of the whole prompt; every token is drawn at temperature 1");
        json.WriteStartArray("passes");
        foreach (Row row in rows)
        {
            double median = KernelBenchmark.Median(row.Seconds);
            json.WriteStartObject();
            json.WriteString("pass", row.Name);
            json.WriteNumber("ms", Math.Round(median * 1e3, 4));
            json.WriteNumber("ms_least", Math.Round(row.Seconds.Min() * 1e3, 4));
            json.WriteNumber("ms_most", Math.Round(row.Seconds.Max() * 1e3, 4));
            json.WriteNumber("tokens_per_second", Math.Round(row.Tokens / median, 1));
            if (row.Name.StartsWith("decoding", StringComparison.Ordinal))
                json.WriteNumber("weights_gbs", Math.Round(streamed / median / 1e9, 1));
            json.WriteNumber("passes", row.Seconds.Length);
            json.WriteNumber("replayed", row.Replayed);
            json.WriteNumber("plans", row.Plans);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
