using System.CommandLine;
using System.Globalization;
using System.Text;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cli.Chat;
using Skylight.Cli.Evaluation;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Spectre.Console;

namespace Skylight.Cli;

/// <summary><c>skylight eval</c>: puts the questions of a file to a model, scores its responses and reports.</summary>
internal static class EvalCommand
{
    private const int RoomForPrompts = 4096;

    public static Command Create()
    {
        var defaults = new EvaluationOptions();
        var model = new ModelSelection();
        var data = new Option<string>("--data")
        {
            Description = "The questions: JSONL or Parquet, a file, a folder or a pattern (docs/data.md).",
            Required = true,
        };
        var columns =
            new Option<string[]>("--columns")
            {
                Description =
                    "Which column is which part, such as answer=solution; may be repeated. By default found by the " +
                    "usual names.",
                DefaultValueFactory = _ => [],
            };
        var samples =
            new Option<int>("--samples")
            {
                Description = "Responses to each question; its score is their mean.",
                DefaultValueFactory = _ => defaults.Samples,
            };
        var temperature =
            new Option<float>("--temperature")
            {
                Description = "Divides the logits; 0 takes the most likely token.",
                DefaultValueFactory = _ => defaults.Temperature,
            };
        var topP = new Option<float>("--top-p")
        {
            Description = "Only the most likely tokens that together have this probability are eligible.",
            DefaultValueFactory = _ => defaults.TopP,
        };
        var penalty =
            new Option<float>("--repetition-penalty")
            {
                Description = "Makes tokens less likely that are there already.",
                DefaultValueFactory = _ => defaults.RepetitionPenalty,
            };
        var maxTokens =
            new Option<int>("--max-tokens")
            {
                Description = "The most tokens of a response, its thinking included.",
                DefaultValueFactory = _ => defaults.MaxOutputTokens,
            };
        var maxTiles =
            new Option<int?>("--max-tiles")
            {
                Description = "The most tiles of a picture; by default what the checkpoint says.",
            };
        var prompt =
            new Option<string>("--prompt")
            {
                Description =
                    "direct: as VLMEvalKit asks MMMU. cot: with a request to think step by step and to box the answer.",
                DefaultValueFactory = _ => "direct",
            };
        prompt.AcceptOnlyFromAmong("direct", "cot");
        var thinking = new Option<string>("--thinking",
            "--think")
        {
            Description = "Whether the prompt opens a think block; by default as the model was made.",
            DefaultValueFactory = _ => "default"
        };
        thinking.AcceptOnlyFromAmong("default", "on", "off");
        var scoring =
            new Option<string>("--scoring")
            {
                Description =
                    "checker: rules for options and mathematics, as rewards use them. paper: those of the paper's " +
                    "repository.",
                DefaultValueFactory = _ => "checker",
            };
        scoring.AcceptOnlyFromAmong("checker", "paper");
        var ban = new Option<string[]>("--ban")
        {
            Description = "A word that is never written, such as Wait; may be repeated.",
            DefaultValueFactory = _ => [],
        };
        var choice = new Option<bool>("--choice")
        {
            Description = "Hold responses to questions with options to the letter of one of them; thinking stays free.",
        };
        var concurrency = new Option<int>("--concurrency")
        {
            Description = "Responses that are written at once.",
            DefaultValueFactory = _ => defaults.Concurrency,
        };
        var seed = new Option<ulong>("--seed")
        {
            Description = "Every response follows from it.",
            DefaultValueFactory = _ => defaults.Seed,
        };
        var limit = new Option<int?>("--limit") { Description = "Ask only the first so many questions." };
        var output =
            new Option<string>("--output")
            {
                Description = "Where results.jsonl, report.json and report.html go.",
                DefaultValueFactory = _ => "eval-out",
            };
        var resume = new Option<bool>("--resume") { Description = "Go on with the evaluation in the output folder." };
        var json = new Option<bool>("--json")
        {
            Description = "Print the report as JSON; progress goes to the error stream.",
        };
        var command = new Command("eval",
            "Put the questions of a file to a model, score its responses by rules, and write a report.")
        {
            data, columns, samples, temperature, topP, penalty, maxTokens, maxTiles, prompt, thinking, scoring, ban, choice,
            concurrency, seed, limit, output, resume, json,
        };
        model.AddTo(command);
        command.SetAction((parse, cancellationToken) =>
        {
            var options = new EvaluationOptions
            {
                Samples = parse.GetValue(samples),
                Temperature = parse.GetValue(temperature),
                TopP = parse.GetValue(topP),
                RepetitionPenalty = parse.GetValue(penalty),
                MaxOutputTokens = parse.GetValue(maxTokens),
                MaximumTiles = parse.GetValue(maxTiles),
                Prompt = parse.GetValue(prompt) == "cot" ? PromptStyle.StepByStep : PromptStyle.Direct,
                Thinking = AnswerSettings.ThinkingOf(parse.GetValue(thinking)),
                Scoring = parse.GetValue(scoring) == "paper" ? ScoringRules.Paper : ScoringRules.Checker,
                BannedWords = parse.GetValue(ban) ?? [],
                HoldsChoices = parse.GetValue(choice),
                Concurrency = parse.GetValue(concurrency),
                Seed = parse.GetValue(seed),
            };
            var choices = new Choices(
                parse.GetRequiredValue(data), ColumnMap.Parse(parse.GetValue(columns) ?? []),
                parse.GetRequiredValue(output), parse.GetValue(limit), parse.GetValue(resume), parse.GetValue(json));
            return RunAsync(choices, options, model, parse, cancellationToken);
        });
        return command;
    }

    private sealed record Choices(string Data, ColumnMap Columns, string Output, int? Limit, bool Resume, bool Json);

    private static async Task<int> RunAsync(
        Choices choices, EvaluationOptions options, ModelSelection selection, ParseResult parse,
        CancellationToken cancellationToken)
    {
        // What can be wrong without the model is found before gigabytes are read.
        options.Validate();
        if (choices.Limit < 1)
            throw new ArgumentException($"--limit is {choices.Limit}; give a number of questions.");
        IReadOnlyList<EvaluationItem> items = await EvaluationData.LoadAsync(choices.Data, choices.Columns,
            cancellationToken);
        EvaluationFolder.CheckFree(choices.Output, choices.Resume);
        IAnsiConsole console = PlainConsole.ForProgress(choices.Json);

        await using ChatModel model = await selection.LoadAsync(parse, load =>
            load with { MaximumRequests = Math.Max(load.MaximumRequests, options.Concurrency) }, cancellationToken);
        if (options.MaxOutputTokens + RoomForPrompts > model.ContextTokens)
            console.MarkupLineInterpolated(
                $"[yellow]The context holds {model.ContextTokens:N0} tokens for prompt and response: responses cannot always have {options.MaxOutputTokens:N0}. A larger cache is set with --cache-tokens.[/]");
        var evaluator = new Evaluator(model, options);
        EvaluationSettings settings = evaluator.SettingsFor(items, ModelFingerprint.Of(selection.Folder, selection.Vision));
        using var folder = EvaluationFolder.Open(choices.Output, settings, choices.Resume);
        IReadOnlyList<EvaluationItem> asked = choices.Limit is { } limit ? [.. items.Take(limit)] : items;
        var display = new EvalDisplay(console);
        console.MarkupLineInterpolated(
            $"[bold]{model.Name}[/] on {model.Model.Device.Name}: {asked.Count:N0} questions, {options.Samples} {(options.Samples == 1 ? "response" : "responses")} each");
        EvaluationReport report;
        IReadOnlyList<EvaluationResult> results;
        try
        {
            (report, results) = await evaluator.RunAsync(asked, settings, folder, display, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            display.End();
            ErrorReporting.BeginLine();
            console.MarkupLineInterpolated(
                $"Stopped; what was answered is in '{choices.Output}'. Go on with the same command and --resume.");
            return ErrorReporting.Cancelled;
        }

        display.End();
        folder.Write(report);
        string page = Path.Combine(choices.Output, "report.html");
        byte[] content = Encoding.UTF8.GetBytes(EvalPage.Render(report, asked, results));
        AtomicFile.Write(page, content.Length, stream => stream.Write(content));
        display.Show(report);
        console.MarkupLineInterpolated($"Report: [link]{Path.GetFullPath(page)}[/]");
        if (choices.Json)
            Console.WriteLine(report.ToJson());
        // Whoever runs this from a script must not take a number for whole that misses responses.
        return report.Failures > 0 ? 1 : 0;
    }
}
