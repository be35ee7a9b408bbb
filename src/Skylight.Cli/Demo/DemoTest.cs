using System.Diagnostics;
using Skylight.Chat;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;

namespace Skylight.Cli.Demo;

/// <summary>
/// The held-out problems, which the result of every phase answers in the same way: greedily, thinking first.
/// </summary>
internal sealed class DemoTest
{
    private const int MostExamples = 6;

    private readonly IReadOnlyList<EvaluationItem> _items;

    private DemoTest(IReadOnlyList<EvaluationItem> items) => _items = items;

    /// <summary>Reads the problems.</summary>
    /// <param name="data">The folder of the demo's data.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public static async Task<DemoTest> OpenAsync(string data, CancellationToken cancellationToken)
    {
        IReadOnlyList<EvaluationItem> items = await EvaluationData.LoadAsync(Path.Combine(data, "test.jsonl"),
            columns: null, cancellationToken).ConfigureAwait(false);
        // The bare question, as in training.
        return new DemoTest(
            [.. items.Select(item =>
                item with
                {
                    Conversation = [new Message(ChatRole.User,
                        [.. item.Images.Select(image => (MessagePart)image.ToPart()), new TextPart(item.Question)])],
                })]);
    }

    /// <summary>Puts them to a model.</summary>
    /// <param name="phase">The key of the phase whose result it is.</param>
    /// <param name="model">Its folder.</param>
    /// <param name="maximumNewTokens">The most tokens of an answer.</param>
    /// <param name="device">Where it runs; closed at the end.</param>
    /// <param name="cancellationToken">Stops it; then it has to be done anew.</param>
    public async Task<PhaseTest> RunAsync(string phase, string model, int maximumNewTokens, Device device,
        CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        await using ChatModel chat = await ChatModel.LoadAsync(model,
            new ChatModelOptions { Device = device }, progress: null, cancellationToken).ConfigureAwait(false);
        var evaluator = new Evaluator(chat,
            new EvaluationOptions
            {
                Temperature = 0,
                MaxOutputTokens = maximumNewTokens,
                Thinking = ThinkingMode.On,
                Concurrency = 64,
            });
        (_, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(_items, evaluator.SettingsFor(_items),
            cancellationToken: cancellationToken).ConfigureAwait(false);
        if (results.FirstOrDefault(result => result.Error is not null) is { } failed)
            throw new InvalidDataException($"The held-out problem '{failed.Id}' cannot be put to the model: {failed.Error}");
        return new PhaseTest(
            phase, results.Count(result => result.IsCorrect), results.Count, Stopwatch.GetElapsedTime(start).TotalSeconds,
            [.. results.Take(MostExamples).Select(result => new ExampleAnswer(TextOf(result), result.IsCorrect))]);
    }

    /// <summary>The first problems with the answers of two phases.</summary>
    public async Task<IReadOnlyList<ExampleProblem>> ExamplesAsync(IReadOnlyList<ExampleAnswer> before,
        IReadOnlyList<ExampleAnswer> after, CancellationToken cancellationToken)
    {
        var examples = new List<ExampleProblem>();
        for (int index = 0; index < Math.Min(Math.Min(before.Count, after.Count), _items.Count); index++)
        {
            EvaluationItem item = _items[index];
            byte[] picture = (
                await item.Images[0].ReadAsync(cancellationToken: cancellationToken).ConfigureAwait(false)).ToArray();
            DigitQuestion question = Enum.Parse<DigitQuestion>(item.Category!, ignoreCase: true);
            examples.Add(new ExampleProblem(picture, DigitPicture.Width, DigitPicture.Height, question.Describe(),
                item.Answers[0], before[index], after[index]));
        }

        return examples;
    }

    // As the model wrote it: a thought that was cut off is not closed.
    private static string TextOf(EvaluationResult result) =>
        result.Answer.Length > 0 || result.FinishReason == FinishReason.Stop
            ? $"{result.Thinking}{SpecialTokens.ThinkEnd}{result.Answer}" : result.Thinking;
}
