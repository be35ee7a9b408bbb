using System.Globalization;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;

// TrainingHost CHECKPOINT DATA OUTPUT: trains CHECKPOINT on DATA/train.jsonl by a recipe, and goes on with steps of its own.
(string checkpoint, string data, string output) = (args[0], args[1], args[2]);

// 1. A recipe, as `skylight train` runs it. What is behind the name is set as by --set.
Recipe recipe = RecipeFile.Parse(
    """
    method: grpo
    learning_rate: {connector: 1e-4, language: 1e-4}
    data: train.jsonl
    steps: 2
    batch: 4
    prompt: {thinking: on}
    sampling: {group: 4, max_new_tokens: 48}
    rewards:
      - {name: answer, weight: 0.8}
      - {name: Brevity, weight: 0.2, assembly: this program}
    """,
    "from-code", [$"data_folder='{data}'", "seed=7"]);
var options = new TrainingRunOptions(new CpuDevice()) { Observer = new Progress(), LoadReward = _ => new Brevity() };
await using (TrainingRun run = await TrainingRun.OpenAsync(recipe, checkpoint, Path.Combine(output, "by-recipe"), options))
    await run.RunAsync();

// 2. A supervised step from messages: without a recipe, a ChatModel and its cache.
using var device = new CpuDevice();
using VisionLanguageModel model = ModelCheckpoint.Load(Path.Combine(output, "by-recipe"), device);
ITokenizer tokenizer = BytePairTokenizer.Load(checkpoint);
var builder = new SampleBuilder(new ConversationEncoder(model.Configuration, tokenizer)) { Thinking = ThinkingMode.On };
Message question = Message.User("What is 3 + 4?");
TrainingSample sample = await builder.SampleAsync(
    [question, Message.Assistant("<think>\nI add them.\n</think>\n\n\\boxed{7}")]);
using var trainer = new ModelTrainer(model, TrainableModules.Connector | TrainableModules.Language);

// Between gradients and step: look at them or change them. What is thrown here drops them, and the weights stay as they
// were.
trainer.BeforeStep = _ =>
{
    foreach ((PersistentTensor parameter, PersistentTensor gradient) in trainer.Gradients)
    {
        if (parameter.Name.StartsWith("language.embedding", StringComparison.Ordinal))
            device.Clear(gradient.Tensor);
    }
};
double loss = trainer.AccumulateGradients(SampleBuilder.WithMeanWeights([sample]), new CrossEntropyObjective()).Loss;
trainer.Step(new LearningRates(Vision: 0, Connector: 1e-4f, Language: 1e-5f));
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"supervised: loss {loss:F3}"));

// 3. GRPO steps of one's own, each with its sampling options.
using var engine = new GenerationEngine(model, cacheTokens: 2048);
await using var rewards = new RewardSet(
    [new RewardTerm(RewardCatalog.Create("answer", new Dictionary<string, string>()), weight: 0.8),
        new RewardTerm(new Brevity(), weight: 0.2)]);
var sampling = new SamplingOptions { MaxOutputTokens = 48, StopTokens = model.Configuration.StopTokenIds, Seed = 1 };
var grpo = new GrpoTrainer(trainer, engine, new GrpoOptions { GroupSize = 4, Sampling = sampling },
    new CriticalTokens(tokenizer), rewards);
PreparedPrompt prompt = await builder.PromptAsync([question]);
foreach (float temperature in (float[])[1.2f, 0.9f])
{
    GrpoMetrics metrics = grpo.Step(() => [new GrpoPrompt(prompt.Sequence, Judged)], 1e-4f,
        sampling with { Temperature = temperature });
    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"grpo at {temperature}: reward {metrics.Reward:F2}, rollout and training differ by " +
        $"{metrics.RolloutTrainDifference}"));
}

// A checkpoint like the first one: naming, configuration, tokenizer and processor files.
ModelCheckpoint.Save(model, Path.Combine(output, "by-hand"), new CheckpointWriterOptions { Like = checkpoint });

// What rewards see of a completion: its text without the end token, and what the prompt holds of the turn.
RewardRequest Judged(Completion completion)
{
    bool isFinished = completion.FinishReason == FinishReason.Stop;
    return new RewardRequest
    {
        Id = "sum",
        Question = "What is 3 + 4?",
        Answers = ["7"],
        PromptSuffix = "<think>\n",
        Completion = tokenizer.Decode(isFinished ? completion.Tokens.AsSpan(..^1) : completion.Tokens),
        Finished = isFinished,
        TokenCount = completion.Tokens.Length,
        MaximumTokens = 48,
    };
}

/// <summary>A reward of one's own (docs/rewards.md): how much of the limit is left.</summary>
internal sealed class Brevity : IReward
{
    public IReadOnlyList<string> Components { get; } = ["brevity"];

    public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken) =>
        ValueTask.FromResult<double[][]>(
            [.. requests.Select(request => (double[])[1 - request.TokenCount / (double)request.MaximumTokens])]);
}

/// <summary>Is told of every step, evaluation and note.</summary>
internal sealed class Progress : IRunObserver
{
    public void Begin(Recipe recipe, int step, int steps) => Console.WriteLine($"{recipe.Name}: {steps} steps");

    public void Report(StepFigures figures, int steps) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"step {figures.Step} of {steps}: reward {figures["reward"]:F2}, brevity {figures["reward/brevity"]:F2}"));

    public void Note(string text) => Console.WriteLine(text);

    public void End(RunResult result) => Console.WriteLine($"done: {result.Folder}");
}
