using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Execution;
using Spectre.Console;

namespace Skylight.Cli.Demo;

/// <summary><c>skylight demo</c>: trains a small vision-language model to reason about handwriting, and writes a report.</summary>
internal static class DemoCommand
{
    /// <param name="settings">Sizes and steps for a seed and a preset; a test makes them smaller.</param>
    public static Command Create(Func<ulong, DemoPreset, DemoSettings>? settings = null)
    {
        var quick = new Option<bool>("--quick") { Description = "A shorter run with a smaller gain." };
        var tiny = new Option<bool>("--tiny") { Description = "A few steps of every phase, to see that a device can do it all; what the emulator (simt) runs unless told otherwise." };
        var seed = new Option<ulong?>("--seed") { Description = "Everything random follows from it (1)." };
        var digits = new Option<string?>("--digits") { Description = "A folder with MNIST-style IDX files; by default the bundled ones." };
        var output = new Option<string?>("--out") { Description = "Where checkpoints and report.html go (demo-out)." };
        var resume = new Option<string?>("--resume") { Description = "Go on with the run in this folder." };
        var json = new Option<bool>("--json") { Description = "Print the results as one JSON object on the last line; progress goes to the error stream." };
        Option<string> device = DeviceOption.Create();
        var data = new Option<string?>("--write-data") { Description = "Train nothing: write the demo's examples as JSONL and PNG files into this folder, which must be empty or not exist." };
        var command = new Command("demo", "The paper in miniature: learn to see, to calculate, and to reason about pictures.") { quick, tiny, seed, digits, output, resume, json, device, data };
        command.SetCancellableAction((parse, cancellationToken) =>
        {
            var choices = new Choices(parse.GetValue(quick), parse.GetValue(tiny), parse.GetValue(seed), parse.GetValue(digits), parse.GetValue(output), parse.GetValue(resume), parse.GetValue(json), parse.GetRequiredValue(device));
            if (parse.GetValue(data) is not { } folder)
                return Run(settings ?? DemoSettings.Create, choices, cancellationToken);
            Option[] unused = [.. ((Option[])[output, resume, json, device]).Where(option => parse.GetResult(option) is { Implicit: false })];
            return unused.Length == 0 ? WriteData(folder, choices, cancellationToken)
                : throw new ArgumentException($"{string.Join(", ", unused.Select(option => option.Name))} cannot be used with --write-data, which trains nothing. Leave out what belongs to a run.");
        });
        return command;
    }

    private sealed record Choices(bool Quick, bool Tiny, ulong? Seed, string? Digits, string? Output, string? Resume, bool Json, string Device);

    private static int Run(Func<ulong, DemoPreset, DemoSettings> settingsFor, Choices choices, CancellationToken cancellationToken)
    {
        IAnsiConsole console = PlainConsole.ForProgress(choices.Json);
        string directory = choices.Resume ?? choices.Output ?? "demo-out";
        DemoState state = choices.Resume is null ? new DemoState { Seed = choices.Seed ?? 1, Preset = PresetOf(choices) } : LoadState(choices);
        state.Digits = choices.Digits is null ? state.Digits : Path.GetFullPath(choices.Digits);
        DemoSettings settings = settingsFor(state.Seed, state.Preset);
        DigitDataset digits = LoadDigits(state.Digits);
        bool isNew = !Directory.Exists(directory);
        MakeWritable(directory);
        using Device device = DeviceOption.Open(choices.Device);
        if (state.Preset == DemoPreset.Tiny)
            console.MarkupLineInterpolated($"[grey]{DeviceOption.Describe(device)}: the tiny run. It takes a few steps of every phase; its figures mean nothing about learning.[/]");
        using var run = new DemoRun(settings, digits, device, directory, new DemoDisplay(console), state);
        try
        {
            run.Run(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            if (Directory.Exists(DemoRun.StatePath(directory)))
                console.MarkupLineInterpolated($"Stopped. Go on with: skylight demo --resume {directory}");
            else
                console.MarkupLineInterpolated($"Stopped before there was anything to go on with.");
            if (isNew && !Directory.EnumerateFileSystemEntries(directory).Any())
                Directory.Delete(directory);
            return ErrorReporting.Cancelled;
        }

        DemoResult result = run.Result(CommandLine(state, choices.Device));
        string report = Path.Combine(directory, "report.html");
        byte[] page = Encoding.UTF8.GetBytes(HtmlReport.Render(result));
        AtomicFile.Write(report, page.Length, stream => stream.Write(page));
        console.MarkupLineInterpolated($"Report: [link]{Path.GetFullPath(report)}[/]");
        if (choices.Json)
            Console.WriteLine(result.ToJson());
        return 0;
    }

    private static int WriteData(string directory, Choices choices, CancellationToken cancellationToken)
    {
        DemoDataSizes sizes = DemoDataSizes.Of(PresetOf(choices));
        int pictures = DemoData.Write(directory, LoadDigits(choices.Digits), choices.Seed ?? 1, sizes, cancellationToken);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{directory}: {sizes.Captions:N0} captions, {sizes.Arithmetic:N0} rows of arithmetic, {sizes.ColdStart:N0} traces for the cold start, {sizes.Problems:N0} problems, {sizes.Validation:N0} for validation and {sizes.Test:N0} for the test; {pictures:N0} pictures."));
        return 0;
    }

    private static DigitDataset LoadDigits(string? directory) => DigitDataset.Load(directory ?? DigitDataset.FindBundled()
        ?? throw new IOException("The bundled digits (assets/digits) are not beside the program. Name a folder of IDX files with --digits."));

    private static DemoPreset PresetOf(Choices choices)
    {
        if (choices.Quick && choices.Tiny)
            throw new ArgumentException("--quick and --tiny are two different runs. Give one of them.");
        return choices.Quick ? DemoPreset.Quick : choices.Tiny || choices.Device == DeviceOption.Emulator ? DemoPreset.Tiny : DemoPreset.Full;
    }

    private static DemoState LoadState(Choices choices)
    {
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(DemoRun.StatePath(choices.Resume!));
        DemoState state;
        try
        {
            state = DemoState.FromJson(checkpoint.StateJson);
        }
        catch (Exception exception) when (exception is JsonException or InvalidDataException)
        {
            throw new CheckpointException(checkpoint.Directory, $"is not the state of a demo run: {exception.Message}", innerException: exception);
        }
        if (choices.Seed is { } seed && seed != state.Seed)
            throw new ArgumentException($"The run in '{choices.Resume}' has seed {state.Seed}, not {seed}. Leave --seed out when resuming.");
        return state;
    }

    private static void MakeWritable(string directory)
    {
        try
        {
            Directory.CreateDirectory(directory);
            string probe = Path.Combine(directory, ".write-test");
            File.WriteAllText(probe, "");
            File.Delete(probe);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"The output folder '{directory}' cannot be written: {exception.Message} Choose another with --out.", exception);
        }
    }

    private static string CommandLine(DemoState state, string device) =>
        $"skylight demo{(state.Preset switch { DemoPreset.Quick => " --quick", DemoPreset.Tiny => " --tiny", _ => "" })}{(device == DeviceOption.Default ? "" : $" --device {device}")} --seed {state.Seed}{(state.Digits is null ? "" : $" --digits {state.Digits}")}";
}
