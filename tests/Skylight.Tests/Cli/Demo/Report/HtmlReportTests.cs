using System.Text.Json;
using System.Xml.Linq;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Report;
using Skylight.Images;
using Skylight.Training.Reports;

namespace Skylight.Tests.Cli.Demo.Report;

public class HtmlReportTests
{
    private static readonly XNamespace Html = "http://www.w3.org/1999/xhtml";

    private static DemoResult Result() => new()
    {
        Phases =
        [
            new(PhaseResult.Pretrained, "Pre-training", "captions & sums", 10, 1000, 97),
            new(PhaseResult.ColdStart, "Cold start", "traces", 318, 1000, 12),
            new(PhaseResult.Grpo, "GRPO", "answers only", 524, 1000, 130) { Report = "runs/grpo/report.html" },
        ],
        Grpo = [.. Enumerable.Range(1, 30)
            .Select(step => new TrainingStep(step, 0.4 + step / 100.0, 0.3, step == 5 ? null : 0.9, 0.3, 24, 5000))],
        FrozenConnector = [new(1, 0.4, 0.3, null, double.NaN, 24, 5000)],
        Checkpoints = [new(10, 0.91, 0.41, false), new(20, 0.95, 0.44, true), new(30, 0.80, 0.50, false)],
        Examples =
        [
            new(PngEncoder.EncodeGray(new byte[28 * 84], 84, 28), 84, 28, "Is 1 < 2 & 3?", "<7>",
                new(@"7 and 3. Wait, <b>no</b></think>\boxed{10}", false), new("never ends \0", true)),
        ],
        RolloutTrainMaxAbsLogprobDiff = 0,
        Seconds = 348,
        Seed = 42,
        Model = "0.83 M parameters",
        Device = "cpu",
        Machine = "2 \"cores\"",
        Command = "skylight demo --seed 42",
    };

    [Fact]
    public void A_tiny_run_claims_nothing_about_learning()
    {
        string page = HtmlReport.Render(Result() with { Preset = DemoPreset.Tiny, Device = "simt:0" });
        Assert.Contains("Every phase ran on simt:0, too briefly to learn: the figures here mean nothing about learning",
            page, StringComparison.Ordinal);
        Assert.DoesNotContain("GRPO lifted accuracy", page, StringComparison.Ordinal);
        Assert.Contains("GRPO lifted accuracy", HtmlReport.Render(Result()), StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_is_well_formed_and_loads_nothing()
    {
        string page = HtmlReport.Render(Result());
        XDocument document = XDocument.Parse(page);

        Assert.Empty(document.Descendants(Html + "script"));
        Assert.Empty(document.Descendants(Html + "link"));
        Assert.All(document.Descendants().Attributes("src"),
            source => Assert.StartsWith("data:image/png;base64,", source.Value));
        Assert.DoesNotContain("url(", page);
        Assert.Contains("prefers-color-scheme: dark", page);
    }

    [Fact]
    public void The_page_links_to_the_report_of_each_run_that_has_one() =>
        Assert.Equal(["runs/grpo/report.html"], XDocument.Parse(HtmlReport.Render(Result())).Descendants(Html + "a")
            .Select(link => link.Attribute("href")!.Value));

    [Fact]
    public void The_page_states_what_was_measured()
    {
        string text = XDocument.Parse(HtmlReport.Render(Result())).Root!.Value;
        Assert.Contains("GRPO lifted accuracy from 31.8\u202f% to 52.4\u202f%", text);
        Assert.Contains("+20.6 points", text);
        Assert.Contains("± 4.2", text);
        Assert.Contains("equal bit for bit", text);
        Assert.Contains("49.3 – 55.5", text); // Wilson's interval of 524 of 1000
        Assert.Contains("chosen: step 20", text);
        Assert.Contains("they disagree", text);
        Assert.Contains("skylight demo --seed 42", text);
        Assert.Contains("5\u00a0min\u00a048\u00a0s", text);
    }

    [Fact]
    public void A_loss_is_called_a_loss()
    {
        DemoResult result = Result() with
        {
            Phases = [new(PhaseResult.ColdStart, "Cold start", "", 500, 1000, 1),
                new(PhaseResult.Grpo, "GRPO", "", 400, 1000, 1)],
            RolloutTrainMaxAbsLogprobDiff = 2.5e-7,
        };
        string text = XDocument.Parse(HtmlReport.Render(result)).Root!.Value;
        Assert.Contains("GRPO did not lift accuracy", text);
        Assert.Contains("−10.0 points", text);
        Assert.Contains("2.5e-7", text);
        Assert.DoesNotContain("equal bit for bit", text);
    }

    [Fact]
    public void Text_of_the_model_cannot_become_markup()
    {
        XDocument document = XDocument.Parse(HtmlReport.Render(Result()));
        Assert.DoesNotContain(document.Descendants(Html + "b"), element => element.Value == "no");
        Assert.Contains(document.Descendants(Html + "code"), code => code.Value == "7 and 3. Wait, <b>no</b>");
        Assert.Contains(document.Descendants(Html + "mark"), mark => mark.Value == "Wait");
        Assert.Contains(document.Descendants(Html + "code"), code => code.Value == "never ends \uFFFD");
        Assert.Contains("(no answer)", document.Root!.Value);
    }

    [Fact]
    public void A_run_without_anything_still_makes_a_page()
    {
        DemoResult nothing = Result() with { Phases = [], Grpo = [], FrozenConnector = [], Checkpoints = [], Examples = [] };
        Assert.Contains("Nothing was measured", XDocument.Parse(HtmlReport.Render(nothing)).Root!.Value);
    }

    [Fact]
    public void The_json_line_holds_accuracy_by_phase()
    {
        string json = Result().ToJson();
        Assert.DoesNotContain('\n', json);
        JsonElement root = JsonDocument.Parse(json).RootElement;
        Assert.Equal(0.318, root.GetProperty("cold_start").GetDouble());
        Assert.Equal(0.524, root.GetProperty("grpo").GetDouble());
        Assert.Equal(0, root.GetProperty("rollout_train_max_abs_logprob_diff").GetDouble());
        Assert.Equal(348, root.GetProperty("seconds").GetDouble());
        Assert.Equal(42ul, root.GetProperty("seed").GetUInt64());
    }
}
