using System.Globalization;
using System.Text;
using Skylight.Training.Reports;

namespace Skylight.Training.Runs;

/// <summary>What the page of a run is made of.</summary>
/// <param name="Title">Its headline.</param>
/// <param name="Recipe">The recipe.</param>
/// <param name="Figures">All that was measured, in order.</param>
/// <param name="Samples">The last samples.</param>
/// <param name="Checkpoints">The checkpoints with their scores.</param>
/// <param name="Facts">Names and values for the end of the page.</param>
internal sealed record RunReportData(
    string Title, Recipe Recipe, IReadOnlyList<StepFigures> Figures, IReadOnlyList<RunSample> Samples,
    IReadOnlyList<CheckpointScore> Checkpoints, IReadOnlyList<(string Name, string Value)> Facts);

/// <summary>Writes a run as one page that needs nothing else: style and charts are inside, and there is no script.</summary>
internal static class RunReport
{
    /// <summary>
    /// Charts with their units, in the order in which they stand; those that nothing was measured for are left out.
    /// </summary>
    private static readonly (string Name, string Title, string Unit, int Decimals, bool FromZero)[] s_charts =
    [
        ("loss", "Loss", "what a step minimises", 3, false),
        ("reward", "Reward", "mean total of a step's completions", 3, true),
        ("accuracy", "Accuracy", "share of right answers", 2, true),
        ("active_groups", "Active groups", "share of groups whose rewards differ", 2, true),
        ("completion_tokens", "Completion length", "tokens, mean", 1, false),
        ("critical_entropy", "Entropy of critical tokens", "nats, where “Wait” and its like begin inside the thought",
            3, false),
        ("entropy", "Entropy of all tokens", "nats, mean", 3, false),
        ("kl", "Divergence", "weighted, from the model at the start", 4, true),
        ("clipped_share", "Clipped", "share of tokens whose ratio was clipped", 4, true),
        ("gradient_norm", "Gradient norm", "before clipping", 3, true),
        ("learning_rate", "Learning rate", "the highest of the modules", 4, true),
        ("rollout_tokens_per_second", "Rollout speed", "tokens a second", 0, true),
        ("update_tokens_per_second", "Update speed", "tokens a second", 0, true),
    ];

    public static string Render(RunReportData data)
    {
        var page = new StringBuilder();
        page.Append(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta " +
            "charset=\"utf-8\"/>\n");
        page.Append(
            $"<meta name=\"viewport\" content=\"width=device-width, " +
            $"initial-scale=1\"/>\n<title>{Markup.Escape(data.Title)}</title>\n");
        page.Append("<style>\n").Append(ReportStyle.Css).Append("\n</style>\n</head>\n<body>\n<main>\n");
        page.Append($"<header>\n<p class=\"eyebrow\">Skylight training</p>\n<h1>{Markup.Escape(data.Title)}</h1>\n");
        if (data.Recipe.Description.Length > 0)
            page.Append($"<p class=\"lead\">{Markup.Escape(data.Recipe.Description)}</p>\n");
        AppendHeadline(page, data);
        page.Append("</header>\n");
        AppendCharts(page, data);
        AppendCheckpoints(page, data);
        AppendSamples(page, data);
        AppendFacts(page, data);
        return page.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void AppendHeadline(StringBuilder page, RunReportData data)
    {
        StepFigures[] steps = [.. data.Figures.Where(figures => figures.Kind == FigureKind.Step)];
        StepFigures[] tries = [.. data.Figures.Where(figures => figures.Kind == FigureKind.Evaluation)];
        int? chosen = data.Checkpoints.FirstOrDefault(checkpoint => checkpoint.Chosen)?.Step;
        StepFigures? result = tries.LastOrDefault(figures => chosen is null || figures.Step == chosen);
        page.Append("<dl class=\"figures\">\n");
        AppendFigure(page, "Steps", Markup.Number(steps.Length),
            data.Recipe.Method switch
            {
                TrainingMethod.Supervised => "supervised tuning",
                TrainingMethod.Grpo => "policy optimisation",
                _ => "own rewarded answers",
            });
        if (result?["accuracy"] is { } last)
            AppendFigure(page, "Held-out accuracy", Markup.Percent(last), tries[0]["accuracy"] is { } first
                && tries.Length > 1 ? $"{Markup.Percent(first)} before the first step" : "after the last step");
        if (result?["loss"] is { } loss)
            AppendFigure(page, "Held-out loss", Markup.Number(loss, 3), tries[0]["loss"] is { } before
                && tries.Length > 1 ? $"{Markup.Number(before, 3)} before the first step" : "after the last step");
        if (steps.Length > 0 && steps[^1]["reward"] is { } reward)
            AppendFigure(page, "Reward", Markup.Number(reward, 3),
                steps[0]["reward"] is { } at ? $"{Markup.Number(at, 3)} in the first step" : "in the last step");
        if (steps.Any(step => step["log_probability_difference"] is not null))
            AppendFigure(page, "Rollout and training differ by",
                Markup.Number(steps.Max(step => step["log_probability_difference"] ?? 0), 6),
                "greatest |Δ log p| of a token");
        page.Append("</dl>\n");
    }

    private static void AppendFigure(StringBuilder page, string name, string value, string detail) => page.Append(
        $"<div class=\"card\"><dt>{Markup.Escape(name)}</dt><dd class=\"value\">{Markup.Escape(value)}</dd><dd " +
        $"class=\"detail\">{Markup.Escape(detail)}</dd></div>\n");

    private static void AppendCharts(StringBuilder page, RunReportData data)
    {
        StepFigures[] steps = [.. data.Figures.Where(figures => figures.Kind == FigureKind.Step)];
        StepFigures[] tries = [.. data.Figures.Where(figures => figures.Kind == FigureKind.Evaluation)];
        IEnumerable<(string Name, string Title, string Unit, int Decimals, bool FromZero)> components =
            steps.SelectMany(step => step.Values).Select(value => value.Name)
            .Where(name => name.StartsWith("reward/", StringComparison.Ordinal)).Distinct()
            .Select(name => (name, $"Reward: {name["reward/".Length..]}",
                "mean of a step's completions, before its weight", 3, true));
        page.Append(
            "<section>\n<h2>What happened</h2>\n<p class=\"note\">Thin lines are the steps as measured, thick lines " +
            "a moving average, dots tries on held-out data. Hover for a value.</p>\n<div class=\"grid2\">\n");
        foreach ((string name, string title, string unit, int decimals, bool fromZero) in s_charts.Take(2)
            .Concat(components).Concat(s_charts.Skip(2)))
        {
            bool isBlank = name is "kl" or "clipped_share"
                ? data.Figures.All(figures => figures[name] is null or 0)
                : data.Figures.All(figures => figures[name] is null);
            if (isBlank)
                continue;
            var chart = new LineChart
            {
                Description = $"{title} by step, {unit}",
                Series =
                [
                    new ChartSeries("Training", "one", [.. steps.Select(step => ((double)step.Step, step[name]))]),
                    new ChartSeries("Held out", "two",
                        [.. tries.Select(figures => ((double)figures.Step, figures[name]))], Dots: true),
                ],
                Format = value => Short(value, decimals),
                FromZero = fromZero,
            };
            page.Append(
                $"<figure class=\"card\" style=\"margin:0\"><figcaption><h3>{Markup.Escape(title)}</h3><p " +
                $"class=\"note\" style=\"margin:0\">{Markup.Escape(unit)}</p></figcaption>{chart.ToSvg()}</figure>\n");
        }

        page.Append("</div>\n</section>\n");
    }

    /// <summary>A number with so many decimals, or with its power of ten where they would show nothing of it.</summary>
    private static string Short(double value, int decimals) => value != 0 && Math.Abs(value) < 1e-3
        ? value.ToString("0.#e-0", CultureInfo.InvariantCulture).Replace('-', '−') : Markup.Number(value, decimals);

    private static void AppendCheckpoints(StringBuilder page, RunReportData data)
    {
        if (data.Checkpoints.Count == 0)
            return;
        page.Append(
            "<section>\n<h2>Checkpoints</h2>\n<p class=\"note\">On held-out data. The Skywork-R1V3 report picks by " +
            "the entropy of critical tokens; both rankings stand side by side.</p>\n<div class=\"card\">\n");
        page.Append(
            "<div class=\"scroll\"><table>\n<thead><tr><th>Step</th><th>Critical entropy, " +
            "nats</th><th>Accuracy</th><th></th></tr></thead>\n<tbody>\n");
        foreach (CheckpointScore checkpoint in data.Checkpoints)
        {
            page.Append(checkpoint.Chosen ? "<tr class=\"chosen\">" : "<tr>");
            page.Append(
                $"<td>{Markup.Number(checkpoint.Step)}</td><td>{Markup.Number(checkpoint.CriticalEntropy, 3)}</td><td>{Markup.Percent(checkpoint.Accuracy)}</td>");
            page.Append($"<td>{(checkpoint.Chosen ? "<span class=\"tag good\">result</span>" : "")}</td></tr>\n");
        }

        page.Append("</tbody>\n</table></div>\n</div>\n</section>\n");
    }

    private static void AppendSamples(StringBuilder page, RunReportData data)
    {
        if (data.Samples.Count == 0)
            return;
        page.Append(
            "<section>\n<h2>Last samples</h2>\n<p class=\"note\">Completions of the last step, as the model drew " +
            "them.</p>\n<div class=\"examples\">\n");
        foreach (RunSample sample in data.Samples)
        {
            string rewards = string.Join(" · ",
                sample.Rewards.Select(reward => $"{reward.Name} {Markup.Number(reward.Value, 2)}"));
            page.Append(
                $"<article class=\"card example\"><p " +
                $"class=\"asked\"><span>{Markup.Escape(Shortened(sample.Prompt))}</span><span " +
                $"class=\"answer\">{Markup.Escape(sample.Id)}</span></p>");
            page.Append(
                $"<div class=\"turn\"><div " +
                $"class=\"head\"><span>{Markup.Escape(rewards)}</span><span>{Markup.Number(sample.Tokens)} " +
                $"tokens</span></div><code>{Markup.Escape(Shortened(sample.Completion))}</code></div></article>\n");
        }

        page.Append("</div>\n</section>\n");
    }

    private static string Shortened(string text) => text.Length <= 4000 ? text : $"{text[..2000]}\n…\n{text[^2000..]}";

    private static void AppendFacts(StringBuilder page, RunReportData data)
    {
        page.Append(
            "<section>\n<h2>The run</h2>\n<p class=\"note\">Enough to repeat it: the same seed gives the same " +
            "numbers on the same machine.</p>\n<dl class=\"card facts\">\n");
        foreach ((string name, string value) in data.Facts)
            page.Append($"<dt>{Markup.Escape(name)}</dt><dd>{Markup.Escape(value)}</dd>\n");
        page.Append(
            $"<dt>Recipe</dt><dd><pre " +
            $"style=\"margin:0;white-space:pre-wrap\">{Markup.Escape(data.Recipe.Text)}</pre></dd>\n</dl>\n</section>\n");
    }
}
