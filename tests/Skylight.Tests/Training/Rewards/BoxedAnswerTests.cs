using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Rewards;

public class BoxedAnswerTests
{
    [Theory]
    [InlineData(@"\boxed{12}", "12")]
    [InlineData(@"\boxed{1} then \boxed{2}", "2")]
    [InlineData(@"\boxed{\frac{1}{\sqrt{2}}}", @"\frac{1}{\sqrt{2}}")]
    [InlineData(@"\boxed{1} and \boxed{2", "1")] // the later one never closes
    [InlineData(@"\boxed{1} and \boxed", "1")]
    [InlineData(@"\boxed{\{1, 2\}}", @"\{1, 2\}")]
    [InlineData(@"\boxed{\{}", @"\{")] // an escaped brace is a character, not an opening
    [InlineData(@"\boxed {3}", "3")]
    [InlineData(@"\boxed{}", "")]
    [InlineData(@"x\boxed{a}}}", "a")]
    public void The_last_balanced_box_is_found(string text, string expected)
    {
        Assert.True(BoxedAnswer.TryFindLast(text, out string? content));
        Assert.Equal(expected, content);
    }

    [Theory]
    [InlineData("")]
    [InlineData("12")]
    [InlineData(@"\boxed{12")]
    [InlineData(@"\boxed 12")]
    [InlineData(@"\boxed{{12}")]
    [InlineData(@"\boxed{12\}")]
    public void No_balanced_box_is_no_answer(string text) => Assert.False(BoxedAnswer.TryFindLast(text, out _));

    [Theory]
    [InlineData(@"\boxed{12}", "12", true)]
    [InlineData(@"\boxed{ $12$ }", "12", true)]
    [InlineData(@"\boxed{{12}}", "12", true)]
    [InlineData(@"\boxed{b}", "B", true)]
    [InlineData(@"\boxed{12}", " $12$", true)]
    [InlineData(@"\boxed{red  fox}", "red fox", true)]
    [InlineData(@"\boxed{{a}{b}}", "{a}{b}", true)]
    [InlineData(@"\boxed{{a}{b}}", "a}{b", false)]
    [InlineData(@"\boxed{13}", "12", false)]
    [InlineData(@"\boxed{}", "", false)]
    [InlineData(@"<think>\boxed{12}</think>\boxed{13}", "12", false)]
    [InlineData(@"<think>\boxed{12}</think>12", "12", false)]
    [InlineData(@"\boxed{12}</think>\boxed{13}", "13", true)] // the prompt opened the block
    [InlineData(@"<think>\boxed{12}", "12", false)] // never closed: no answer yet
    public void The_verifier_compares_what_follows_the_think_block(string response, string expected, bool correct) =>
        Assert.Equal(correct, new AnswerVerifier().Verify(response, expected));
}
