using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using Skylight.Bench.Models;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Images;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training.Runs;

namespace Skylight.Bench.Training;

/// <summary>
/// Recipes run as <c>skylight train</c> runs them, on checkpoints of random weights and rows with a picture of noise:
/// tokens a second of rollouts and of updates, and the memory that was reserved beside what the plan had said.
/// </summary>
internal static class TrainingBenchmark
{
    private const string Usage =
        "training [--like demo,internvl3-1b] [--device cpu] [--case NAME] [--steps 5] [--tokenizer FILE] [--output PATH]";

    private const string Processor = "cpu";

    private sealed record Row(
        string Model, string Name, int Steps, double StepSeconds, double UpdateTokens, double? RolloutTokens,
        long Planned, long Reserved, long? Resident, RunMemory Memory, string? Fault);

    /// <summary>Measures, prints and writes the results.</summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        string[] models = ["demo", "internvl3-1b"];
        int steps = 5;
        string device = Processor, filter = "";
        string? tokenizer = null, output = null;
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string name = arguments[index], value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            bool isRead = name switch
            {
                "--like" => (models = value.Split(',')).All(model => ModelFamily.Names.Contains(model)),
                // The first one plans and warms up.
                "--steps" => int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out steps) && steps > 1,
                "--device" => (device = value) is Processor or "simt" || value.StartsWith("cuda", StringComparison.Ordinal),
                "--case" => (filter = value).Length > 0,
                "--tokenizer" => File.Exists(tokenizer = value),
                "--output" => (output = value).Length > 0,
                _ => false,
            };
            if (!isRead)
            {
                Console.Error.WriteLine(
                    $"'{name} {value}' is not understood. Usage: {Usage}. Models: {string.Join(", ", ModelFamily.Names)}.");
                return 2;
            }
        }

        var rows = new List<Row>();
        foreach (string model in models)
        {
            string folder = Directory.CreateTempSubdirectory("skylight-training-").FullName;
            try
            {
                WriteModel(model, Path.Combine(folder, "model"), tokenizer);
                WriteData(folder, ModelFamily.Configuration(model).Vision.ImageHeight);
                foreach (TrainingCase one in TrainingCase.Of(model)
                    .Where(one => one.Name.Contains(filter, StringComparison.OrdinalIgnoreCase)))
                {
                    rows.Add(await MeasureAsync(model, one, folder, steps, device).ConfigureAwait(false));
                    Console.WriteLine(Text(rows[^1]));
                }
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        if (rows.Count == 0)
        {
            Console.Error.WriteLine($"No case's name contains '{filter}'. Usage: {Usage}.");
            return 2;
        }

        if (output is null && (device != Processor || filter.Length > 0))
            return 0;
        BenchmarkReport.Write("cpu-training.json", string.Join(' ', arguments.Prepend("training")),
            json => Write(json, rows, device), output);
        return 0;
    }

    /// <summary>Measures supervised steps of the connector by samples in a step.</summary>
    public static async Task<IReadOnlyList<TrainingPoint>> MeasureConnectorAsync(string model, int[] batches, int steps)
    {
        string folder = Directory.CreateTempSubdirectory("skylight-training-").FullName;
        try
        {
            WriteModel(model, Path.Combine(folder, "model"));
            WriteData(folder, ModelFamily.Configuration(model).Vision.ImageHeight);
            var points = new List<TrainingPoint>();
            foreach (int batch in batches)
            {
                Row row = await MeasureAsync(model, TrainingCase.Connector(batch), folder, steps).ConfigureAwait(false);
                Console.WriteLine(Text(row));
                if (row.Fault is null)
                    points.Add(new TrainingPoint(batch, row.StepSeconds, row.UpdateTokens));
            }

            return points;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<Row> MeasureAsync(string model, TrainingCase one, string folder, int steps,
        string deviceName = Processor)
    {
        string folderOfModel = Path.Combine(folder, "model"), folderOfRun = Path.Combine(folder, "run");
        Recipe recipe = RecipeFile.Parse($"data_folder: '{folder}'\nsteps: {steps}\n{one.Recipe}", "benchmark.yaml");
        Device device = Open(deviceName);
        RunPlan plan;
        using (Device planning = Open(deviceName, long.MaxValue))
            plan = await RunPlan.OfAsync(recipe, folderOfModel, planning, device.MemoryBytes).ConfigureAwait(false);
        if (!plan.Fits)
        {
            device.Dispose();
            return new Row(model, one.Name, 0, 0, 0, null, plan.PeakBytes, 0, null, plan.Memory,
                "not run: its plan is more than this machine has");
        }

        GC.Collect();
        bool isReset = TryResetPeak();
        long before = ProcessMemory.Peak();
        await using (TrainingRun run = await TrainingRun.OpenAsync(recipe, folderOfModel, folderOfRun,
            new TrainingRunOptions(device) { LoadReward = _ => new NoiseReward() }).ConfigureAwait(false))
            await run.RunAsync().ConfigureAwait(false);
        StepFigures[] measured = [.. RunLog.ReadMetrics(Path.Combine(folderOfRun, RunLog.MetricsName), 1 << 30)
            .Where(figures => figures.Kind == FigureKind.Step).Skip(1)];
        Directory.Delete(folderOfRun, recursive: true);
        return new Row(
            model, one.Name, measured.Length, Median(measured, "step_seconds")!.Value,
            Median(measured, "update_tokens_per_second")!.Value, Median(measured, "rollout_tokens_per_second"),
            plan.PeakBytes, device.ReservedPeakBytes, isReset ? ProcessMemory.Peak() - before : null, plan.Memory, null);
    }

    private static Device Open(string name, long? memoryBytes = null) => name == Processor
        ? new CpuDevice(new CpuDeviceOptions { MemoryBytes = memoryBytes })
        : CudaDevices.Open(name, new CudaDeviceOptions { MemoryBytes = memoryBytes });

    private static double? Median(StepFigures[] steps, string name)
    {
        double[] values = [.. steps.Select(step => step[name]).OfType<double>().Order()];
        return values.Length == 0 ? null : (values[(values.Length - 1) / 2] + values[values.Length / 2]) / 2;
    }

    /// <summary>Has the system count the most resident bytes anew.</summary>
    private static bool TryResetPeak()
    {
        try
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static void WriteModel(string like, string folder, string? tokenizer = null)
    {
        ModelConfiguration configuration = ModelFamily.Configuration(like);
        bool isDemo = like == ModelFamily.Demo;
        RandomCheckpoint.Write(folder, configuration, isDemo ? StoredType.Float32 : StoredType.BFloat16, 1,
            new CheckpointWriterOptions { TextFiles = isDemo ? [.. DemoTokenizer.Files()] : [] });
        if (isDemo)
            return;
        if (tokenizer is not null)
        {
            File.Copy(tokenizer, Path.Combine(folder, "tokenizer.json"));
            return;
        }

        using FileStream packed = File.OpenRead(
            Path.Combine(BenchmarkReport.RepositoryRoot(), "tests", "golden", "tokenizer", "tokenizer.json.gz"));
        using var unpacked = new GZipStream(packed, CompressionMode.Decompress);
        using FileStream file = File.Create(Path.Combine(folder, "tokenizer.json"));
        unpacked.CopyTo(file);
    }

    /// <summary>
    /// Rows of one picture and a question of a few dozen characters, with an answer to learn from and one to compare
    /// with.
    /// </summary>
    private static void WriteData(string folder, int pixels)
    {
        var random = new Random(1);
        using var rows = new StreamWriter(Path.Combine(folder, "data.jsonl"));
        for (int row = 0; row < 32; row++)
        {
            var colours = new byte[3 * pixels * pixels];
            random.NextBytes(colours);
            string picture = string.Create(CultureInfo.InvariantCulture, $"{row}.png");
            File.WriteAllBytes(Path.Combine(folder, picture), PngEncoder.Encode(new RgbImage(pixels, pixels, colours)));
            int a = random.Next(100), b = random.Next(100);
            rows.Write(string.Create(CultureInfo.InvariantCulture,
                $"{{\"question\": \"{a}+{b}=\", \"answer\": \"{a + b}\", \"response\": \"{a}+{b}={a + b}\", \"images\": [\"{picture}\"]}}\n"));
        }
    }

    private static string Text(Row row) => row.Fault is not null
        ? $"{row.Model}, {row.Name}: {row.Fault} ({row.Planned / 1e9:F2} GB)" : string.Create(
        CultureInfo.InvariantCulture,
        $"{row.Model}, {row.Name}: step {row.StepSeconds:F3} s; update {row.UpdateTokens:F1} tokens/s{(row.RolloutTokens is { } drawn ? string.Create(CultureInfo.InvariantCulture, $", rollout {drawn:F1} tokens/s") : "")}; reserved {row.Reserved / 1e6:F1} MB, planned {row.Planned / 1e6:F1} MB ({(double)row.Planned / row.Reserved:F3} times)");

    private static void Write(Utf8JsonWriter json, IReadOnlyList<Row> rows, string device)
    {
        json.WriteString("device", device);
        if (device != Processor)
        {
            using var card = (CudaDevice)Open(device);
            json.WriteString("card", card.CardName);
            json.WriteString("warpgroups", card.Target.HasHopperInstructions ? card.WarpgroupsOff ?? "used" : "none");
        }

        json.WriteString("unit",
            "medians over the steps after the first; update tokens of sft are whole samples, of grpo completions " +
            "alone; rollouts with rewards; memory in bytes");
        json.WriteString("data", "one picture of noise, a tile, and a short question a row; weights random");
        json.WriteString("not_run",
            "large models with all modules: masters, gradients and moments alone take 16 bytes a parameter");
        json.WriteStartArray("runs");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("model", row.Model);
            json.WriteString("recipe", row.Name);
            json.WriteNumber("planned_bytes", row.Planned);
            if (row.Fault is not null)
            {
                json.WriteString("fault", row.Fault);
            }
            else
            {
                json.WriteNumber("steps", row.Steps);
                json.WriteNumber("step_seconds", Math.Round(row.StepSeconds, 4));
                json.WriteNumber("update_tokens_per_second", Math.Round(row.UpdateTokens, 1));
                if (row.RolloutTokens is { } drawn)
                    json.WriteNumber("rollout_tokens_per_second", Math.Round(drawn, 1));
                json.WriteNumber("reserved_peak_bytes", row.Reserved);
                json.WriteNumber("planned_over_reserved", Math.Round((double)row.Planned / row.Reserved, 3));
                if (row.Resident is { } resident)
                    json.WriteNumber("resident_growth_bytes", resident);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
