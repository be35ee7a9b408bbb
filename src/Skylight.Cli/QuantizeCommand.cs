using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Quantization;
using Skylight.Text;
using Skylight.Training.Data;

namespace Skylight.Cli;

/// <summary><c>skylight quantize</c>: makes a checkpoint of 4 or 8 bits, or GGUF files, of one that is not quantised.</summary>
internal static class QuantizeCommand
{
    // As AWQ's authors have it, a sequence; and as many as a processor runs in minutes.
    private const int MostTokens = 512, Samples = 32;

    private static readonly Dictionary<string, (QuantizationType Type, SideType Side)> s_types = new(StringComparer.Ordinal)
    {
        ["q4"] = (QuantizationType.Q4, SideType.Q4),
        ["q8"] = (QuantizationType.Q8, SideType.Q8),
        ["f16"] = (QuantizationType.F16, SideType.F16),
        ["bf16"] = (QuantizationType.BF16, SideType.BF16),
        ["f32"] = (QuantizationType.F32, SideType.F32),
    };

    public static Command Create()
    {
        var model = new Argument<string>("model")
        {
            Description =
                "The checkpoint: a folder with config.json and *.safetensors of float32, bfloat16 or float16, or " +
                "OWNER/NAME of the hub.",
        };
        var output = new Option<string>("--output")
        {
            Description = "The folder to make; it must be empty or not exist.",
            Required = true,
        };
        var type = new Option<string>("--type") { Description = "Of the layers' weights.", Required = true };
        type.AcceptOnlyFromAmong([.. s_types.Keys]);
        var format =
            new Option<string>("--format")
            {
                Description =
                    "gguf: Q4_0, Q8_0, or plain numbers, for llama.cpp too. awq: safetensors in AutoAWQ's packing (q4 " +
                    "only).",
                DefaultValueFactory = _ => "gguf",
            };
        format.AcceptOnlyFromAmong("gguf", "awq");
        var calibrate =
            new Option<string?>("--calibrate")
            {
                Description =
                    "Rows with a text or with messages (JSONL or Parquet), on whose activations scales are searched " +
                    "and errors measured.",
            };
        var samples = new Option<int?>("--samples") { Description = $"The most rows of it ({Samples})." };
        var embeddings = new Option<string?>("--embeddings")
        {
            Description = "Of gguf: embedding and head (q8 beside q4 and q8, else as the layers).",
        };
        embeddings.AcceptOnlyFromAmong([.. s_types.Keys]);
        var vision = new Option<string?>("--vision")
        {
            Description = "Of gguf: encoder and connector (f16 beside q4 and q8, else as the layers).",
        };
        vision.AcceptOnlyFromAmong([.. s_types.Keys]);
        var resume = new Option<bool>("--resume") { Description = "Go on with what was stopped; finished layers stay." };
        var json = new Option<bool>("--json") { Description = "Print the report as JSON in place of a table." };
        var command = new Command("quantize",
            "Quantise a checkpoint to 4 or 8 bits, layer by layer, with a report of each layer's error; or write it as GGUF.")
        {
            model, output, type, format, calibrate, samples, embeddings, vision, resume, json,
        };
        command.SetCancellableAction((parse, cancellationToken) =>
        {
            var options = new QuantizerOptions
            {
                Type = s_types[parse.GetRequiredValue(type)].Type,
                Format = parse.GetValue(format) == "awq" ? QuantizationFormat.Awq : QuantizationFormat.Gguf,
                Embeddings = SideOf(parse.GetValue(embeddings)),
                Vision = SideOf(parse.GetValue(vision)),
                Resume = parse.GetValue(resume),
            };
            return Run(parse.GetRequiredValue(model), parse.GetRequiredValue(output), options, parse.GetValue(calibrate),
                parse.GetValue(samples), parse.GetValue(json), cancellationToken);
        });
        return command;
    }

    private static int Run(string model, string output, QuantizerOptions options, string? calibrate, int? samples, bool json,
        CancellationToken cancellationToken)
    {
        if (samples is not null && calibrate is null)
            throw new ArgumentException("--samples is the number of rows of --calibrate, which is missing.");
        if (samples < 1)
            throw new ArgumentException(FormattableString.Invariant($"--samples is {samples}; give 1 or more."));
        string directory = ModelFolder.FindAsync(model, ModelParts.Checkpoint, cancellationToken).GetAwaiter().GetResult();
        options = options with { Name = ModelSource.NameOf(model).Split('/')[^1] };
        if (calibrate is not null)
            options = options with
            {
                Calibration = CalibrationData.LoadAsync(calibrate, ModelConfiguration.Load(directory),
                    BytePairTokenizer.Load(directory, cancellationToken), samples ?? Samples, MostTokens, cancellationToken)
                    .GetAwaiter().GetResult(),
            };
        long start = Stopwatch.GetTimestamp();
        QuantizationReport report;
        try
        {
            report = ModelQuantizer.Run(directory, output, options, new Lines(start), cancellationToken);
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("skylight: layers that are done are kept; --resume goes on with them.");
            throw;
        }

        foreach (string warning in report.Warnings)
            Console.Error.WriteLine($"skylight: {warning}");
        if (json)
        {
            Console.WriteLine(report.ToJson());
            return 0;
        }

        Console.Write(report.ToTable());
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{output}: {string.Join(", ", report.Files)}; {ByteText.Of(report.SourceBytes)} became {ByteText.Of(report.Bytes)} in {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s."));
        return 0;
    }

    private static SideType? SideOf(string? name) => name is null ? null : s_types[name].Side;

    /// <summary>A line a unit on standard error; silent where that is not a terminal.</summary>
    private sealed class Lines(long start) : IProgress<QuantizationProgress>
    {
        public void Report(QuantizationProgress value)
        {
            if (Console.IsErrorRedirected)
                return;
            string error = value.Report?.Projections.MaxBy(projection => projection.Error) is { } worst
                ? string.Create(CultureInfo.InvariantCulture, $", greatest error {worst.Error * 100:F2} % ({worst.Name})") : "";
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{value.Done} of {value.Total}: {value.Unit}{error}, {Stopwatch.GetElapsedTime(start).TotalSeconds:F0} s"));
        }
    }
}
