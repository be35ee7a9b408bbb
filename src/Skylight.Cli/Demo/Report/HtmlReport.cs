using System.Text;
using System.Text.RegularExpressions;
using Skylight.Training;
using Skylight.Training.Reports;

namespace Skylight.Cli.Demo.Report;

/// <summary>
/// Writes a run of the demo as one page that needs nothing else: style, charts and pictures are inside, and there is no
/// script. It states what was measured, whether or not that is what one hoped for.
/// </summary>
internal static partial class HtmlReport
{
    private const string EndOfThought = "</think>";

    /// <summary>Makes the page.</summary>
    public static string Render(DemoResult result)
    {
        var page = new StringBuilder();
        page.Append(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta " +
            "charset=\"utf-8\"/>\n");
        page.Append(
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Skylight demo: from " +
            "pixels to reward</title>\n");
        page.Append("<style>\n").Append(ReportStyle.Css).Append("\n</style>\n</head>\n<body>\n<main>\n");
        AppendHeader(page, result);
        AppendPhases(page, result);
        AppendTraining(page, result);
        AppendCheckpoints(page, result);
        AppendExamples(page, result);
        AppendFacts(page, result);
        return page.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void AppendHeader(StringBuilder page, DemoResult result)
    {
        PhaseResult? before = result.Phase(PhaseResult.ColdStart);
        PhaseResult? after = result.Phase(PhaseResult.Grpo);
        page.Append("<header>\n<p class=\"eyebrow\">Skylight demo</p>\n");
        page.Append($"<h1>{Markup.Escape(Headline(result, before, after))}</h1>\n");
        page.Append(
            "<p class=\"lead\">A small vision-language model learned to read pictures of two handwritten digits and, " +
            "apart from that, to calculate in text. ");
        page.Append(
            "A few written-out examples taught it to do both at once; GRPO then trained it on nothing but whether " +
            "its final answer was right.</p>\n");

        page.Append("<dl class=\"figures\">\n");
        if (before is not null && after is not null)
        {
            AppendFigure(page, "Accuracy, cold start → GRPO",
                $"{Markup.Number(100 * before.Accuracy, 1)} → {Markup.Percent(after.Accuracy)}",
                $"greedy, {Markup.Number(after.Count)} held-out problems");
            AppendFigure(page, "Gained by GRPO", $"{Signed(100 * (after.Accuracy - before.Accuracy))} points",
                $"± {Markup.Number(100 * MarginOfGain(before, after), 1)} at 95 % confidence");
        }

        AppendFigure(
            page,
            "Decoding against training",
            result.RolloutTrainMaxAbsLogprobDiff == 0 ? "0"
                : result.RolloutTrainMaxAbsLogprobDiff.ToString("0.0e+0", System.Globalization.CultureInfo.InvariantCulture),
            result.RolloutTrainMaxAbsLogprobDiff == 0 ? "max |Δ log p|: equal bit for bit"
                : "max |Δ log p|: should be exactly 0");
        AppendFigure(page, "Time", Markup.Duration(result.Seconds), result.Preset == DemoPreset.Full ? "all phases"
            : $"{result.PresetName} run, all phases");
        page.Append("</dl>\n</header>\n");
    }

    private static string Headline(DemoResult result, PhaseResult? before, PhaseResult? after)
    {
        if (result.Preset == DemoPreset.Tiny)
            return $"Every phase ran on {result.Device}, too briefly to learn: the figures here mean nothing about learning";
        if (before is null || after is null)
            return "Learning to reason about handwriting";
        string change =
            $"from {Markup.Percent(before.Accuracy)} to {Markup.Percent(after.Accuracy)} of unseen handwriting problems";
        return after.Accuracy > before.Accuracy ? $"GRPO lifted accuracy {change}" : $"GRPO did not lift accuracy: {change}";
    }

    // Two independent samples: the problems are the same, so the true margin is rather smaller.
    private static double MarginOfGain(PhaseResult before, PhaseResult after) => 1.959964 * Math.Sqrt(
        before.Accuracy * (1 - before.Accuracy) / before.Count + after.Accuracy * (1 - after.Accuracy) / after.Count);

    private static string Signed(double points) => (points >= 0 ? "+" : "") + Markup.Number(points, 1);

    private static void AppendFigure(StringBuilder page, string name, string value, string detail) => page.Append(
        $"<div class=\"card\"><dt>{Markup.Escape(name)}</dt><dd class=\"value\">{Markup.Escape(value)}</dd><dd class=\"detail\">{Markup.Escape(detail)}</dd></div>\n");

    private static void AppendPhases(StringBuilder page, DemoResult result)
    {
        page.Append(
            "<section>\n<h2>Accuracy by phase</h2>\n<p class=\"note\">Held-out problems solved after each phase: no " +
            "digit in them was seen in training. Brackets show the 95 % confidence interval.</p>\n<div " +
            "class=\"card phases\">\n");
        foreach (PhaseResult phase in result.Phases)
        {
            (double low, double high) = phase.Interval;
            string style = phase.Key switch
            {
                PhaseResult.Grpo => "fill",
                PhaseResult.GrpoConnectorFrozen => "fill two",
                _ => "fill quiet",
            };
            page.Append(
                $"<div class=\"phase\"><div class=\"name\">{Markup.Escape(phase.Name)}<span class=\"about\">{Markup.Escape(phase.Description)} · {Markup.Duration(phase.Seconds)}{RunLink(phase)}</span></div>");
            page.Append(
                $"<div class=\"track\"><div class=\"{style}\" style=\"width:{Markup.Coordinate(100 * phase.Accuracy)}%\"></div>");
            page.Append(
                $"<div class=\"whisker\" style=\"left:{Markup.Coordinate(100 * low)}%;width:{Markup.Coordinate(100 * (high - low))}%\"></div></div>");
            page.Append(
                $"<div class=\"percent\">{Markup.Percent(phase.Accuracy)}<span class=\"range\">{Markup.Number(100 * low, 1)} – {Markup.Percent(high)}</span></div></div>\n");
        }

        page.Append("</div>\n</section>\n");
    }

    private static string RunLink(PhaseResult phase) => phase.Report is { } report
        ? $" · <a href=\"{Markup.Escape(report)}\">its run</a>" : "";

    private static void AppendTraining(StringBuilder page, DemoResult result)
    {
        page.Append(
            "<section>\n<h2>What happened during GRPO</h2>\n<p class=\"note\">Thin lines are the steps as measured, " +
            "thick lines a moving average; the number at the end is the average's last value. Hover for the " +
            "value of a step.</p>\n");
        page.Append("<p class=\"legend\"><span class=\"one\"><b>GRPO, connector trained</b></span>");
        if (result.FrozenConnector.Count > 0)
            page.Append("<span class=\"two\"><b>Ablation, connector frozen</b></span>");
        if (result.Checkpoints.Count > 0)
            page.Append("<span class=\"one dots\"><b>Saved checkpoint, on validation</b></span>");
        page.Append("</p>\n<div class=\"grid2\">\n");

        ChartSeries accuracies = new("Checkpoint", "one",
            [.. result.Checkpoints.Select(checkpoint => ((double)checkpoint.Step, (double?)checkpoint.Accuracy))],
            Dots: true);
        ChartSeries entropies = new("Checkpoint", "one",
            [.. result.Checkpoints.Select(checkpoint => ((double)checkpoint.Step, checkpoint.CriticalEntropy))], Dots: true);
        AppendChart(page, result, "Reward", "mean of a step's completions, at most 1", step => step.Reward,
            value => Markup.Number(value, 2), maximum: 1);
        AppendChart(page, result, "Accuracy", "share of a step's sampled completions; dots: greedy",
            step => step.Accuracy, value => Markup.Percent(value, 0), maximum: 1, accuracies);
        AppendChart(page, result, "Entropy of critical tokens",
            "nats, where “Wait” and its like begin inside the thought", step => step.CriticalEntropy,
            value => Markup.Number(value, 2), extra: entropies, fromZero: false);
        AppendChart(page, result, "Entropy of all tokens", "nats, mean", step => step.MeanEntropy,
            value => Markup.Number(value, 3), fromZero: false);
        AppendChart(page, result, "Response length", "tokens, mean", step => step.ResponseLength,
            value => Markup.Number(value, 1), fromZero: false);
        AppendChart(page, result, "Speed", "tokens generated per second of rollout", step => step.TokensPerSecond,
            value => Markup.Number(value));
        page.Append("</div>\n</section>\n");
    }

    private static void AppendChart(
        StringBuilder page, DemoResult result, string title, string unit, Func<TrainingStep, double?> value,
        Func<double, string> format, double? maximum = null, ChartSeries? extra = null, bool fromZero = true)
    {
        ChartSeries Line(string name, string style, IReadOnlyList<TrainingStep> steps) =>
            new(name, style, [.. steps.Select(step => ((double)step.Step, value(step)))]);

        CheckpointScore? chosen = result.Checkpoints.FirstOrDefault(checkpoint => checkpoint.Chosen);
        var chart = new LineChart
        {
            Description = $"{title} by step, {unit}",
            Series =
            [
                Line("Connector frozen", "two", result.FrozenConnector),
                Line("Connector trained", "one", result.Grpo),
                .. extra is null ? (ChartSeries[])[] : [extra],
            ],
            Format = format,
            Maximum = maximum,
            FromZero = fromZero,
            Mark = chosen is null ? null : (chosen.Step, $"chosen: step {Markup.Number(chosen.Step)}"),
        };
        page.Append(
            $"<figure class=\"card\" style=\"margin:0\"><figcaption><h3>{Markup.Escape(title)}</h3><p class=\"note\" style=\"margin:0\">{Markup.Escape(unit)}</p></figcaption>{chart.ToSvg()}</figure>\n");
    }

    private static void AppendCheckpoints(StringBuilder page, DemoResult result)
    {
        if (result.Checkpoints.Count == 0)
            return;

        page.Append(
            "<section>\n<h2>Which checkpoint?</h2>\n<p class=\"note\">The paper picks checkpoints by the entropy of " +
            "critical tokens: the more undecided a model is where it writes “Wait”, the more it reasons rather " +
            "than recites. Here both rankings are set side by side.</p>\n<div class=\"card\">\n");
        CheckpointRanking? ranking = CheckpointRanking.Of(result.Checkpoints);
        page.Append($"<p class=\"verdict\">{Verdict(ranking)}</p>\n");
        page.Append(
            "<div class=\"scroll\"><table>\n<thead><tr><th>Step</th><th>Critical entropy, " +
            "nats</th><th>Accuracy</th><th></th></tr></thead>\n<tbody>\n");
        foreach (CheckpointScore checkpoint in result.Checkpoints)
        {
            page.Append(checkpoint.Chosen ? "<tr class=\"chosen\">" : "<tr>");
            page.Append(
                $"<td>{Markup.Number(checkpoint.Step)}</td><td>{Markup.Number(checkpoint.CriticalEntropy, 3)}</td><td>{Markup.Percent(checkpoint.Accuracy)}</td><td>");
            if (checkpoint.Chosen)
                page.Append("<span class=\"tag good\">chosen</span> ");
            if (ranking is not null && checkpoint.Step == ranking.BestByEntropy.Step)
                page.Append("<span class=\"tag\">highest entropy</span> ");
            if (ranking is not null && checkpoint.Step == ranking.BestByAccuracy.Step)
                page.Append("<span class=\"tag\">most accurate</span>");
            page.Append("</td></tr>\n");
        }

        page.Append("</tbody>\n</table></div>\n</div>\n</section>\n");
    }

    private static string Verdict(CheckpointRanking? ranking)
    {
        if (ranking is null)
            return "No checkpoint wrote a critical token, so there is nothing to compare.";
        string correlation = ranking.RankCorrelation is double rho
            ? $" Rank correlation (Spearman): {Markup.Number(rho, 2)}." : "";
        return ranking.Agree
            ? $"<span class=\"tag good\">they agree</span> The checkpoint with the highest critical-token entropy, step {Markup.Number(ranking.BestByEntropy.Step)}, is also the most accurate.{correlation}"
            : $"<span class=\"tag bad\">they disagree</span> Entropy picks step {Markup.Number(ranking.BestByEntropy.Step)} ({Markup.Percent(ranking.BestByEntropy.Accuracy)}), accuracy picks step {Markup.Number(ranking.BestByAccuracy.Step)} ({Markup.Percent(ranking.BestByAccuracy.Accuracy)}).{correlation}";
    }

    private static void AppendExamples(StringBuilder page, DemoResult result)
    {
        if (result.Examples.Count == 0)
            return;

        page.Append(
            "<section>\n<h2>Examples</h2>\n<p class=\"note\">Held-out pictures with the model's whole answer, " +
            "greedy, after the cold start and after GRPO.</p>\n<div class=\"examples\">\n");
        foreach (ExampleProblem example in result.Examples)
        {
            string picture = Convert.ToBase64String(example.Picture);
            page.Append(
                $"<article class=\"card example\"><img alt=\"Two handwritten digits\" width=\"{example.Width}\" height=\"{example.Height}\" src=\"data:image/png;base64,{picture}\"/>");
            page.Append(
                $"<p class=\"asked\"><span>{Markup.Escape(example.Question)}</span><span class=\"answer\">answer {Markup.Escape(example.Expected)}</span></p>");
            AppendTurn(page, "Before GRPO", example.Before);
            AppendTurn(page, "After GRPO", example.After);
            page.Append("</article>\n");
        }

        page.Append("</div>\n</section>\n");
    }

    private static void AppendTurn(StringBuilder page, string name, ExampleAnswer answer)
    {
        int end = answer.Text.IndexOf(EndOfThought, StringComparison.Ordinal);
        string thought = end < 0 ? answer.Text : answer.Text[..end];
        string final = end < 0 ? "" : answer.Text[(end + EndOfThought.Length)..];

        string verdict = answer.Correct ? "<span class=\"tag good\">✓ right</span>"
            : "<span class=\"tag bad\">✗ wrong</span>";
        page.Append(
            $"<div class=\"turn\"><div class=\"head\"><span>{name}</span>{verdict}</div><code>{CriticalWords().Replace(Markup.Escape(thought), "<mark>$0</mark>")}</code>");
        page.Append(final.Length == 0 ? "<code>(no answer)</code></div>"
            : $"<code class=\"final\">{Markup.Escape(final)}</code></div>");
    }

    private static void AppendFacts(StringBuilder page, DemoResult result)
    {
        page.Append(
            "<section>\n<h2>The run</h2>\n<p class=\"note\">Enough to repeat it: the same seed gives the same " +
            "numbers on the same machine.</p>\n<dl class=\"card facts\">\n");
        AppendFact(page, "Command", $"<code>{Markup.Escape(result.Command)}</code>");
        AppendFact(page, "Seed", Markup.Escape($"{result.Seed}"));
        AppendFact(page, "Model", Markup.Escape(result.Model));
        AppendFact(page, "Device", Markup.Escape(result.Device));
        AppendFact(page, "Machine", Markup.Escape(result.Machine));
        AppendFact(page, "Time", Markup.Duration(result.Seconds));
        page.Append("</dl>\n</section>\n");
    }

    private static void AppendFact(StringBuilder page, string name, string valueMarkup) =>
        page.Append($"<dt>{name}</dt><dd>{valueMarkup}</dd>\n");

    [GeneratedRegex(@"\b(Wait|Hmm|Alternatively)\b", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex CriticalWords();
}
