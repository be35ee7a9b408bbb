using System.Globalization;
using System.Text;
using Skylight.Cli.Demo.Report;
using Skylight.Images;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Skylight.Training.Reports;

namespace Skylight.Cli.Evaluation;

/// <summary>
/// Writes an evaluation as one page that needs nothing else: style and pictures are inside, and there is no script.
/// </summary>
internal static class EvalPage
{
    private const int MostExamples = 8, MostPictureBytes = 300_000, MostThinking = 20_000;

    private const string Css = """
        .asked { display: block; } .asked .answer { display: block; margin-top: 4px; white-space: normal; }
        .pictures { display: flex; flex-wrap: wrap; gap: 8px; } .pictures img { width: auto; max-width: 100%; max-height: 180px; aspect-ratio: auto; image-rendering: auto; border-radius: 7px; }
        summary { cursor: pointer; color: var(--soft); font-size: 13px; } details code { color: var(--soft); }
        details.all { margin-top: 10px; } td.text { white-space: normal; overflow-wrap: anywhere; }
        """;

    /// <summary>Makes the page.</summary>
    public static string Render(EvaluationReport report, IReadOnlyList<EvaluationItem> items,
        IReadOnlyList<EvaluationResult> results)
    {
        var page = new StringBuilder();
        page.Append(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta " +
            "charset=\"utf-8\"/>\n");
        page.Append(
            $"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Evaluation of {Markup.Escape(report.Settings.Model)}</title>\n");
        page.Append("<style>\n").Append(ReportStyle.Css).Append(Css).Append("\n</style>\n</head>\n<body>\n<main>\n");
        AppendHeader(page, report);
        AppendAccuracies(page, report);
        AppendRules(page, report);
        AppendFailures(page, report);
        ILookup<string, EvaluationResult> byItem = results.ToLookup(result => result.Id, StringComparer.Ordinal);
        AppendExamples(page, items, results);
        AppendItems(page, items, byItem);
        AppendFacts(page, report);
        return page.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void AppendHeader(StringBuilder page, EvaluationReport report)
    {
        AccuracyInterval accuracy = report.Accuracy;
        page.Append("<header>\n<p class=\"eyebrow\">Skylight evaluation</p>\n");
        page.Append(
            $"<h1>{Markup.Escape(report.Settings.Model)} answers {Markup.Percent(accuracy.Mean)} of {Markup.Number(accuracy.Items)} questions</h1>\n");
        page.Append(
            "<p class=\"lead\">Scored by rules alone, with no judge model: a response that says the right thing in " +
            "words the rules do not know counts as wrong.</p>\n<dl class=\"figures\">\n");
        AppendFigure(page, "Accuracy", accuracy.Items > 0 ? Markup.Percent(accuracy.Mean) : "unknown",
            $"{Range(accuracy)} at 95 % confidence");
        AppendFigure(page, "Critical-token entropy", Markup.Number(report.MeanCriticalEntropy, 3),
            report.CriticalTokens > 0 ? $"nats, mean over {Markup.Number(report.CriticalTokens)} tokens such as “Wait”"
                : "no “Wait” or its like was written in a think block");
        AppendFigure(page, "Tokens of a response", Markup.Number(report.MeanTokens),
            $"mean; {Markup.Number(report.MeanThinkingTokens)} of them thinking");
        AppendFigure(page, "Cut off", Markup.Percent(report.TruncatedShare),
            $"of {Markup.Number(accuracy.Samples)} responses reached the most tokens");
        AppendFigure(page, "Without an answer", Markup.Percent(report.UnansweredShare), "of responses: no rule found one");
        page.Append("</dl>\n</header>\n");
    }

    private static void AppendFigure(StringBuilder page, string name, string value, string detail) => page.Append(
        $"<div class=\"card\"><dt>{Markup.Escape(name)}</dt><dd class=\"value\">{Markup.Escape(value)}</dd><dd class=\"detail\">{Markup.Escape(detail)}</dd></div>\n");

    private static void AppendAccuracies(StringBuilder page, EvaluationReport report)
    {
        page.Append("<section>\n<h2>Accuracy</h2>\n");
        page.Append(
            $"<p class=\"note\">The mean over items of their share of right responses. Brackets: {Markup.Escape(report.IntervalMethod)}.</p>\n<div class=\"card phases\">\n");
        AppendBar(page, "All",
            $"{Markup.Number(report.Accuracy.Items)} items, {Markup.Number(report.MeanTokens)} tokens a response",
            report.Accuracy, "fill");
        foreach (CategoryAccuracy category in report.Categories)
            AppendBar(page, category.Name,
                $"{Markup.Number(category.Accuracy.Items)} items, {Markup.Number(category.MeanTokens)} tokens a response", category.Accuracy, "fill quiet");
        page.Append("</div>\n");
        if (report.SampleAccuracies.Count > 1)
            page.Append(
                $"<p class=\"note\" style=\"margin-top:12px\">By sample: {string.Join(", ", report.SampleAccuracies.Select(accuracy => Markup.Percent(accuracy)))}.</p>\n");
        page.Append("</section>\n");
    }

    private static void AppendBar(StringBuilder page, string name, string about, AccuracyInterval accuracy, string style)
    {
        page.Append(
            $"<div class=\"phase\"><div class=\"name\">{Markup.Escape(name)}<span class=\"about\">{about}</span></div>");
        page.Append(
            $"<div class=\"track\"><div class=\"{style}\" style=\"width:{Markup.Coordinate(100 * accuracy.Mean)}%\"></div>");
        page.Append(
            $"<div class=\"whisker\" style=\"left:{Markup.Coordinate(100 * accuracy.Low)}%;width:{Markup.Coordinate(100 * (accuracy.High - accuracy.Low))}%\"></div></div>");
        page.Append(
            $"<div class=\"percent\">{Markup.Percent(accuracy.Mean)}<span class=\"range\">{Range(accuracy)}</span></div></div>\n");
    }

    private static string Range(AccuracyInterval accuracy) =>
        $"{Markup.Number(100 * accuracy.Low, 1)} – {Markup.Percent(accuracy.High)}";

    private static void AppendRules(StringBuilder page, EvaluationReport report)
    {
        page.Append(
            "<section>\n<h2>How answers were found</h2>\n<div class=\"card scroll\"><table " +
            "class=\"numbers\">\n<thead><tr><th>Rule</th><th>Responses</th><th>Right</th></tr></thead>\n<tbody>\n");
        foreach (RuleCount rule in report.Rules)
            page.Append(
                $"<tr><td>{Name(rule.Rule)}</td><td>{Markup.Number(rule.Responses)}</td><td>{Markup.Number(rule.Right)}</td></tr>\n");
        page.Append("</tbody>\n</table></div>\n</section>\n");
    }

    private static string Name(AnswerRule rule) => rule switch
    {
        AnswerRule.OptionLetter => "one option’s letter stands in it",
        AnswerRule.OptionText => "one option’s or answer’s text stands in it",
        AnswerRule.Boxed => "the last \\boxed{…}, or answer tags",
        AnswerRule.Stated => "it says that the answer is this",
        AnswerRule.Refusal => "it declines to answer",
        _ => "none: no answer was found",
    };

    private static void AppendFailures(StringBuilder page, EvaluationReport report)
    {
        if (report.Failures == 0 && report.ShortenedBudgets == 0)
            return;
        page.Append("<section>\n<h2>What went wrong</h2>\n<div class=\"card\">\n");
        if (report.ShortenedBudgets > 0)
            page.Append(
                $"<p>{Markup.Number(report.ShortenedBudgets)} responses had room for fewer tokens than the {Markup.Number(report.Settings.MaxOutputTokens)} asked for, because the context has {Markup.Number(report.Settings.ContextTokens)}.</p>\n");
        if (report.Failures > 0)
            page.Append(
                $"<p>{Markup.Number(report.Failures)} responses failed and count neither as right nor as wrong:</p>\n<ul>{string.Concat(report.FailureReasons.Select(reason => $"<li>{Markup.Escape(reason)}</li>"))}</ul>\n");
        page.Append("</div>\n</section>\n");
    }

    private static void AppendExamples(StringBuilder page, IReadOnlyList<EvaluationItem> items,
        IReadOnlyList<EvaluationResult> results)
    {
        EvaluationResult[] first = [.. results.Where(result => result.Sample == 0 && result.Error is null)];
        EvaluationResult[] wrong = [.. first.Where(result => !result.IsCorrect).Take(MostExamples / 2)];
        EvaluationResult[] right = [.. first.Where(result => result.IsCorrect).Take(MostExamples - wrong.Length)];
        if (wrong.Length + right.Length == 0)
            return;
        Dictionary<string, EvaluationItem> byId = items.ToDictionary(item => item.Id, StringComparer.Ordinal);
        page.Append(
            "<section>\n<h2>Examples</h2>\n<p class=\"note\">The first wrong and the first right responses; all of " +
            "them are in results.jsonl.</p>\n<div class=\"examples\">\n");
        foreach (EvaluationResult result in (EvaluationResult[])[.. wrong, .. right])
            AppendExample(page, byId[result.Id], result);
        page.Append("</div>\n</section>\n");
    }

    private static void AppendExample(StringBuilder page, EvaluationItem item, EvaluationResult result)
    {
        page.Append("<article class=\"card example\">");
        string[] pictures = [.. item.Images.Select(Picture).OfType<string>()];
        if (pictures.Length > 0)
            page.Append($"<div class=\"pictures\">{string.Concat(pictures)}</div>");
        string options = string.Concat(
            item.Options.Select((option, place) => $"\n{EvaluationItem.Letter(place)}. {option}"));
        page.Append(
            $"<p class=\"asked\"><code>{Markup.Escape(item.Question + options)}</code><span class=\"answer\">{Markup.Escape(item.Id)} · answer {Markup.Escape(string.Join(" or ", item.Answers))}</span></p>");
        string verdict = result.Error is not null ? "<span class=\"tag bad\">failed</span>"
            : result.IsCorrect ? "<span class=\"tag good\">✓ right</span>" : "<span class=\"tag bad\">✗ wrong</span>";
        page.Append(
            $"<div class=\"turn\"><div class=\"head\"><span>{Markup.Number(result.CompletionTokens)} tokens{(result.Given is null ? ", no answer found" : $", gives {Markup.Escape(result.Given)}")}</span>{verdict}</div>");
        if (result.Thinking.Length > 0)
        {
            string thinking = result.Thinking.Length <= MostThinking ? result.Thinking
                : result.Thinking[..MostThinking] + "…";
            page.Append($"<details><summary>Thinking</summary><code>{Markup.Escape(thinking)}</code></details>");
        }

        page.Append(
            $"<code class=\"final\">{(result.Answer.Length > 0 ? Markup.Escape(result.Answer) : "(no answer)")}</code></div></article>\n");
    }

    /// <summary>A picture inside the page; none if it is large or no longer there.</summary>
    private static string? Picture(ExampleImage image)
    {
        try
        {
            if (image.Length > MostPictureBytes)
                return null;
            ReadOnlySpan<byte> file = image.ReadAsync().AsTask().GetAwaiter().GetResult().Span;
            string? type = file.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'P', (byte)'N', (byte)'G']) ? "png"
                : file.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8]) ? "jpeg"
                : file.StartsWith("RIFF"u8) ? "webp" : null;
            return type is null ? null : $"<img alt=\"\" src=\"data:image/{type};base64,{Convert.ToBase64String(file)}\"/>";
        }
        catch (Exception exception)
            when (exception is IOException or UnauthorizedAccessException or ImageException or BadRowException)
        {
            return null;
        }
    }

    private static void AppendItems(StringBuilder page, IReadOnlyList<EvaluationItem> items,
        ILookup<string, EvaluationResult> byItem)
    {
        page.Append(
            "<section>\n<h2>All items</h2>\n<details class=\"card all\"><summary>Show the table</summary><div " +
            "class=\"scroll\"><table>\n");
        page.Append(
            "<thead><tr><th>Item</th><th>Right</th><th>Answer</th><th>Given</th><th>Tokens</th><th>Category</th></tr></thead>\n<tbody>\n");
        foreach (EvaluationItem item in items)
        {
            EvaluationResult[] results = [.. byItem[item.Id].OrderBy(result => result.Sample)];
            string given = string.Join(", ", results.Select(result => result.Given is null ? "–" : Cut(result.Given)));
            page.Append(
                $"<tr><td>{Markup.Escape(item.Id)}</td><td>{results.Count(result => result.IsCorrect)}/{results.Length}</td><td class=\"text\">{Markup.Escape(string.Join(" or ", item.Answers))}</td>");
            page.Append(
                $"<td class=\"text\">{Markup.Escape(given)}</td><td>{Markup.Number(results.Average(result => result.CompletionTokens))}</td><td>{Markup.Escape(item.Category ?? "")}</td></tr>\n");
        }

        page.Append("</tbody>\n</table></div></details>\n</section>\n");

        static string Cut(string text) => text.Length <= 60 ? text : text[..60] + "…";
    }

    private static void AppendFacts(StringBuilder page, EvaluationReport report)
    {
        EvaluationSettings settings = report.Settings;
        page.Append("<section>\n<h2>The run</h2>\n<dl class=\"card facts\">\n");
        Fact("Model", settings.Model);
        Fact("Device", report.Device);
        Fact("Sampling",
            string.Create(CultureInfo.InvariantCulture,
                $"temperature {settings.Temperature}, top-p {settings.TopP}, repetition penalty {settings.RepetitionPenalty}, seed {settings.Seed}"));
        Fact("Responses",
            $"{Markup.Number(report.Samples)} to each item, at most {Markup.Number(settings.MaxOutputTokens)} tokens");
        Fact("Prompt",
            $"{(settings.Prompt == PromptStyle.Direct ? "direct, as VLMEvalKit asks MMMU" : "step by step, answer boxed")}; thinking: {settings.Thinking.ToString().ToLowerInvariant()}");
        if (settings.BannedWords.Length > 0)
            Fact("Banned words", settings.BannedWords);
        Fact("Entropy of all tokens",
            $"{Markup.Number(report.MeanEntropy, 3)} nats, mean; {(report.ShareAboveThreshold is { } share ? Markup.Percent(share, 2) : "–")} above {Markup.Number(EvaluationReport.EntropyThreshold, 1)}");
        Fact("Time",
            $"{Markup.Duration(report.Seconds)}, {Markup.Number(report.TokensPerSecond, 1)} tokens a second (this run, without what was there before it was resumed)");
        Fact("Data", settings.Data);
        page.Append("</dl>\n</section>\n");

        void Fact(string name, string value) => page.Append($"<dt>{name}</dt><dd>{Markup.Escape(value)}</dd>\n");
    }
}
