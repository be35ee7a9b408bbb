using System.Diagnostics;
using Skylight.Training.Rewards;
using static Skylight.Tests.Training.Rewards.RewardTesting;

namespace Skylight.Tests.Training.Rewards;

public class NamedRewardTests
{
    [Theory]
    [InlineData(@"so</think>\boxed{12}", "12", true, 1)]
    [InlineData(@"so</think>\boxed{\frac{24}{2}}", "12", true, 1)]
    [InlineData(@"so</think>The answer is 12.", "12", true, 1)]
    [InlineData(@"so</think>12", "12", true, 0)] // not marked
    [InlineData(@"so</think>\boxed{13}", "12", true, 0)]
    [InlineData(@"\boxed{12}", "12", true, 0)] // still thinking
    [InlineData(@"so</think>\boxed{12}", "12", false, 0)] // cut off
    public async Task Answer_uses_the_one_checker(string completion, string answer, bool finished, double value) =>
        Assert.Equal(value,
            await Create("answer").ScoreAsync(Request(completion, answer, finished: finished, suffix: "<think>\n")));

    [Fact]
    public async Task Answer_heeds_its_options()
    {
        Assert.Equal(1, await Create("answer", ("needs_mark", "false")).ScoreAsync(Request("It has 12 legs", "12")));
        Assert.Equal(1, await Create("answer", ("unfinished", "true"))
            .ScoreAsync(Request(@"\boxed{12} and", "12", finished: false)));
        Assert.Equal(1, await Create("answer").ScoreAsync(Request(@"\boxed{two}", "2") with { Answers = ["2", "two"] }));
    }

    [Theory]
    [InlineData("answer", @"\boxed{B}", "B", 1)]
    [InlineData("answer", @"\boxed{Manet}", "B", 1)]
    [InlineData("answer", @"\boxed{B}", "Manet", 1)] // the key is the text of an option
    [InlineData("answer", @"\boxed{A}", "Manet", 0)]
    [InlineData("choice", "(B) Manet", "B", 1)]
    [InlineData("choice", "B", "Manet", 1)]
    [InlineData("choice", "B", "(b)", 1)]
    [InlineData("choice", "A or B", "B", 0)]
    [InlineData("choice", @"\boxed{A}", "B", 0)]
    public async Task Options_are_compared_by_letter(string reward, string completion, string answer, double value) =>
        Assert.Equal(value,
            await Create(reward).ScoreAsync(Request(completion, answer, options: ["Monet", "Manet", "Klee"])));

    [Fact]
    public async Task Choice_can_ask_for_a_mark_and_does_without_options()
    {
        IReward marked = Create("choice", ("needs_mark", "true"));
        Assert.Equal(0, await marked.ScoreAsync(Request("B", "B", options: ["x", "y"])));
        Assert.Equal(1, await marked.ScoreAsync(Request("The answer is B.", "B", options: ["x", "y"])));
        Assert.Equal(1, await marked.ScoreAsync(Request(@"\boxed{B}", "B", options: ["x", "y"])));
        Assert.Equal(1, await Create("choice").ScoreAsync(Request("C", "C")));
        Assert.Equal(0, await Create("choice").ScoreAsync(Request("C", "D")));
        Assert.Equal(0, await Create("choice").ScoreAsync(Request("D", "D", finished: false)));
        Assert.Contains("'Manet' is no letter", await Create("choice").FaultAsync(Request("B", "Manet")),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("answer", null)]
    [InlineData("choice", null)]
    [InlineData("numeric", null)]
    [InlineData("verifier", null)]
    [InlineData("answer", "Klimt")]
    [InlineData("choice", "F")]
    [InlineData("verifier", "Klimt")]
    public async Task A_row_without_a_usable_answer_is_a_fault(string name, string? answer)
    {
        IReward reward = name == "verifier" ? Create(name, ("endpoint", "http://127.0.0.1:1/v1"), ("model", "m"))
            : Create(name);
        string message = await reward.FaultAsync(
            Request("x", answer, "rows.parquet:7", finished: false, options: ["Monet", "Manet"]));
        Assert.StartsWith($"Reward '{name}', sample 'rows.parquet:7': the row", message, StringComparison.Ordinal);
        Assert.Contains(answer is null ? "has no answer to compare with" : $"'{answer}' is none of its 2 options",
            message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(@"\boxed{100.9}", "100", 1)]
    [InlineData(@"\boxed{101}", "100", 1)] // at the edge
    [InlineData(@"\boxed{101.1}", "100", 0)]
    [InlineData(@"\boxed{-100}", "-100.5", 1)]
    [InlineData(@"\boxed{100}", "-100", 0)]
    [InlineData(@"\boxed{\frac{1}{3}}", "0.333", 1)]
    [InlineData(@"The answer is 3.14.", "\\pi", 1)]
    [InlineData(@"\boxed{x = 5}", "5", 1)]
    [InlineData(@"\boxed{1\text{ km}}", "1005 m", 1)]
    [InlineData(@"\boxed{1 km}", "1 kg", 0)]
    [InlineData(@"\boxed{50\%}", "0.5", 1)]
    [InlineData(@"\boxed{50}", "50%", 1)]
    [InlineData(@"\boxed{5\%}", "0.5", 0)]
    [InlineData(@"\boxed{1,000}", "1000", 1)]
    [InlineData(@"\boxed{0.001}", "0", 0)]
    [InlineData(@"\boxed{0}", "0", 1)]
    [InlineData(@"\boxed{2x}", "2", 0)]
    [InlineData(@"\boxed{1, 2}", "1", 0)]
    [InlineData(@"\boxed{\pm 2}", "2", 0)]
    [InlineData(@"\boxed{\frac{1}{0}}", "1", 0)]
    [InlineData(@"\boxed{1e999}", "1", 0)]
    [InlineData(@"100", "100", 0)] // not marked
    public async Task Numeric_allows_what_the_tolerance_says(string completion, string answer, double value) =>
        Assert.Equal(value, await Create("numeric").ScoreAsync(Request(completion, answer)));

    [Fact]
    public async Task Numeric_heeds_its_options()
    {
        Assert.Equal(1, await Create("numeric", ("absolute_tolerance", "0.5")).ScoreAsync(Request(@"\boxed{0.4}", "0")));
        Assert.Equal(0, await Create("numeric", ("tolerance", "0")).ScoreAsync(Request(@"\boxed{100.9}", "100")));
        Assert.Equal(1, await Create("numeric", ("needs_mark", "false")).ScoreAsync(Request("42 cm", "42")));
        Assert.Equal(0, await Create("numeric", ("needs_mark", "false")).ScoreAsync(Request("", "42")));
        Assert.Contains("'a dog' is no number", await Create("numeric").FaultAsync(Request(@"\boxed{1}", "a dog")),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("so</think>12", true, 1)]
    [InlineData("so</think>12", false, 0)]
    [InlineData("so</think>", true, 0)]
    public async Task Format_is_the_form_of_the_turn(string completion, bool finished, double value) =>
        Assert.Equal(value, await Create("format").ScoreAsync(Request(completion, finished: finished, suffix: "<think>\n")));

    [Theory]
    [InlineData(0, 0)]
    [InlineData(800, 0)]
    [InlineData(850, -0.25)]
    [InlineData(1000, -1)]
    [InlineData(1500, -1)]
    public async Task The_overlong_penalty_is_that_of_DAPO(int tokens, double value)
    {
        Assert.Equal(value, await Create("length", ("max_tokens", "1000"), ("buffer", "200"))
            .ScoreAsync(Request("x") with { TokenCount = tokens }));
        Assert.Equal(value, await Create("length", ("buffer", "200"))
            .ScoreAsync(Request("x") with { TokenCount = tokens, MaximumTokens = 1000 }));
    }

    // get_cosine_scaled_reward of open-r1: at half of the length it is in the middle.
    [Theory]
    [InlineData("cosine", "12", 0, 1)]
    [InlineData("cosine", "12", 250, 0.92677669529663687)]
    [InlineData("cosine", "12", 500, 0.75)]
    [InlineData("cosine", "12", 1000, 0.5)]
    [InlineData("cosine", "12", 2000, 0.5)]
    [InlineData("cosine", "13", 0, -1)]
    [InlineData("cosine", "13", 250, -0.92677669529663687)]
    [InlineData("cosine", "13", 1000, -0.5)]
    [InlineData("linear", "12", 250, 0.875)]
    [InlineData("linear", "13", 500, -0.75)]
    public async Task Length_scales_right_and_wrong_answers(string shape, string given, int tokens, double value)
    {
        RewardRequest request = Request($@"\boxed{{{given}}}", "12") with { TokenCount = tokens, MaximumTokens = 1000 };
        Assert.Equal(value, await Create("length", ("shape", shape)).ScoreAsync(request), 12);
        Assert.Equal(tokens == 0 ? -1 : -0.5, await Create("length", ("shape", shape))
            .ScoreAsync(request with { Finished = false, TokenCount = tokens == 0 ? 0 : 1000 }), 12);
    }

    [Fact]
    public async Task Length_needs_a_limit()
    {
        Assert.Contains("give max_tokens", await Create("length", ("buffer", "5")).FaultAsync(Request("x")),
            StringComparison.Ordinal);
        Assert.Contains("longer than the most tokens", await Create("length", ("buffer", "500"))
            .FaultAsync(Request("x") with { MaximumTokens = 100 }), StringComparison.Ordinal);
    }

    // get_repetition_penalty_reward of open-r1 on the same words.
    [Theory]
    [InlineData("", "3", 0)]
    [InlineData("a b", "3", 0)]
    [InlineData("a b c d e", "3", 0)]
    [InlineData("a a a a a", "3", -2.0 / 3)]
    [InlineData("the cat sat THE CAT SAT the cat", "3", -0.5)]
    [InlineData("a b a b", "2", -1.0 / 3)]
    [InlineData("a  b\n a\tb", "2", -1.0 / 3)]
    [InlineData("啊啊啊啊啊", "3", -2.0 / 3)]
    [InlineData("ab啊ab啊ab", "2", -0.5)]
    public async Task Repetition_counts_ngrams_that_come_again(string completion, string size, double value)
    {
        Assert.Equal(value, await Create("repetition", ("ngram", size)).ScoreAsync(Request(completion)), 12);
        Assert.Equal(value / 2,
            await Create("repetition", ("ngram", size), ("max_penalty", "-0.5")).ScoreAsync(Request(completion)), 12);
    }

    [Theory]
    [InlineData("^<think>.*</think>\\d+$", "turn", "12", 0)] // the dot is no line's end
    [InlineData("(?s)^<think>.*</think>\\d+$", "turn", "12", 1)]
    [InlineData("^\\d+$", "answer", "12", 1)]
    [InlineData("^so", "completion", "12", 1)]
    [InlineData("SO", "completion", "12", 0)]
    [InlineData("(?<=think>)12", "turn", "12", 1)] // by the engine that goes back
    public async Task Regex_matches_the_part_that_it_is_held_against(string pattern, string on, string answer,
        double value) =>
        Assert.Equal(value, await Create("regex", ("pattern", pattern), ("on", on))
            .ScoreAsync(Request($"so</think>{answer}", suffix: "<think>\n")));

    [Fact]
    public async Task Regex_compares_what_a_group_captured()
    {
        Assert.Equal(1,
            await Create("regex", ("pattern", "#### (.+)"), ("group", "1")).ScoreAsync(Request("#### 1,000", "1000")));
        Assert.Equal(0,
            await Create("regex", ("pattern", "#### (?<n>.+)"), ("group", "n")).ScoreAsync(Request("#### 1", "1000")));
        Assert.Equal(0, await Create("regex", ("pattern", "#### (.+)"), ("group", "1")).ScoreAsync(Request("1000", "1000")));
        Assert.Equal(0, await Create("regex", ("pattern", "x")).ScoreAsync(Request("x", finished: false)));
        Assert.Equal(1, await Create("regex", ("pattern", "X"), ("ignore_case", "true"), ("unfinished", "true"))
            .ScoreAsync(Request("x", finished: false)));
        Assert.Contains("no answer to compare the group with", await Create("regex", ("pattern", "(x)"), ("group", "1"))
            .FaultAsync(Request("x")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_expression_cannot_hold_up_the_run()
    {
        long start = Stopwatch.GetTimestamp();
        Assert.Equal(0, await Create("regex", ("pattern", "^(a+)+$")).ScoreAsync(Request(new string('a', 50_000) + "b")));
        string message = await Create("regex", ("pattern", "^(a+)+(?=c)$"), ("timeout", "0.05"))
            .FaultAsync(Request(new string('a', 40) + "b"));
        Assert.Contains("after 0.05 s", message, StringComparison.Ordinal);
        Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(60));
    }

    [Fact]
    public async Task All_of_asks_in_order_and_wants_every_one()
    {
        IReward reward = Create("all_of", ("of", "format, answer"), ("answer.needs_mark", "false"));
        Assert.Equal(["all_of"], reward.Components);
        Assert.Equal(1, await reward.ScoreAsync(Request("<think>so</think>12 legs", "12")));
        Assert.Equal(0, await reward.ScoreAsync(Request("12 legs", "12")));
        Assert.Equal(0, await reward.ScoreAsync(Request("<think>so</think>13 legs", "12")));
        Assert.Equal(0, await reward.ScoreAsync(Request("12 legs"))); // format said no, and answer was not asked
        Assert.Contains("answer: the row has no answer", await reward.FaultAsync(Request("<think>so</think>12 legs")),
            StringComparison.Ordinal);
        double[][] rows = await reward.ScoreAsync([Request("12", "12"), Request("<think>so</think>12", "12"),
            Request("<think>so</think>13", "12")], TestContext.Current.CancellationToken);
        Assert.Equal([0, 1, 0], rows.Select(row => row.Single()));
    }
}
