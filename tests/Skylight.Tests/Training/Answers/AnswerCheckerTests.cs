using System.Diagnostics;
using System.Text.Json;
using Skylight.Training.Answers;
using Skylight.Training.Evaluation;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Answers;

/// <summary>The rules, a table each: pairs that are the same, and pairs that only look it.</summary>
public sealed class AnswerCheckerTests
{
    public static TheoryData<string, string, string> Same => Table(true);

    public static TheoryData<string, string, string> Different => Table(false);

    [Theory]
    [MemberData(nameof(Same))]
    public void Answers_that_are_the_same(string rule, string given, string expected)
    {
        Assert.True(AnswerChecker.AreEqual(given, expected), $"{rule}: {given} is {expected}");
        // A key is a bare letter; what names it need not be one.
        if (rule != "options")
            Assert.True(AnswerChecker.AreEqual(expected, given), $"{rule}: {expected} is {given}");
    }

    [Theory]
    [MemberData(nameof(Different))]
    public void Answers_that_only_look_the_same(string rule, string given, string expected)
    {
        Assert.False(AnswerChecker.AreEqual(given, expected), $"{rule}: {given} is not {expected}");
        Assert.False(AnswerChecker.AreEqual(expected, given), $"{rule}: {expected} is not {given}");
    }

    [Fact]
    public void Boxed_texts_that_went_wrong()
    {
        // Empty boxes, boxes of a think block, other fractions and other units are wrong; all else is right.
        HashSet<int> wrong = [4, 26, 27, 31, 43];
        string[] lines = File.ReadAllLines(Golden.PathOf("faults/boxed-text.jsonl"));
        var verifier = new AnswerVerifier();
        var faults = new List<string>();
        for (int line = 0; line < lines.Length; line++)
        {
            using JsonDocument pair = JsonDocument.Parse(lines[line]);
            (string response, string key) = (pair.RootElement[0].GetString()!, pair.RootElement[1].GetString()!);
            bool isRight = !wrong.Contains(line);
            if (verifier.Verify(response, key) != isRight)
                faults.Add($"{line}: {lines[line]}");
            if (key.Length > 0 && AnswerScoring.Score(new EvaluationItem("1", "?", [key]), response,
                ScoringRules.Checker).IsCorrect != isRight)
                faults.Add($"evaluation, {line}: {lines[line]}");
        }

        Assert.Empty(faults);
    }

    [Theory]
    [InlineData("B")]
    [InlineData("(B)")]
    [InlineData("B.")]
    [InlineData("B. a dog")]
    [InlineData(@"\boxed{\text{B}}")]
    [InlineData(@"\boxed{B. a dog}")]
    [InlineData(@"\boxed{(B) a dog}")]
    [InlineData(@"\boxed{b}")]
    [InlineData(@"\fbox{B}")]
    [InlineData(@"\boxed{a dog}")]
    [InlineData("`B`")]
    [InlineData("“B”")]
    [InlineData("$B$")]
    [InlineData("**B**")]
    [InlineData("<answer>B</answer>")]
    [InlineData("答案：B")]
    [InlineData("选择B。")]
    [InlineData("故选B")]
    [InlineData("The answer is B")]
    [InlineData("The answer is (B), because it barks.")]
    [InlineData("The answer is **B**.")]
    [InlineData("A dog is in the picture, so B.")]
    [InlineData("A closer look shows that it is option B.")]
    [InlineData("It is a dog.")]
    [InlineData("Option A is wrong. The answer is B")]
    [InlineData("It could be C, D or A. <answer>(B)</answer>")]
    [InlineData("<think>A</think>B")]
    public void An_option_is_recognised(string response) => Assert.True(Choose(response, "B"), response);

    [Theory]
    [InlineData("The answer is not B")]
    [InlineData("A picture like this shows no answer.")]
    [InlineData("A")]
    [InlineData("A or B")]
    [InlineData("A, B")]
    [InlineData(@"\boxed{A}")]
    [InlineData(@"\boxed{A, B}")]
    [InlineData(@"\boxed{}")]
    [InlineData("B or A? The answer is A.")]
    [InlineData("<think>B")]
    [InlineData("")]
    [InlineData(@"B, no: \boxed{C}")]
    public void Another_or_no_option_is_wrong(string response) => Assert.False(Choose(response, "B"), response);

    [Theory]
    [InlineData("A dog sits on a mat.", "A", false)]
    [InlineData("A picture like this shows no answer.", "A", false)]
    [InlineData("I think it cannot be told.", "A", false)]
    [InlineData("A", "A", true)]
    [InlineData("A is right", "A", true)]
    [InlineData("The answer is A", "A", true)]
    [InlineData("Option A shows it", "A", true)]
    public void An_article_is_no_option(string response, string right, bool isCorrect) =>
        Assert.Equal(isCorrect, Choose(response, right));

    [Theory]
    [InlineData(@"\boxed{\frac{1}{2}}", "0.5", true, true)]
    [InlineData("The answer is 0.5.", "1/2", true, true)]
    [InlineData("It is 0.5 here.", "0.5", false, true)] // a reward asks for a mark
    [InlineData("0.5", "0.5", false, true)]
    [InlineData("12", "2", false, false)]
    [InlineData("2/3", "2", false, false)]
    [InlineData(@"0.5, no, \boxed{0.6}", "0.5", false, false)]
    [InlineData(@"\boxed{5}", @"\boxed{5}", true, true)]
    public void Rewards_and_evaluations_agree_on_what_is_marked(string response, string key, bool reward, bool evaluation)
    {
        Assert.Equal(reward, new AnswerVerifier().Verify(response, key));
        Assert.Equal(evaluation,
            AnswerScoring.Score(new EvaluationItem("1", "?", [key]), response, ScoringRules.Checker).IsCorrect);
    }

    [Fact]
    public void The_papers_rules_are_still_there()
    {
        var item = new EvaluationItem("1", "?", [@"2\pi"]);
        Assert.True(AnswerScoring.Score(item, @"\boxed{2}", ScoringRules.Paper).IsCorrect);
        Assert.False(AnswerScoring.Score(item, @"\boxed{2}", ScoringRules.Checker).IsCorrect);
    }

    [Fact]
    public void What_was_written_to_take_long_does_not()
    {
        string[] hostile =
        [
            Repeat("{", 4000), Repeat("(", 2000) + "1" + Repeat(")", 2000), Repeat(@"\frac{", 600),
            Repeat(@"\sqrt", 800) + "2", Repeat("1,", 2000), @"\{" + Repeat("x,", 1900) + @"x\}",
            Repeat(@"\text{", 600) + "B", Repeat("B.", 2000), Repeat("-", 4000) + "1", Repeat("x^", 2000) + "2",
            Repeat("9", 4000), Repeat("1/", 2000) + "1", Repeat(@"\boxed{", 100_000), Repeat("*", 100_000),
            Repeat("2^", 30) + "2", Repeat("9!", 1) + Repeat("!", 3000), Repeat(@"\{1,\{2,", 20) + "3"
                + Repeat(@"\}\}", 20), Repeat("answer is ", 20_000), Repeat("<answer>", 20_000),
        ];
        long start = Stopwatch.GetTimestamp();
        foreach (string text in hostile)
        {
            AnswerChecker.AreEqual(text, "5 ");
            AnswerChecker.AreEqual(text, text + "+0");
            new AnswerVerifier().Verify($@"\boxed{{{text}}}", text + " ");
            Choose(text, "B");
        }

        // Milliseconds, but the machine may be busy.
        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalSeconds, 0, 20);

        static string Repeat(string part, int times) => string.Concat(Enumerable.Repeat(part, times));
    }

    private static bool Choose(string response, string right) =>
        AnswerScoring.Score(
            new EvaluationItem("1", "Which?", [right]) { Options = ["a cat", "a dog", "a horse", "none of these"] },
            response, ScoringRules.Checker).IsCorrect;

    private static TheoryData<string, string, string> Table(bool areSame)
    {
        var table = new TheoryData<string, string, string>();
        string rule = "";
        foreach (string line in File.ReadLines(
            Repository.PathOf("tests", "Skylight.Tests", "Training", "Answers", "answers.tsv")))
        {
            if (line.StartsWith("# ", StringComparison.Ordinal))
                rule = line[2..];
            else if (line.Split('\t') is [var given, var sign, var expected] && (sign == "=") == areSame)
                table.Add(rule, given, expected);
        }

        return table;
    }
}
