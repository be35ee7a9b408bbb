using System.Diagnostics;
using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// Generation with a real model's shape and random weights, in this process: the time of a decoding step and of reading
/// a prompt, with and without a picture, beside the machine's read bandwidth and multiply-add peak in the same rounds,
/// the time of every op, and the most memory that was resident.
/// </summary>
internal static unsafe class ModelBenchmark
{
    private const int DecodeRounds = 61;
    private const int PrefillRounds = 11;

    // They fill one more page of the cache, so that all decoding steps have one plan: their kernels are compared.
    private const int NewTokens = KeyValuePages.Size;
    private const int MoreTokens = 512;
    private const int MemoryPrompt = 512;
    private const int MemoryTokens = 32;
    private const long BandwidthFloats = 64L << 20;

    /// <summary>Measures, prints, and writes the results if a path is given.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        (ModelBenchmarkOptions? options, string? fault) = ModelBenchmarkOptions.Parse(arguments);
        if (options is null)
        {
            Console.Error.WriteLine(fault);
            Console.Error.WriteLine($"Usage: {ModelBenchmarkOptions.Usage}");
            return 2;
        }

        long residentBefore = ProcessMemory.Peak();
        using var device = new TimedDevice(new CpuDevice());
        VisionLanguageModel model = new(ModelFamily.Configuration(options.Like), device, options.Type);
        string? folder = options.LlamaCpp is null ? null : Directory.CreateTempSubdirectory("skylight-bench-").FullName;
        try
        {
            RandomWeights.Fill(model);
            var results = new ModelResults(options, model);
            results.Memory = MeasureMemory(model, device, residentBefore);
            Console.WriteLine(results.Memory);
            // Before the weights that the file is made of are rounded.
            string? file = folder is null ? null : WriteFile(folder, ref model, options);
            if (options.Quantization is { } format)
            {
                // Apart from the other memory figure: while a matrix is rounded, both of its forms are there.
                model.Quantize(format);
                Console.WriteLine(
                    $"rounded to {format}: weights {model.Parameters.All.Sum(parameter => device.StorageBytes(parameter.Type)) / 1e6:F0} MB");
            }

            int longest = Math.Max(options.Prompts.Max(), options.Depths.Select(depth => depth + MoreTokens).Append(0).Max());
            using LlamaCppArms? llama = file is null ? null : new LlamaCppArms(options.LlamaCpp!, file, options.Batches.Max(),
                options.Batches.Max() * ((longest + NewTokens + 255) / 256 * 256));
            Measure(model, device, llama, options, results);
            if (options.Output is not null)
                BenchmarkReport.Write("cpu-model.json", $"model {Describe(arguments)}", results.Write, options.Output);
            return 0;
        }
        finally
        {
            model.Dispose();
            if (folder is not null)
                Directory.Delete(folder, recursive: true);
        }
    }

    private static void Measure(VisionLanguageModel model, TimedDevice device, LlamaCppArms? llama,
        ModelBenchmarkOptions options, ModelResults results)
    {
        results.PlanSeconds = MeasurePlans(model);
        Console.WriteLine($"plan of a decoding step of another shape: {results.PlanSeconds * 1e3:F2} ms");
        results.LlamaCpp = llama?.Describe(model, Prompt(model.Configuration, options.Prompts[0], 0, 4));
        if (llama is not null)
            Console.WriteLine(results.LlamaCpp);
        using var buffer = new NativeFloats(BandwidthFloats);
        var yardstick = new Arm(() => MachinePeak.Read(buffer.Pointer, BandwidthFloats));
        foreach (int tiles in options.Tiles)
        {
            foreach (int prompt in options.Prompts)
                results.Add(MeasurePrefill(model, device, yardstick, llama, prompt, tiles, options));
            results.Add(MeasureNextTurn(model, device, yardstick, options.Prompts[0], tiles, options));
        }

        foreach (int tiles in options.Tiles)
        {
            foreach (int batch in options.Batches)
                results.Add(
                    MeasureDecoding(model, device, yardstick, llama, options.Prompts[0], tiles, batch, [null], options)[0]);
        }

        foreach (int depth in options.Depths)
        {
            foreach (PassResult result in MeasureContinuing(model, device, yardstick, llama, depth, options))
                results.Add(result);
            foreach (PassResult result in MeasureDecoding(model, device, yardstick, llama, depth, 0, 1, options.CacheTypes,
                options))
                results.Add(result);
        }
    }

    /// <summary>Writes the weights for llama.cpp; a model that it has quantised itself is then loaded from its file.</summary>
    private static string WriteFile(string folder, ref VisionLanguageModel model, ModelBenchmarkOptions options)
    {
        const int Mixed = 15;
        string file = Path.Combine(folder, "model.gguf");
        GgufFile.Write(file, model, options.Quantization);
        if (!options.IsMixed)
            return file;
        string mixed = Path.Combine(folder, "mixed.gguf"), vision = Path.Combine(folder, "mmproj-model.gguf");
        GgufFile.WriteVision(vision, model);
        LlamaCpp.Quantize(options.LlamaCpp!, file, mixed, Mixed);
        File.Delete(file);
        (Device device, int? place) = (model.Device, model.Configuration.ImageTokenId);
        model.Dispose();
        model = ModelCheckpoint.Load(mixed, device, imageTokenId: place, vision: vision);
        return mixed;
    }

    /// <summary>A prompt of random text after the places of a picture's tiles.</summary>
    private static TokenSequence Prompt(ModelConfiguration configuration, int text, int tiles, int seed)
    {
        var random = new Random(seed);
        VisionConfiguration vision = configuration.Vision;
        if (configuration.ImageTokenId is not { } place)
            throw new InvalidOperationException("The model has no token for places of pictures.");
        ImageTile[] images = [.. Enumerable.Range(0, tiles).Select(_ => new ImageTile(
            [.. Enumerable.Range(0, vision.ChannelCount * vision.ImageHeight * vision.ImageWidth)
                .Select(_ => random.NextSingle() * 2 - 1)], vision.ImageHeight, vision.ImageWidth))];
        int[] places = [.. Enumerable.Repeat(place, tiles * configuration.TokensPerTile)];
        return new TokenSequence([.. places, .. Enumerable.Range(0, text).Select(_ => random.Next(place))], images);
    }

    private static MemoryResult MeasureMemory(VisionLanguageModel model, Device device, long residentBefore)
    {
        int tokens = MemoryPrompt + MemoryTokens;
        using var engine = new GenerationEngine(model, tokens);
        engine.Generate([new GenerationRequest(Prompt(model.Configuration, MemoryPrompt, 0, 1))],
            new SamplingOptions { MaxOutputTokens = MemoryTokens });
        long cache = (long)engine.PageCount * KeyValuePages.Size * KeyValueCache.BytesPerToken(model);
        return new MemoryResult(model.Parameters.All.Sum(parameter => device.StorageBytes(parameter.Type)), cache,
            residentBefore, ProcessMemory.Peak(), MemoryPrompt, MemoryTokens);
    }

    /// <summary>
    /// What the first step of a new shape costs besides its kernels, when plans were made before: the shortest of some.
    /// </summary>
    private static double MeasurePlans(VisionLanguageModel model)
    {
        using var cache = new KeyValueCache(model, 1);
        using var workspace = new Workspace(model.Device);
        double shortest = double.MaxValue;
        for (int sequences = 1; sequences <= 24; sequences++)
        {
            long start = Stopwatch.GetTimestamp();
            _ = new GenerationStep(model, cache, workspace, new StepShape(sequences, sequences, sequences, 4, false, 0));
            shortest = Math.Min(shortest, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return shortest;
    }

    private static PassResult MeasurePrefill(VisionLanguageModel model, TimedDevice device, Arm yardstick,
        LlamaCppArms? llama, int text, int tiles, ModelBenchmarkOptions options)
    {
        TokenSequence prompt = Prompt(model.Configuration, text, tiles, 2);
        using var engine = new GenerationEngine(model, prompt.Tokens.Length + 1);
        var sampling = new SamplingOptions { MaxOutputTokens = 1 };
        var pass = new Arm(() => engine.Step(), () => engine.Add(new GenerationRequest(prompt), sampling));
        return Measure([$"prefill of {Describe(text, tiles)}"], prompt.Tokens.Length, [pass], device, yardstick,
            tiles > 0 ? null : llama?.Prefill(prompt.Tokens), PrefillRounds, options)[0];
    }

    /// <summary>Reads a question that goes on where an earlier prompt ended, whose pages are kept.</summary>
    private static PassResult MeasureNextTurn(VisionLanguageModel model, TimedDevice device, Arm yardstick, int text,
        int tiles, ModelBenchmarkOptions options)
    {
        TokenSequence earlier = Prompt(model.Configuration, text, tiles, 2);
        using var engine = new GenerationEngine(model, 2 * (earlier.Tokens.Length + NewTokens + KeyValuePages.Size),
            imageCacheBytes: 1 << 30, cachePrefixes: true);
        var sampling = new SamplingOptions { MaxOutputTokens = 1 };
        engine.Generate([new GenerationRequest(earlier)], sampling);
        int turn = 0;
        var pass = new Arm(() => engine.Step(), () =>
        {
            int[] question = Prompt(model.Configuration, NewTokens, 0, 100 + turn++).Tokens;
            engine.Add(new GenerationRequest(earlier with { Tokens = [.. earlier.Tokens, .. question] }), sampling);
        });
        return Measure([$"next turn of {NewTokens} tokens after {Describe(text, tiles)}"], NewTokens, [pass], device,
            yardstick, null, PrefillRounds, options)[0];
    }

    /// <summary>Reads some more of a prompt of which all before is in the cache, with each type of cache in turn.</summary>
    private static PassResult[] MeasureContinuing(VisionLanguageModel model, TimedDevice device, Arm yardstick,
        LlamaCppArms? llama, int depth, ModelBenchmarkOptions options)
    {
        TokenSequence earlier = Prompt(model.Configuration, depth, 0, 2);
        var sampling = new SamplingOptions { MaxOutputTokens = 1 };
        GenerationEngine[] engines = [.. options.CacheTypes.Select(type => new GenerationEngine(model,
            depth + 3 * (MoreTokens + KeyValuePages.Size), cachePrefixes: true, keyValueType: type))];
        try
        {
            return Measure(Names($"prefill of {MoreTokens} text tokens after {depth}", options.CacheTypes), MoreTokens,
                [.. engines.Select(Arm)], device, yardstick,
                llama?.Continuing(earlier.Tokens, Prompt(model.Configuration, MoreTokens, 0, 99).Tokens), PrefillRounds, options);
        }
        finally
        {
            foreach (GenerationEngine engine in engines)
                engine.Dispose();
        }

        Arm Arm(GenerationEngine engine)
        {
            engine.Generate([new GenerationRequest(earlier)], sampling);
            int turn = 0;
            return new Arm(() => engine.Step(), () =>
            {
                int[] more = Prompt(model.Configuration, MoreTokens, 0, 100 + turn++).Tokens;
                engine.Add(new GenerationRequest(earlier with { Tokens = [.. earlier.Tokens, .. more] }), sampling);
            });
        }
    }

    private static PassResult[] MeasureDecoding(VisionLanguageModel model, TimedDevice device, Arm yardstick,
        LlamaCppArms? llama, int text, int tiles, int batch, DataType?[] cacheTypes, ModelBenchmarkOptions options)
    {
        TokenSequence prompt = Prompt(model.Configuration, text, tiles, 3);
        // The others differ from the first token on, so that each has a cache of its own; which is kept, so that long
        // prompts are read once.
        int[] tokens = prompt.Tokens;
        var sampling = new SamplingOptions { MaxOutputTokens = NewTokens };
        GenerationRequest[] requests = [.. Enumerable.Range(0, batch).Select(sequence => new GenerationRequest(
            tiles > 0 ? prompt : prompt with { Tokens = [sequence, .. tokens[1..]] }, Stream: (ulong)sequence))];
        GenerationEngine[] engines = [.. cacheTypes.Select(type => new GenerationEngine(model,
            2 * batch * (tokens.Length + NewTokens + KeyValuePages.Size), imageCacheBytes: 1 << 30, cachePrefixes: true,
            keyValueType: type))];
        try
        {
            return Measure(Names($"decoding of {batch} after {Describe(text, tiles)}", cacheTypes), batch,
                [.. engines.Select(Arm)], device, yardstick,
                tiles > 0 ? null : llama?.Decoding(tokens, batch, NewTokens), DecodeRounds, options);
        }
        finally
        {
            foreach (GenerationEngine engine in engines)
                engine.Dispose();
        }

        Arm Arm(GenerationEngine engine)
        {
            engine.Generate(requests, sampling with { MaxOutputTokens = 1 });
            return new Arm(() => engine.Step(), () =>
            {
                if (engine.HasWork)
                    return;
                device.IsTiming = false;
                foreach (GenerationRequest request in requests)
                    engine.Add(request, sampling);
                engine.Step();
                device.IsTiming = true;
            });
        }
    }

    private static string[] Names(string pass, DataType?[] cacheTypes) =>
        [.. cacheTypes.Select(type => type is null ? pass : $"{pass}, cache of {type}")];

    /// <summary>Measures passes in turn, of which the first is compared with llama.cpp.</summary>
    private static PassResult[] Measure(string[] names, int tokens, Arm[] passes, TimedDevice device, Arm yardstick, Arm? llama,
        int rounds, ModelBenchmarkOptions options)
    {
        foreach (Arm pass in passes)
            pass.PrepareAndRun();
        Measurement measured = Measurement.InTurn(rounds, TimeSpan.FromSeconds(options.Seconds),
            [yardstick, .. passes, .. llama is null ? Array.Empty<Arm>() : [llama]]);
        var results = new PassResult[passes.Length];
        for (int index = 0; index < passes.Length; index++)
        {
            double outside = MeasureOps(passes[index], device, rounds, options.Seconds / 3 / passes.Length);
            results[index] = new PassResult(
                names[index], tokens, measured.Seconds(1 + index), measured.Shortest(1 + index),
                BandwidthFloats * sizeof(float) / measured.Seconds(0), BandwidthFloats * sizeof(float) / measured.Shortest(0),
                measured.PeakFlops, measured.IsCalm, outside, device.Times)
            {
                LlamaCppSeconds = llama is null || index > 0 ? null : measured.Seconds(1 + passes.Length),
                LlamaCppShortestSeconds = llama is null || index > 0 ? null : measured.Shortest(1 + passes.Length),
            };
            Console.WriteLine(results[index]);
        }

        return results;
    }

    /// <summary>Apart from the measurement: the shortest time of every kernel, and of what is outside of kernels.</summary>
    private static double MeasureOps(Arm pass, TimedDevice device, int rounds, double longest)
    {
        device.Clear();
        double outside = double.MaxValue;
        long begin = Stopwatch.GetTimestamp();
        for (int run = 0; run < 1 || (run < rounds && Stopwatch.GetElapsedTime(begin).TotalSeconds < longest); run++)
        {
            pass.Prepare?.Invoke();
            double before = device.KernelSeconds;
            long start = Stopwatch.GetTimestamp();
            pass.Run();
            outside = Math.Min(outside, Stopwatch.GetElapsedTime(start).TotalSeconds - (device.KernelSeconds - before));
        }

        return outside;
    }

    private static string Describe(int text, int tiles) => tiles == 0
        ? string.Create(CultureInfo.InvariantCulture, $"{text} text tokens")
        : string.Create(CultureInfo.InvariantCulture, $"{text} text tokens and {tiles} tiles");

    /// <summary>The arguments as anybody may repeat them: where this machine keeps files is nobody's business.</summary>
    private static string Describe(ReadOnlySpan<string> arguments)
    {
        var described = new List<string>();
        for (int index = 0; index < arguments.Length; index++)
            described.Add(index > 0 && arguments[index - 1] == "--llama-cpp" ? "FOLDER" : arguments[index]);
        return string.Join(' ', described);
    }
}
