using System.Text.Json;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Train;
using Skylight.Cpu;
using Skylight.Tests.Chat;
using Skylight.Training.Runs;

namespace Skylight.Tests.Training.Runs;

/// <summary>What a plan promises, held against what the device was asked for by the run itself.</summary>
public sealed class RunPlanTests : IClassFixture<RunPlanTests.Files>
{
    private const string Supervised =
        "method: sft\nlearning_rate: 1e-3\nsteps: 2\nbatch: 8\ndata: cold-start.jsonl\nprompt: {thinking: on}\n";
    // Completions of noise differ in these, so that no group is without a spread and left out.
    private const string Rewards =
        "rewards: [{name: regex, label: a, weight: 1, options: {pattern: '[0-4]', unfinished: true}}, {name: regex, " +
        "label: b, weight: 2, options: {pattern: '[a-k]', unfinished: true}}, "
        + "{name: repetition, weight: 4, options: {ngram: 1}}]\n";
    private const string Policy =
        "method: grpo\nlearning_rate: 1e-3\nsteps: 2\nbatch: 4\ndata: problems.jsonl\nprompt: {thinking: " +
        "on}\nsampling: {group: 4, max_new_tokens: 24, cache_tokens: 2048}\n" + Rewards;
    private const string Divergence = "grpo: {kl: k3, beta: 0.01}\n";
    private const string Evaluation = "evaluation: {data: test.jsonl, items: 12, max_new_tokens: 16}\n";

    // A plan bounds each extent of a micro-batch by itself, and completions by their most tokens; what a run draws is
    // rarely all of it.
    private const double Most = 1.25;

    private readonly Files _files;

    public RunPlanTests(Files files) => _files = files;

    [Theory]
    [InlineData("sft", Supervised)]
    [InlineData("sft, recomputed", Supervised + "optimizer: {recompute: true}\n")]
    [InlineData("sft, connector",
        "method: sft\nlearning_rate: {connector: 1e-3}\nsteps: 2\nbatch: 8\ndata: cold-start.jsonl\nprompt: " +
        "{thinking: on}\n")]
    [InlineData("sft, small micro-batches", Supervised + "optimizer: {micro_batch_tokens: 150}\n")]
    [InlineData("sft, answering", Supervised + Evaluation + "sampling: {cache_tokens: 4096}\n")]
    [InlineData("sft, answering and loss",
        "method: sft\nlearning_rate: {connector: 1e-3}\nsteps: 2\nbatch: 2\ndata: captions.jsonl\nevaluation: {data: " +
        "both.jsonl, items: 8, max_new_tokens: 16}\nsampling: {cache_tokens: 1024}\n")]
    [InlineData("sft, loss on held-out data",
        "method: sft\nlearning_rate: 1e-3\nsteps: 2\nbatch: 4\ndata: captions.jsonl\nevaluation: {data: captions.jsonl}\n")]
    [InlineData("grpo", Policy)]
    [InlineData("grpo, divergence", Policy + Divergence)]
    [InlineData("grpo, divergence, recomputed", Policy + Divergence + "optimizer: {recompute: true}\n")]
    // completions of noise end before they are as long as they may be
    [InlineData("grpo, long",
        "method: grpo\nlearning_rate: 1e-3\nsteps: 2\nbatch: 2\ndata: problems.jsonl\nprompt: {thinking: " +
        "on}\nsampling: {group: 4, max_new_tokens: 180}\n" + Rewards, "", 1.5)]
    [InlineData("grpo, mini-batches, evaluation", Policy + Evaluation + "optimizer: {micro_batch_tokens: 300}\n",
        "grpo: {mini_batches: 2}\n")]
    [InlineData("rejection",
        "method: rejection\nlearning_rate: 1e-3\nsteps: 2\nbatch: 4\ndata: problems.jsonl\nsampling: {group: 4, " +
        "max_new_tokens: 24, cache_tokens: 2048}\nrewards: [{name: regex, options: {pattern: \".\", " +
        "unfinished: true}}]\n")]
    public async Task A_run_takes_what_was_planned(string what, string text, string more = "", double most = Most)
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(text + more);
        (RunPlan plan, long measured) = await MeasureAsync(recipe, _files.Model, folder["run"]);
        Assert.True(plan.Fits && plan.Advice.Count == 0, what);
        AssertHolds(what, plan, measured, most);
    }

    [Theory]
    [InlineData(
        "name: verifier, options: {checkpoint: 'JUDGE', max_tokens: 4, use_rule: false, unfinished: true, max_requests: 4}")]
    [InlineData(
        "name: all_of, options: {of: 'format, verifier', verifier.checkpoint: 'JUDGE', verifier.max_tokens: 4, " +
        "verifier.unfinished: true, verifier.max_requests: 4}")]
    public async Task A_verifier_in_this_process_lives_on_the_device_of_the_run_and_counts(string reward)
    {
        using var folder = new TemporaryFolder();
        string judge = reward.Replace("JUDGE", _files.Judge.Replace('\\', '/'), StringComparison.Ordinal);
        Recipe recipe = Read(
            Policy.Replace("rewards: [", $"reward_faults: zero\nrewards: [{{{judge}}}, ", StringComparison.Ordinal));
        (RunPlan plan, long measured) = await MeasureAsync(recipe, _files.Model, folder["run"]);
        Assert.True(plan.Memory.VerifierBytes > plan.Memory.WeightBytes);
        Assert.True(measured > plan.Memory.VerifierBytes, "The verifier is somewhere else.");
        AssertHolds("verifier", plan, measured);
        IReadOnlyList<StepFigures> figures = RunLog.ReadMetrics(folder["run/metrics.jsonl"], 1 << 20);
        Assert.All(figures, step => Assert.NotNull(step["verifier/judged"]));
        Assert.Contains("tokens read", File.ReadAllText(folder["run/report.html"]), StringComparison.Ordinal);
        if (reward.Contains("all_of", StringComparison.Ordinal))
            return;
        // A model of noise gives no verdict, and is asked for every completion that ends in an answer.
        Assert.True(figures.Sum(step => step["verifier/requests"]) > 0);
        Assert.Equal(figures.Sum(step => step["verifier/requests"]),
            figures.Sum(step => step["verifier/faults"] + step["verifier/judged"]));
        Assert.True(figures.Sum(step => step["verifier/prompt_tokens"]) > 0);
    }

    [Fact]
    public async Task Rewards_that_name_one_verifier_have_it_once()
    {
        using var folder = new TemporaryFolder();
        string judge = $"checkpoint: '{_files.Judge.Replace('\\', '/')}', max_tokens: 4, use_rule: false, " +
            "unfinished: true, max_requests: ";
        string one = $"{{name: verifier, options: {{{judge}4}}}}, ",
            two = $"{{name: verifier, label: again, options: {{{judge}3}}}}, ";
        RunPlan alone = (await PlanAsync(one)).Plan;
        (RunPlan plan, Recipe recipe) = await PlanAsync(one + two);
        // Room for three more requests, and no second model.
        Assert.InRange(plan.Memory.VerifierBytes, alone.Memory.VerifierBytes, alone.Memory.VerifierBytes * 3 / 2);
        (RunPlan ran, long measured) = await MeasureAsync(recipe, _files.Model, folder["run"]);
        AssertHolds("two rewards", ran, measured);

        async Task<(RunPlan Plan, Recipe Recipe)> PlanAsync(string rewards)
        {
            Recipe read = Read(Policy.Replace("rewards: [", $"reward_faults: zero\nrewards: [{rewards}", StringComparison.Ordinal));
            using var device = new CpuDevice();
            return (await RunPlan.OfAsync(read, _files.Model, device, long.MaxValue,
                cancellationToken: TestContext.Current.CancellationToken), read);
        }
    }

    [Theory]
    [InlineData(Supervised)]
    [InlineData(Policy + Divergence)]
    public async Task What_is_advised_takes_what_it_says_and_less_than_before(string text)
    {
        using var device = new CpuDevice(long.MaxValue);
        RunPlan plan = await RunPlan.OfAsync(Read(text), _files.Model, device, 1_000_000,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.False(plan.Fits);
        Assert.True(plan.Advice.Count > 2);
        foreach (RunAdvice advice in plan.Advice)
        {
            RunPlan other = await RunPlan.OfAsync(Read(text, advice.Settings), _files.Model, device, 1_000_000,
                cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal(advice.PeakBytes, other.PeakBytes);
            Assert.True(other.PeakBytes < plan.PeakBytes, string.Join(' ', advice.Settings));
        }

        // What is tried alone helps alone, and together most.
        Assert.Equal(plan.Advice.Min(advice => advice.PeakBytes), plan.Advice[^1].PeakBytes);
        using JsonDocument json = JsonDocument.Parse(TrainOutput.Json([(plan, "model")], device));
        JsonElement[] advised = [.. json.RootElement.GetProperty("plans")[0].GetProperty("advice").EnumerateArray()];
        Assert.Equal(plan.Advice.Select(advice => advice.PeakBytes),
            advised.Select(advice => advice.GetProperty("peak").GetInt64()));
        Assert.Equal(plan.Advice[0].Settings,
            advised[0].GetProperty("settings").EnumerateArray().Select(setting => setting.GetString()));
        Assert.Equal(plan.Advice[0].Reason, advised[0].GetProperty("reason").GetString());
        string page = TrainOutput.Text(plan, device);
        Assert.Contains("DOES NOT FIT", page, StringComparison.Ordinal);
        Assert.Contains("--set optimizer.recompute=true", page, StringComparison.Ordinal);
        Assert.Contains("longer ones need more", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task More_than_a_device_has_is_said_and_not_thrown()
    {
        using var device = new CpuDevice(long.MaxValue);
        RunPlan plan = await RunPlan.OfAsync(Read(Supervised), _files.Model, device, 10,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.False(plan.Fits);
        Assert.Contains("a device with more memory: these settings alone do not do", TrainOutput.Text(plan, device),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Supervised + "evaluation: {data: test.jsonl, items: 2, max_new_tokens: 400}\n")]
    [InlineData(Policy + Divergence + "evaluation: {data: test.jsonl, items: 2, max_new_tokens: 400}\n")]
    public async Task What_is_advised_can_be_run(string text)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(long.MaxValue);
        RunPlan plan = await RunPlan.OfAsync(Read(text), _files.Model, device, 10,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Contains(plan.Advice[^1].Settings,
            setting => setting.StartsWith("sampling.cache_tokens=", StringComparison.Ordinal));
        await MeasureAsync(Read(text, plan.Advice[^1].Settings), _files.Model, folder["run"]);
        Assert.True(RunLog.ReadMetrics(folder["run/metrics.jsonl"], 1 << 20)
            .All(figures => figures.Kind == FigureKind.Step || figures["accuracy"] is not null));
    }

    [Fact]
    public async Task Completions_that_leave_no_room_are_the_fault_of_the_recipe()
    {
        using var device = new CpuDevice(long.MaxValue);
        RecipeException fault = await Assert.ThrowsAsync<RecipeException>(
            () => RunPlan.OfAsync(Read(Policy, ["prompt.max_sequence=24"]), _files.Model, device, 1,
                cancellationToken: TestContext.Current.CancellationToken));
        Assert.Contains("none is left for a prompt", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rows_that_cannot_be_used_are_named()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(long.MaxValue);
        folder.Write("data.jsonl",
            "{\"question\": \"sum?\", \"answer\": \"1\"}\n{\"question\": \"sum?\", \"answer\": \"1\", \"images\": " +
            "[\"absent.png\"]}\n");
        folder.Write("unanswered.jsonl", "{\"question\": \"sum?\", \"answer\": \"1\"}\n{\"question\": \"sum?\"}\n");
        Recipe Of(string file) =>
            Read(Policy.Replace("problems.jsonl", folder[file].Replace('\\', '/'), StringComparison.Ordinal));
        RunPlan plan = await RunPlan.OfAsync(Of("data.jsonl"), _files.Model, device, long.MaxValue,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal((2, 1, 0), (plan.Rows.Looked, plan.Rows.Unusable, plan.Rows.MostTiles));
        Assert.Contains("line 2", plan.Rows.FirstUnusable, StringComparison.Ordinal);
        Assert.Contains("1 of them cannot be used, the first: ", TrainOutput.Text(plan, device), StringComparison.Ordinal);
        // A reward that compares needs something to compare with.
        Recipe unanswered = Of("unanswered.jsonl") with
        {
            Rewards = Read(Policy.Replace(Rewards, "rewards: [answer]\n", StringComparison.Ordinal)).Rewards,
        };
        plan = await RunPlan.OfAsync(unanswered, _files.Model, device, long.MaxValue,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal((2, 1), (plan.Rows.Looked, plan.Rows.Unusable));
        folder.Write("none.jsonl", "{\"question\": \"sum?\", \"images\": [\"absent.png\"]}\n");
        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() =>
            RunPlan.OfAsync(Of("none.jsonl"), _files.Model, device, 1,
                cancellationToken: TestContext.Current.CancellationToken));
        Assert.Contains("None of the 1 rows", fault.Message, StringComparison.Ordinal);
    }

    private static void AssertHolds(string what, RunPlan plan, long measured, double most = Most)
    {
        string numbers = FormattableString.Invariant(
            $"{what}: planned {plan.PeakBytes:N0}, measured {measured:N0}, {(double)plan.PeakBytes / measured:F3} times; {plan.Memory}");
        TestContext.Current.TestOutputHelper?.WriteLine(numbers);
        Assert.True(plan.PeakBytes >= measured && plan.PeakBytes <= most * measured, numbers);
    }

    private static async Task<(RunPlan Plan, long Measured)> MeasureAsync(Recipe recipe, string model, string folder)
    {
        RunPlan plan;
        long bytes;
        using (var planning = new CpuDevice(long.MaxValue))
        using (var real = new CpuDevice())
        {
            bytes = real.MemoryBytes;
            plan = await RunPlan.OfAsync(recipe, model, planning, bytes,
                cancellationToken: TestContext.Current.CancellationToken);
            // Nothing was reserved.
            Assert.Equal(0, planning.ReservedPeakBytes);
        }

        var device = new CpuDevice();
        await using (TrainingRun run = await TrainingRun.OpenAsync(recipe, model, folder,
            new TrainingRunOptions(device), TestContext.Current.CancellationToken))
            await run.RunAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, device.ReservedBytes);
        return (plan, device.ReservedPeakBytes);
    }

    private Recipe Read(string text, IEnumerable<string>? settings = null) =>
        RecipeFile.Parse($"data_folder: '{_files.Data}'\n{text}", "run.yaml", settings);

    /// <summary>The demo's model, some of its data, and a model that judges; made once.</summary>
    public sealed class Files : IDisposable
    {
        private readonly TemporaryFolder _folder = new();

        public Files()
        {
            Assert.Equal(0, Skylight.Cli.SkylightCommand.Create().Parse(["init", Model, "--like", "demo"]).Invoke());
            DemoData.Write(Data, DigitDataset.Load(DigitDataset.FindBundled()!), 1,
                new DemoDataSizes(Captions: 10, Arithmetic: 10, ColdStart: 24, Problems: 24, Validation: 4, Test: 12),
                CancellationToken.None);
            // Answered and learnt from; longer than what is trained on.
            string response = string.Concat(Enumerable.Repeat("1 + 2 = 3\\n", 40));
            File.WriteAllLines(Path.Combine(Data, "both.jsonl"),
                Enumerable.Range(0, 8)
                    .Select(row =>
                        $$"""{"id": "{{row}}", "question": "1 + 2 = ?", "answer": "3", "response": "{{response}}"}"""));
            Directory.CreateDirectory(Judge);
            TinyChatModel.WriteCheckpoint(Judge);
        }

        public string Model => _folder["model"];

        public string Data => _folder["data"];

        public string Judge => _folder["judge"];

        public void Dispose() => _folder.Dispose();
    }
}
