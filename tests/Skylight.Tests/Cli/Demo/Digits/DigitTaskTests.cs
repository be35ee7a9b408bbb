using System.Text.RegularExpressions;
using Skylight.Cli.Demo.Digits;
using Skylight.Tensors;
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

        HashSet<string> training = [.. Enumerable.Range(0, 8000).Select(index => Convert.ToBase64String(Bundled.Training.Image(index)))];
        Assert.DoesNotContain(
            Enumerable.Range(0, 2000), index => training.Contains(Convert.ToBase64String(Bundled.HeldOut.Image(index))));
    }

    [Fact]
    public void Every_text_fits_the_vocabulary_and_is_short()
    {
        var tokenizer = DigitVocabulary.CreateTokenizer();
        Assert.InRange(tokenizer.VocabularySize, 1, 64);

        var random = new CounterRandom(5, 0);
        for (int draw = 0; draw < 500; draw++)
        {
            DigitExample example = draw % 2 == 0 ? Task.PretrainingExample(ref random) : Task.ColdStartExample(ref random);
            Assert.InRange(tokenizer.Encode(example.Prompt, allowSpecial: true).Length, 1, 40);
            Assert.InRange(tokenizer.Encode(example.Completion, allowSpecial: true).Length, 3, 40);
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
            Assert.True(new AnswerVerifier().Verify(DigitTask.PromptSuffix + example.Completion, example.Answer));
            Assert.True(ThinkFormatReward.IsWellFormed(DigitTask.PromptSuffix, example.Completion, finished: true));
            Assert.EndsWith(DigitTask.PromptSuffix, example.Prompt);

            Match named = Regex.Match(example.Completion, @"^(?:(\d) and (\d)\. Wait, )?(\d) and (\d)\. ([^<]|<\d)*</think>");
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
        int captions = 0;
        const int draws = 2000;
        for (int draw = 0; draw < draws; draw++)
        {
            DigitExample example = Task.PretrainingExample(ref random);
            if (example.Picture is null)
            {
                // The thought up to the calculation is given, so the model is never asked where the digits come from.
                Assert.Matches(@"^(sum|diff|larger|smaller)\?<think>(\d and \d\. Wait, )?\d and \d\. $", example.Prompt);
                Assert.DoesNotContain("and", example.Completion);
            }
            else
            {
                captions++;
                Assert.Equal("digits?", example.Prompt);
                Assert.Matches(@"^\d \d$", example.Completion);
            }
        }

        Assert.InRange(captions / (double)draws, 0.62, 0.71);
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
                    .Where(mark => mark.pixel > 0).OrderBy(mark => mark.x).Select(mark => mark.pixel - (split == DigitSplit.Training ? 100 : 200))];
                Assert.All(found, digit => Assert.InRange(digit, 0, 9));
                Assert.Equal($"{example.Question!.Value.Answer(found[0], found[1])}", example.Answer);
            }

            Assert.InRange(places.Count, 30, 200);
        }
    }

    [Fact]
    public void Pixels_have_mean_0_and_deviation_1_and_repeat_in_each_channel()
    {
        var random = new CounterRandom(2, 0);
        double sum = 0;
        double squares = 0;
        int count = 0;
        for (int draw = 0; draw < 300; draw++)
        {
            float[] pixels = Task.Normalize(Task.Caption(ref random, DigitSplit.Training).Picture!);
            Assert.Equal(3 * 28 * 56, pixels.Length);
            Assert.True(pixels.AsSpan(0, 28 * 56).SequenceEqual(pixels.AsSpan(2 * 28 * 56)));
            foreach (float pixel in pixels)
            {
                sum += pixel;
                squares += pixel * pixel;
                count++;
            }
        }

        Assert.InRange(sum / count, -0.03, 0.03);
        Assert.InRange(squares / count, 0.95, 1.05);
        Assert.Equal(28 * 56, new DigitTask(Bundled, new DigitTaskOptions { Channels = 1 }).Normalize(new DigitPicture(new byte[28 * 56])).Length);
    }

    [Fact]
    public void The_same_seed_gives_the_same_problems_and_a_saved_counter_resumes_them()
    {
        Assert.Equal(Task.ProblemSet(20).Select(problem => problem.Completion), Task.ProblemSet(20).Select(problem => problem.Completion));
        Assert.NotEqual(
            Task.ProblemSet(20).Select(problem => problem.Completion), Task.ProblemSet(20, seed: 1).Select(problem => problem.Completion));

        var random = new CounterRandom(4, 0);
        Task.ColdStartExample(ref random);
        var resumed = new CounterRandom(random.Seed, random.Stream, random.Counter);
        DigitExample expected = Task.ColdStartExample(ref random);
        DigitExample actual = Task.ColdStartExample(ref resumed);
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
        var task = new DigitTask(new DigitDataset(new DigitSet(pixels, [3]), new DigitSet(pixels, [3])), new DigitTaskOptions { Jitter = 27 });
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
            Assert.Contains("outside of its half", Assert.Throws<ArgumentException>(() => DigitPicture.Draw(new byte[784], (0, 0), corner, by)).Message, StringComparison.Ordinal);
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
