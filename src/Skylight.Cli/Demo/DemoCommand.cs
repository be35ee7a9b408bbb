using System.CommandLine;
using System.Globalization;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Cli.Train;
using Skylight.Execution;
using Spectre.Console;

namespace Skylight.Cli.Demo;

/// <summary>
/// <c>skylight demo</c>: trains a small vision-language model to reason about handwriting, and writes a report.
/// </summary>
internal static class DemoCommand
{
    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "A shorter run with a smaller gain." };
        var tiny = new Option<bool>("--tiny")
        {
            Description =
                "A few steps of every phase, to see that a device can do it all; what the emulator (simt) runs " +
                "unless told otherwise.",
        };
        var seed = new Option<ulong?>("--seed") { Description = "Everything random follows from it (1)." };
        var digits =
            new Option<string?>("--digits")
            {
                Description = "A folder with MNIST-style IDX files; by default the bundled ones.",
            };
        var output =
            new Option<string?>("--out")
            {
                Description = "The folder of model, data, runs and report.html (demo-out); it must hold no demo yet.",
            };
        var resume = new Option<string?>("--resume") { Description = "Go on with the run in this folder." };
        var json = new Option<bool>("--json")
        {
            Description = "Print the results as one JSON object on the last line; progress goes to the error stream.",
        };
        Option<string> device = DeviceOption.Create();
        var data = new Option<string?>("--write-data")
        {
            Description =
                "Train nothing: write the demo's examples as JSONL and PNG files into this folder, which must be " +
                "empty or not exist.",
        };
        var command = new Command("demo",
            "The paper in miniature: learn to see, to calculate, and to reason about pictures.") { quick, tiny, seed,
            digits, output, resume, json, device, data };
        command.SetCancellableAction((parse, cancellationToken) =>
        {
            var choices = new Choices(parse.GetValue(quick), parse.GetValue(tiny), parse.GetValue(seed),
                parse.GetValue(digits), parse.GetValue(output), parse.GetValue(resume), parse.GetValue(json),
                parse.GetRequiredValue(device));
            if (parse.GetValue(data) is not { } folder)
                return RunAsync(choices, cancellationToken).GetAwaiter().GetResult();
            Option[] unused = [.. ((Option[])[output, resume, json, device])
                .Where(option => parse.GetResult(option) is { Implicit: false })];
            return unused.Length == 0 ? WriteData(folder, choices, cancellationToken)
                : throw new ArgumentException(
                    $"{string.Join(", ", unused.Select(option => option.Name))} cannot be used with --write-data, which trains nothing. Leave out what belongs to a run.");
        });
        return command;
    }

    private sealed record Choices(bool Quick, bool Tiny, ulong? Seed, string? Digits, string? Output, string? Resume,
        bool Json, string Device);

    private static async Task<int> RunAsync(Choices choices, CancellationToken cancellationToken)
    {
        IAnsiConsole console = PlainConsole.ForProgress(choices.Json);
        DemoFolder? saved = choices.Resume is null ? null : OpenFolder(choices);
        // What can be wrong with digits and device leaves no folder behind.
        if (saved is null)
            DigitDataset.Open(choices.Digits);
        string name;
        using (Device device = DeviceOption.Open(choices.Device))
            name = DeviceOption.Describe(device);
        DemoFolder folder = saved ?? DemoFolder.Create(
            choices.Output ?? "demo-out",
            new DemoState
            {
                Seed = choices.Seed ?? 1,
                Preset = PresetOf(choices),
                Digits = choices.Digits is null ? null
                    : Path.GetFullPath(choices.Digits),
            });
        if (folder.State.Preset == DemoPreset.Tiny)
            console.MarkupLineInterpolated(
                $"[grey]{name}: the tiny run. It takes a few steps of every phase; its figures mean nothing about learning.[/]");
        DemoResult result;
        try
        {
            var run = new DemoRun(folder, () => DeviceOption.Open(choices.Device), new RunDisplay(console),
                test => Show(console, test));
            result = await run.RunAsync(name, CommandLine(folder.State, choices.Device), cancellationToken)
                .ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            ErrorReporting.BeginLine();
            console.MarkupLineInterpolated($"Stopped. Go on with: skylight demo --resume {folder.Path}");
            return ErrorReporting.Cancelled;
        }

        string report = Path.Combine(folder.Path, DemoFolder.ReportName);
        byte[] page = Encoding.UTF8.GetBytes(HtmlReport.Render(result));
        AtomicFile.Write(report, page.Length, stream => stream.Write(page));
        console.MarkupLineInterpolated($"Report: [link]{Path.GetFullPath(report)}[/]");
        if (choices.Json)
            Console.WriteLine(result.ToJson());
        return 0;
    }

    private static void Show(IAnsiConsole console, PhaseResult test)
    {
        (double low, double high) = test.Interval;
        console.MarkupLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  held-out accuracy [bold green]{test.Accuracy * 100:F1} %[/] [grey](95 %: {low * 100:F1}–{high * 100:F1}; {test.Count} problems; {test.Seconds:F0} s)[/]"));
    }

    private static int WriteData(string directory, Choices choices, CancellationToken cancellationToken)
    {
        DemoDataSizes sizes = DemoDataSizes.Of(PresetOf(choices));
        int pictures = DemoData.Write(directory, DigitDataset.Open(choices.Digits), choices.Seed ?? 1, sizes,
            cancellationToken);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{directory}: {sizes.Captions:N0} captions, {sizes.Arithmetic:N0} rows of arithmetic, {sizes.ColdStart:N0} traces for the cold start, {sizes.Problems:N0} problems, {sizes.Validation:N0} for validation and {sizes.Test:N0} for the test; {pictures:N0} pictures."));
        return 0;
    }

    private static DemoPreset PresetOf(Choices choices)
    {
        if (choices.Quick && choices.Tiny)
            throw new ArgumentException("--quick and --tiny are two different runs. Give one of them.");
        return choices.Quick ? DemoPreset.Quick : choices.Tiny
            || choices.Device == DeviceOption.Emulator ? DemoPreset.Tiny : DemoPreset.Full;
    }

    private static DemoFolder OpenFolder(Choices choices)
    {
        DemoFolder folder = DemoFolder.Open(choices.Resume!);
        DemoState state = folder.State;
        if (choices.Seed is { } seed && seed != state.Seed)
            throw Conflict($"has seed {state.Seed}, not {seed}", "--seed");
        if ((choices.Quick || choices.Tiny) && PresetOf(choices) != state.Preset)
            throw Conflict($"is a {DemoResult.NameOf(state.Preset)} run", choices.Quick ? "--quick" : "--tiny");
        if (choices.Digits is not null && Path.GetFullPath(choices.Digits) != state.Digits)
            throw Conflict($"has the digits of {state.Digits ?? "the program"}", "--digits");
        return choices.Output is null ? folder : throw Conflict("stays in its folder", "--out");

        ArgumentException Conflict(string what, string option) =>
            new($"The run in '{choices.Resume}' {what}. Leave {option} out when resuming.");
    }

    private static string CommandLine(DemoState state, string device) =>
        $"skylight demo{(state.Preset switch { DemoPreset.Quick => " --quick", DemoPreset.Tiny => " --tiny", _ => "" })}{(device == DeviceOption.Default ? "" : $" --device {device}")} --seed {state.Seed}{(state.Digits is null ? "" : $" --digits {state.Digits}")}";
}
