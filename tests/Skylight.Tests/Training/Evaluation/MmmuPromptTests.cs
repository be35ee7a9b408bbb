using Skylight.Chat;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;

namespace Skylight.Tests.Training.Evaluation;

public sealed class MmmuPromptTests
{
    private static readonly EvaluationItem s_item = new("1", "Which is <image 2>?",
        ["A"])
    {
        Options = ["like <image 1>", "a dog"],
        Images = [ExampleImage.FromFile("/one.png"), ExampleImage.FromFile("/two.png")]
    };

    [Fact]
    public void The_text_is_that_of_VLMEvalKit()
    {
        Assert.Equal(
            "Question: Which is <image 2>?\nOptions:\nA. like <image 1>\nB. a dog\nPlease select the correct answer " +
            "from the options above. \n", MmmuPrompt.Text(s_item));
        Assert.Equal("Question: How many?\n", MmmuPrompt.Text(new EvaluationItem("1", "How many?", ["3"])));
        Assert.Equal("Hint: Count.\nQuestion: How many?\n",
            MmmuPrompt.Text(new EvaluationItem("1", "How many?", ["3"]) { Hint = "Count." }));
    }

    [Fact]
    public void A_step_by_step_question_asks_for_a_box()
    {
        string choice = MmmuPrompt.Text(s_item, PromptStyle.StepByStep);
        Assert.StartsWith(
            "Question: Which is <image 2>?\nOptions:\nA. like <image 1>\nB. a dog\nAnswer the preceding multiple " +
            "choice question.", choice, StringComparison.Ordinal);
        Assert.Contains(@"'Answer: \boxed{$LETTER}'", choice, StringComparison.Ordinal);
        Assert.DoesNotContain("Please select", choice, StringComparison.Ordinal);
        Assert.Contains(@"'Answer: \boxed{$FINAL_ANSWER}'",
            MmmuPrompt.Text(new EvaluationItem("1", "How many?", ["3"]), PromptStyle.StepByStep), StringComparison.Ordinal);
    }

    [Fact]
    public void Pictures_stand_where_their_places_are()
    {
        Message message = MmmuPrompt.Write(s_item);
        Assert.Equal(ChatRole.User, message.Role);
        Assert.Equal(
            ["Question: Which is ", "[/two.png]", "?\nOptions:\nA. like ", "[/one.png]",
                "\nB. a dog\nPlease select the correct answer from the options above. \n"],
            message.Parts.Select(Show));
    }

    [Fact]
    public void A_picture_may_stand_twice_or_at_the_start_and_without_places_all_stand_first()
    {
        Assert.Equal(
            ["Question: ", "[/one.png]", "[/one.png]", "\n"],
            MmmuPrompt.Write(new EvaluationItem("1", "<image 1><image 1>",
                ["3"])
            { Images = [ExampleImage.FromFile("/one.png")] }).Parts.Select(Show));
        Assert.Equal(
            ["[/one.png]", "[/two.png]", "Question: Same? <image of a cat> <image>\n"],
            MmmuPrompt.Write(
                new EvaluationItem("1", "Same? <image of a cat> <image>",
                    ["yes"])
                { Images = [ExampleImage.FromFile("/one.png"), ExampleImage.FromFile("/two.png")] })
                        .Parts.Select(Show));
    }

    [Theory]
    [InlineData("<image 3>", "place <image 3>")]
    [InlineData("<image 0>", "place <image 0>")]
    [InlineData("<image 99999999999999999999>", "place <image 2147483647>")]
    [InlineData("<image 2>", "no place for picture 1")]
    public void Places_and_pictures_must_match(string question, string expected)
    {
        var item = new EvaluationItem("1", question,
            ["3"])
        { Images = [ExampleImage.FromFile("/one.png"), ExampleImage.FromFile("/two.png")] };
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => MmmuPrompt.Write(item)).Message,
            StringComparison.Ordinal);
    }

    private static string Show(MessagePart part) => part is TextPart text ? text.Text : $"[{((ImagePart)part).Name}]";
}
