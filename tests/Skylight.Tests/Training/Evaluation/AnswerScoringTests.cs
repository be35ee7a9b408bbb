using Skylight.Training.Evaluation;

namespace Skylight.Tests.Training.Evaluation;

/// <summary>The rules, case by case.</summary>
public sealed class AnswerScoringTests
{
    private static readonly string[] s_animals = ["a cat", "a dog", "a horse", "none of these"];
    private static readonly string[] s_fractions = [@"$\frac{1}{2}$", @"$\frac{1}{3}$", @"$2\pi$", "0"];

    [Theory]
    [InlineData("B", AnswerRule.OptionLetter)]
    [InlineData("(B)", AnswerRule.OptionLetter)]
    [InlineData("**B.**", AnswerRule.OptionLetter)]
    [InlineData("Answer: B", AnswerRule.OptionLetter)]
    [InlineData("The answer is B, for it barks.", AnswerRule.OptionLetter)]
    [InlineData(@"Answer: \boxed{B}", AnswerRule.OptionLetter)]
    [InlineData(@"It is \boxed{\text{B}}", AnswerRule.OptionLetter)]
    [InlineData(@"Of A, B, C I take \boxed{\text{B}}", AnswerRule.Boxed)]
    [InlineData(@"\boxed{b}", AnswerRule.Boxed)]
    [InlineData(@"$\boxed{ {b} }$", AnswerRule.Boxed)]
    [InlineData("it is clearly a dog", AnswerRule.OptionText)]
    [InlineData("It is a DOG!", AnswerRule.OptionText)]
    [InlineData(@"Not A, so \boxed{B}", AnswerRule.Boxed)]
    [InlineData(@"\boxed{A}? No: \boxed{B}", AnswerRule.Boxed)]
    [InlineData(@"a cat or a dog? \boxed{a dog}", AnswerRule.Boxed)]
    [InlineData("A, C and D are wrong</think>B", AnswerRule.OptionLetter)]
    [InlineData("<think>It may be A.</think>\n\nB", AnswerRule.OptionLetter)]
    public void A_right_choice_is_found(string response, AnswerRule rule)
    {
        AnswerScore score = AnswerScoring.Score(Choice(s_animals, "B"), response);
        Assert.True(score.IsCorrect, $"{score}");
        Assert.Equal(rule, score.Rule);
    }

    [Theory]
    [InlineData("A", "A", AnswerRule.OptionLetter)]
    [InlineData("A or B", null, AnswerRule.None)]
    [InlineData("a cat and a dog", null, AnswerRule.None)]
    [InlineData("b", null, AnswerRule.None)]
    [InlineData("AB", null, AnswerRule.None)]
    [InlineData("", null, AnswerRule.None)]
    [InlineData("B</think>A", "A", AnswerRule.OptionLetter)]
    [InlineData("<think>B, I think", null, AnswerRule.None)]
    [InlineData("Z", null, AnswerRule.Refusal)]
    [InlineData("Cannot determine the answer: a dog", null, AnswerRule.Refusal)]
    [InlineData(@"A or B, so \boxed{C}", "C", AnswerRule.Boxed)]
    [InlineData(@"A or B: \boxed{}", null, AnswerRule.None)]
    [InlineData(@"A or B: \boxed{B", null, AnswerRule.None)]
    public void A_wrong_choice_is_wrong(string response, string? given, AnswerRule rule) =>
        Assert.Equal(new AnswerScore(false, given, rule), AnswerScoring.Score(Choice(s_animals, "B"), response));

    [Theory]
    [InlineData(@"so x = $\frac{1}{2}$", "A", true)]
    [InlineData(@"\boxed{\frac{1}{2}}", "A", true)]
    [InlineData(@"First \boxed{\frac{1}{3}}, then \boxed{\frac{1}{2}}", "A", true)]
    [InlineData(@"\boxed{\frac{1}{2}}", "B", false)]
    [InlineData(@"\boxed{\frac{1}{{3}}", "B", false)]
    [InlineData(@"\boxed{\dfrac{1}{3}}", "B", true)]
    public void Options_in_LaTeX_are_found(string response, string right, bool isCorrect) =>
        Assert.Equal(isCorrect, AnswerScoring.Score(Choice(s_fractions, right), response).IsCorrect);

    [Theory]
    [InlineData(@"\boxed{3.4}", true)]
    [InlineData(@"\boxed{ $24 / 7$ }", true)]
    [InlineData(@"\boxed{\text{24/7}}", true)]
    [InlineData(@"3.4, no, \boxed{5}", false)]
    [InlineData("It is 3.4.", true)]
    [InlineData("x=3.4", true)]
    [InlineData("3.4 kg", true)]
    [InlineData("13.4", false)]
    [InlineData("-3.4", false)]
    [InlineData("3.45", false)]
    [InlineData("3.4.5", false)]
    [InlineData("3.4</think>I do not know", false)]
    [InlineData("I'm sorry, but without the image provided I guess 3.4", false)]
    public void Open_answers_are_boxed_or_whole_words(string response, bool isCorrect) =>
        Assert.Equal(isCorrect, AnswerScoring.Score(new EvaluationItem("1", "?", ["24/7", "3.4"]), response).IsCorrect);

    [Theory]
    [InlineData("Yes, it is", "yes", true)]
    [InlineData("Yesterday", "yes", false)]
    [InlineData("the result is (a, b)", "(a, b)", true)]
    [InlineData(@"\boxed{\frac{\sqrt{2}}{2}}", @"\frac{\sqrt{2}}{2}", true)]
    [InlineData(@"\boxed{\frac{\sqrt{2}}{2}}", @"$\dfrac{\sqrt 2}{2}$", false)]
    [InlineData(@"\boxed{\pi}", @"\theta", false)]
    [InlineData(@"\boxed{\pi}", @"\pi", true)]
    [InlineData(@"\boxed{x = 2}", "X=2", true)]
    public void Open_texts_are_compared_without_decoration(string response, string right, bool isCorrect) =>
        Assert.Equal(isCorrect, AnswerScoring.Score(new EvaluationItem("1", "?", [right]), response).IsCorrect);

    [Theory]
    [InlineData("$B$", "b")]
    [InlineData(@"\text{B}", "b")]
    [InlineData(@"\frac{1}{2}", "1}{2")]
    [InlineData(" 1 000 ", "1000")]
    [InlineData(@"2\pi", "2")]
    [InlineData(@"\Delta", @"\delta")]
    [InlineData("{}", "")]
    [InlineData("{", "")]
    public void Decoration_is_taken_away(string answer, string expected) =>
        Assert.Equal(expected, AnswerScoring.Normalize(answer));

    private static EvaluationItem Choice(string[] options, string right) =>
        new("1", "Which?", [right]) { Options = options };
}
