using System.Text.RegularExpressions;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Digits;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Cli.Demo.Digits;

public class DigitTaskTests
{
    private static readonly DigitDataset Bundled = DigitDataset.Load(DigitDataset.FindBundled()!);
    private static readonly DigitTask Task = new(Bundled);

    [Fact]
    public void The_bundled_digits_are_complete_and_no_held_out_digit_is_in_training()
    {
        Assert.Equal(8000, Bundled.Training.Count);
        Assert.Equal(2000, Bundled.HeldOut.Count);

        HashSet<string> training = [
            .. Enumerable.Range(0, 8000).Select(index => Convert.ToBase64String(Bundled.Training.Image(index)))];
        Assert.DoesNotContain(
            Enumerable.Range(0, 2000), index => training.Contains(Convert.ToBase64String(Bundled.HeldOut.Image(index))));
    }

    [Fact]
    public void Every_answer_leaves_room_below_the_most_tokens_of_the_demo()
    {
        using var folder = new TemporaryFolder();
        foreach ((string name, string text) in DemoTokenizer.Files())
            folder.Write(name, text);
        var tokenizer = BytePairTokenizer.Load(folder.Path, TestContext.Current.CancellationToken);
        var random = new CounterRandom(5, 0);
        for (int draw = 0; draw < 500; draw++)
        {
            DigitExample example = draw % 2 == 0 ? DigitTask.Arithmetic(ref random)
                : Task.Problem(ref random, DigitSplit.Training);
            Assert.InRange(tokenizer.Encode(example.Completion, allowSpecial: true).Length, 3,
                DemoPhases.MaximumNewTokens(DemoPreset.Full) - 16);
        }
    }

    [Theory]
    [InlineData(nameof(DigitQuestion.Sum), 7, 5, "7+5=12", 12)]
    [InlineData(nameof(DigitQuestion.Difference), 5, 7, "7-5=2", 2)]
    [InlineData(nameof(DigitQuestion.Larger), 5, 7, "7>5", 7)]
    [InlineData(nameof(DigitQuestion.Smaller), 5, 7, "5<7", 5)]
    [InlineData(nameof(DigitQuestion.Smaller), 4, 4, "4=4", 4)]
    public void Questions_are_calculated_and_answered(string name, int left, int right, string calculation, int answer)
    {
        DigitQuestion question = Enum.Parse<DigitQuestion>(name);
        Assert.Equal(calculation, question.Calculate(left, right));
        Assert.Equal(answer, question.Answer(left, right));
    }

    [Fact]
    public void Every_reference_trace_earns_the_full_reward_and_names_the_digits_last()
    {
        var random = new CounterRandom(11, 0);
        int corrected = 0;
        const int draws = 2000;
        for (int draw = 0; draw < draws; draw++)
        {
            DigitExample example = Task.Problem(ref random, DigitSplit.Training);
            Assert.True(new AnswerVerifier().Verify("<think>\n" + example.Completion, example.Answer));
            Assert.True(ThinkFormatReward.IsWellFormed("<think>\n", example.Completion, finished: true));
            Assert.Equal(example.Question!.Value.Ask(), example.Prompt);

            Match named = Regex.Match(example.Completion,
                @"^(?:(\d) and (\d)\. Wait, )?(\d) and (\d)\. ([^<]|<\d)*</think>");
            Assert.True(named.Success, example.Completion);
            int left = int.Parse(named.Groups[3].Value);
            int right = int.Parse(named.Groups[4].Value);
            Assert.Equal($"{example.Question!.Value.Answer(left, right)}", example.Answer);
            if (named.Groups[1].Success)
            {
                corrected++;
                bool leftWrong = named.Groups[1].Value != named.Groups[3].Value;
                bool rightWrong = named.Groups[2].Value != named.Groups[4].Value;
                Assert.True(leftWrong ^ rightWrong, example.Completion);
            }
        }

        Assert.InRange(corrected / (double)draws, 0.2, 0.3);
    }

    [Fact]
    public void Pretraining_never_shows_seeing_and_calculating_together()
    {
        var random = new CounterRandom(3, 0);
        for (int draw = 0; draw < 1000; draw++)
        {
            DigitExample sum = DigitTask.Arithmetic(ref random);
            // The digits are given, so the model is never asked where they come from.
            Assert.Null(sum.Picture);
            Match named = Regex.Match(sum.Prompt, @"^(\d and \d\. )(sum|diff|larger|smaller)\?$");
            Assert.True(named.Success && sum.Completion.StartsWith(named.Groups[1].Value, StringComparison.Ordinal),
                sum.Prompt);
            DigitExample caption = Task.Caption(ref random, DigitSplit.Training);
            Assert.NotNull(caption.Picture);
            Assert.Equal("digits?", caption.Prompt);
            Assert.Matches(@"^\d \d$", caption.Completion);
        }
    }

    [Fact]
    public void Pictures_show_the_digits_of_their_split_in_varied_places()
    {
        var random = new CounterRandom(9, 0);
        foreach (DigitSplit split in (DigitSplit[])[DigitSplit.Training, DigitSplit.HeldOut])
        {
            // With every digit of a label drawn as its number, the picture tells which split and digit it came from.
            var marked = new DigitTask(new DigitDataset(MarkedDigits(100), MarkedDigits(200)));
            var places = new HashSet<(int, int)>();
            for (int draw = 0; draw < 200; draw++)
            {
                DigitExample example = marked.Problem(ref random, split);
                byte[] ink = [.. example.Picture!.Pixels.Where(pixel => pixel > 0)];
                Assert.Equal(2, ink.Length);
                int left = Array.FindIndex(example.Picture.Pixels, pixel => pixel > 0);
                places.Add((left % DigitPicture.Width, left / DigitPicture.Width));

                int[] found = [.. example.Picture.Pixels.Select((pixel, index) => (pixel, x: index % DigitPicture.Width))
                    .Where(mark => mark.pixel > 0).OrderBy(mark => mark.x)
                    .Select(mark => mark.pixel - (split == DigitSplit.Training ? 100 : 200))];
                Assert.All(found, digit => Assert.InRange(digit, 0, 9));
                Assert.Equal($"{example.Question!.Value.Answer(found[0], found[1])}", example.Answer);
            }

            Assert.InRange(places.Count, 30, 200);
        }
    }

    [Fact]
    public void A_saved_counter_resumes_the_same_problems()
    {
        var random = new CounterRandom(4, 0);
        Task.Problem(ref random, DigitSplit.HeldOut);
        var resumed = new CounterRandom(random.Seed, random.Stream, random.Counter);
        DigitExample expected = Task.Problem(ref random, DigitSplit.HeldOut);
        DigitExample actual = Task.Problem(ref resumed, DigitSplit.HeldOut);
        Assert.Equal(expected.Completion, actual.Completion);
        Assert.Equal(expected.Picture!.Pixels, actual.Picture!.Pixels);
    }

    [Fact]
    public void Each_digit_stands_whole_in_its_half()
    {
        // Ink at the left and the lower edge: such a digit moves to the right and up only.
        var pixels = new byte[DigitSet.Area];
        pixels[14 * DigitSet.Side] = 1;
        pixels[27 * DigitSet.Side + 5] = 2;
        var task = new DigitTask(new DigitDataset(new DigitSet(pixels, [3]), new DigitSet(pixels, [3])),
            new DigitTaskOptions { Jitter = 27 });
        var random = new CounterRandom(6, 0);
        var places = new HashSet<int>();
        for (int draw = 0; draw < 100; draw++)
        {
            byte[] picture = task.Caption(ref random, DigitSplit.Training).Picture!.Pixels;
            foreach (bool right in (bool[])[false, true])
            {
                byte[] half = [.. picture.Where((_, index) => index % DigitPicture.Width >= 28 == right)];
                int edge = Array.IndexOf(half, (byte)1), lower = Array.IndexOf(half, (byte)2);
                Assert.Equal(13 * 28 + 5, lower - edge);
                Assert.Equal(3, half.Sum(pixel => pixel));
                places.Add(edge);
            }
        }

        Assert.InRange(places.Count, 50, 200);
    }

    [Fact]
    public void Digits_that_would_leave_the_picture_are_refused()
    {
        Assert.Throws<ArgumentException>(() => new DigitTask(Bundled, new DigitTaskOptions { Jitter = 28 }));
        var corner = new byte[784];
        corner[0] = 9;
        foreach ((int, int) by in ((int, int)[])[(-1, 0), (0, -1), (28, 0), (0, 28)])
            Assert.Contains("outside of its half",
                Assert.Throws<ArgumentException>(() => DigitPicture.Draw(new byte[784], (0, 0), corner, by)).Message,
                StringComparison.Ordinal);
        Assert.Equal(9, DigitPicture.Draw(new byte[784], (-9, 99), corner, (27, 27)).Pixels[^1]);
    }

    private static DigitSet MarkedDigits(int offset)
    {
        var images = new byte[10 * DigitSet.Area];
        var labels = new byte[10];
        for (int digit = 0; digit < 10; digit++)
        {
            labels[digit] = (byte)digit;
            images[digit * DigitSet.Area + 14 * DigitSet.Side + 14] = (byte)(offset + digit);
        }

        return new DigitSet(images, labels);
    }
}
