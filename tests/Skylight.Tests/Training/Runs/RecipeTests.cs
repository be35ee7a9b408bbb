using Skylight.Chat;
using Skylight.Ops;
using Skylight.Training;
using Skylight.Training.Objectives;
using Skylight.Training.Runs;

namespace Skylight.Tests.Training.Runs;

public sealed class RecipeTests
{
    private const string Least = "method: sft\nlearning_rate: 1e-5\ndata: train.jsonl\nsteps: 10\n";

    [Fact]
    public void What_is_not_said_has_the_documented_default()
    {
        Recipe recipe = RecipeFile.Parse(Least, "folder/my-run.yaml");
        Assert.Equal(("my-run", TrainingMethod.Supervised, 1UL, 32, 0, 4),
            (recipe.Name, recipe.Method, recipe.Seed, recipe.Schedule.Batch, recipe.BadRows, recipe.SamplesPerStep));
        Assert.Equal((new LearningRates(1e-5f, 1e-5f, 1e-5f), TrainableModules.All), (recipe.LearningRate, recipe.Modules));
        Assert.Equal(new OptimizerOptions(), recipe.Optimizer.AdamW);
        Assert.Equal([("answer", 0.8), ("format", 0.2)], recipe.Rewards.Select(reward => (reward.Name, reward.Weight)));
        Assert.Equal("train.jsonl", Assert.Single(recipe.Data).File);
        Assert.Null(recipe.Evaluation);
    }

    [Fact]
    public void Every_key_is_read()
    {
        Recipe recipe = RecipeFile.Parse("""
            name: run
            description: all of it
            model: folder
            method: grpo
            seed: 18446744073709551615
            learning_rate: {vision: 1e-6, connector: 2e-6}
            data_folder: sets
            data:
              - {file: "a-*.parquet", weight: 2, columns: {answer: solution}, difficulty: [0.2, 0.8]}
              - {file: b.jsonl, weight: 1}
            bad_rows: 3
            prompt: {system: "", thinking: on, template: "{question}\nThink.", max_tiles: 4, max_sequence: 4096}
            epochs: 1.5
            batch: 16
            warmup: 0.03
            decay: linear
            final_fraction: 0.1
            optimizer: {beta1: 0.8, beta2: 0.95, epsilon: 1e-7, weight_decay: 0.1, max_gradient_norm: 0, micro_batch_tokens: 512, recompute: true, not_finite: skip}
            sampling: {group: 4, temperature: [1.2, 0.8], max_new_tokens: {100: 64, 0: 32}, cache_tokens: 4096}
            grpo: {loss: dapo, clip_low: 0.1, dual_clip: 3, kl: k3, beta: 0.04, advantage: none, aggregation: constant, mini_batches: 2, resample: 3, keep_surplus: 2, mask_truncated: true, entropy_share: 0.2, drop_solved: 0.9}
            rewards: [{name: answer, weight: 1, label: right}, format, {name: Own, assembly: own.dll, weights: {a: 0.5, b: -1}, options: {x: "1"}}]
            reward_faults: skip
            evaluation: {data: test.jsonl, every: 5, items: 7, samples: 2, temperature: 0.5, thinking: off, max_new_tokens: 9}
            checkpoints: {every: 10, keep: 2, best: critical_entropy, result: best, save_state: 4}
            samples: all
            """, "recipe.yaml");
        Assert.Equal((ulong.MaxValue, TrainableModules.Vision | TrainableModules.Connector, "folder"),
            (recipe.Seed, recipe.Modules, recipe.Model));
        Assert.Equal((Path.Combine("sets", "a-*.parquet"), 2.0, "solution", 0.2, 0.8),
            (recipe.Data[0].File, recipe.Data[0].Weight, recipe.Data[0].Columns["answer"],
                recipe.Data[0].LeastDifficulty, recipe.Data[0].MostDifficulty));
        Assert.Equal(("", ThinkingMode.On, 4, 4096),
            (recipe.Prompt.System, recipe.Prompt.Thinking, recipe.Prompt.MaximumTiles, recipe.Prompt.MaximumSequence));
        Assert.Equal((null, 1.5, 0.03, LearningRateDecay.Linear, 0.1),
            (recipe.Schedule.Steps, recipe.Schedule.Epochs, recipe.Schedule.Warmup, recipe.Schedule.Decay,
                recipe.Schedule.FinalFraction));
        Assert.Equal(new OptimizerOptions
        {
            Beta1 = 0.8f,
            Beta2 = 0.95f,
            Epsilon = 1e-7f,
            WeightDecay = 0.1f,
            MaximumGradientNorm = 0,
            NotFinite = NotFiniteStep.Skip,
        }, recipe.Optimizer.AdamW);
        Assert.Equal([(0, 32), (100, 64)], recipe.Sampling.MaximumNewTokens);
        Assert.Equal((1.2, 0.8, 4096),
            (recipe.Sampling.Temperature, recipe.Sampling.FinalTemperature, recipe.Sampling.CacheTokens));
        GrpoOptions grpo = recipe.Grpo.Options;
        Assert.Equal((4, 0.1f, 0.28f, 3f, KlKind.K3, 0.04f),
            (grpo.GroupSize, grpo.Objective.ClipLow, grpo.Objective.ClipHigh, grpo.Objective.DualClip,
                grpo.Objective.Kl, grpo.Objective.Beta));
        Assert.Equal((AdvantageScale.None, LossAggregation.Constant, 2, 3, 2, true, 0.2, 0.9),
            (grpo.AdvantageScale, grpo.Aggregation, grpo.MiniBatches, grpo.ResampleAttempts, grpo.KeepSurplusSteps,
                grpo.MaskTruncated, grpo.TopEntropyShare, recipe.Grpo.DropSolved));
        Assert.Equal([("answer", 1, "right"), ("format", 1, null), ("Own", 1.0, null)],
            recipe.Rewards.Select(reward => (reward.Name, reward.Weight, reward.Label)));
        Assert.Equal((-1, "1", "own.dll"),
            (recipe.Rewards[2].Weights["b"], recipe.Rewards[2].Options["x"], recipe.Rewards[2].Assembly));
        Assert.Equal((FaultPolicy.Skip, 3, int.MaxValue), (recipe.RewardFaults, recipe.BadRows, recipe.SamplesPerStep));
        Assert.Equal((ThinkingMode.Off, 5, 7, 2, 0.5, 9),
            (recipe.Evaluation!.Thinking, recipe.Evaluation.Every, recipe.Evaluation.Items, recipe.Evaluation.Samples,
                recipe.Evaluation.Temperature, recipe.Evaluation.MaximumNewTokens));
        Assert.Equal(new CheckpointSettings
        {
            Every = 10,
            Keep = 2,
            Best = CheckpointCriterion.CriticalEntropy,
            Result = ResultCheckpoint.Best,
            SaveState = 4,
        }, recipe.Checkpoints);
        // What is kept says the same.
        Assert.Equal(recipe.Text, RecipeFile.Parse(recipe.Text, "recipe.yaml").Text);
    }

    [Theory]
    [InlineData("batchs: 3", "line 5", "'batchs' is not a key of a recipe. Did you mean 'batch'?")]
    [InlineData("optimizer: {beta: 0.9}", "line 5", "'optimizer.beta' is not a key of a recipe. Did you mean 'beta1'?")]
    [InlineData("optimizer: {xyz: 0.9}", "line 5", "Known here: beta1, beta2")]
    [InlineData("batch: many", "line 5", "'batch' is 'many', which is not a whole number")]
    [InlineData("batch: 0", "line 5", "'batch' is 0; it must be from 1")]
    [InlineData("batch: [1, 2]", "line 5", "'batch' is a list, where a whole number is expected")]
    [InlineData("warmup: 1,5", "line 5", "'warmup' is '1,5', which is not a number")]
    [InlineData("warmup: .nan", "line 5", "which is not a number")]
    [InlineData("decay: slow", "line 5", "'decay' is 'slow'; it must be one of constant, linear, cosine")]
    [InlineData("prompt: on", "line 5", "'prompt' is 'on', where a map of keys is expected")]
    [InlineData("prompt: {template: x}", "line 5", "'{question}'")]
    [InlineData("optimizer: {recompute: yes}", "line 5", "give true or false")]
    [InlineData("seed: -1", "line 5", "a seed is a whole number from 0")]
    [InlineData("grpo: {loss: ppo}", "line 5", "has the loss 'ppo'; it must be one of grpo, dapo")]
    [InlineData("grpo: {kl: k3}", "line 5", "only one of 'kl' and 'beta'")]
    [InlineData("sampling: {max_new_tokens: {5: 10}}", "line 5", "says nothing about step 0")]
    [InlineData("data: []\n", "line 5", "Duplicate key")]
    [InlineData("epochs: 2", "", "says both 'steps' and 'epochs'")]
    [InlineData("patience: 3", "", "'patience', which needs")]
    [InlineData("checkpoints: {result: best}", "", "no 'evaluation' to compare them by")]
    [InlineData("evaluation: {data: b.jsonl}\ncheckpoints: {result: best}", "", "give 'checkpoints.every'")]
    [InlineData("name: ../up", "", "it names a folder")]
    [InlineData("evaluation: {every: 3}", "line 5", "has no 'data'")]
    [InlineData("prompt: &a {system: x}\nsampling: *a", "line 6", "aliases ('*a') are not read in recipes")]
    [InlineData("prompt: [[[", "", "is not YAML")]
    [InlineData("prompt:\n\tthinking: on", "line 6", "indented with a tab; use spaces")]
    [InlineData("---\nmethod: grpo", "", "2 documents")]
    public void What_is_wrong_is_named_with_its_line(string more, string line, string expected)
    {
        string message = Assert.Throws<RecipeException>(() => RecipeFile.Parse(Least + more, "my.yaml")).Message;
        Assert.StartsWith("my.yaml", message, StringComparison.Ordinal);
        Assert.Contains(line, message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "is empty")]
    [InlineData("- a\n- b", "a recipe is a map of keys")]
    [InlineData("learning_rate: 1", "has no 'method'")]
    [InlineData("method: sft", "has no 'learning_rate'")]
    [InlineData("method: sft\nlearning_rate: 0", "trains nothing")]
    [InlineData("method: sft\nlearning_rate: 1e-5", "has no 'data'")]
    [InlineData("method: sft\nlearning_rate: 1e-5\ndata: a.jsonl", "neither 'steps' nor 'epochs'")]
    public void A_recipe_that_says_too_little_says_what_is_missing(string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<RecipeException>(() => RecipeFile.Parse(text, "my.yaml")).Message,
            StringComparison.Ordinal);

    [Fact]
    public void A_file_of_nothing_but_brackets_is_refused()
    {
        string message = Assert.Throws<RecipeException>(
            () => RecipeFile.Parse("method: " + new string('[', 100_000), "deep.yaml")).Message;
        Assert.Contains("nested more than 32 deep", message, StringComparison.Ordinal);
        using var folder = new TemporaryFolder();
        Assert.Contains("not UTF-8",
            Assert.Throws<RecipeException>(() =>
                RecipeFile.Load(folder.Write("latin.yaml", [.. "name: "u8, 0xE9, (byte)'\n']))).Message,
                    StringComparison.Ordinal);
        Assert.ThrowsAny<IOException>(() => RecipeFile.Load(folder["absent.yaml"]));
    }

    [Theory]
    [InlineData("seed=abc", "my.yaml, --set seed=abc: 'seed' is 'abc'")]
    [InlineData("optimizer.beta3=1", "my.yaml, --set optimizer.beta3=1: 'optimizer.beta3' is not a key")]
    [InlineData("evaluation.every=3", "my.yaml, --set evaluation.every=3: 'evaluation' has no 'data'")]
    [InlineData("rewards=[{name: answer, weight: much}]",
        "my.yaml, --set rewards=[{name: answer, weight: much}]: 'rewards.0.weight' is 'much'")]
    [InlineData("foo.bar=1", "my.yaml, --set foo.bar=1: 'foo' is not a key")]
    [InlineData("learning_rate=1e60", "'learning_rate' is 1e60, which is more than a number of 32 bits can hold")]
    [InlineData("data=", "'data.0' is empty")]
    [InlineData("model=", "'model' is empty")]
    [InlineData("data_folder=' '", "'data_folder' is empty")]
    public void What_the_command_line_set_wrongly_is_named_as_such(string setting, string expected) =>
        Assert.Contains(expected, Assert.Throws<RecipeException>(() => RecipeFile.Parse(Least, "my.yaml", [setting]))
            .Message, StringComparison.Ordinal);

    [Fact]
    public void Settings_go_before_the_file()
    {
        Recipe recipe = RecipeFile.Parse(
            Least + "optimizer: {beta1: 0.5}\n", "my.yaml",
            ["steps=20", "optimizer.beta2=0.95", "data=[{file: a.jsonl}, b.jsonl]", "data.1=c.jsonl", "data.0.weight=3",
                "prompt.system="]);
        Assert.Equal((20, 0.5f, 0.95f, ""),
            (recipe.Schedule.Steps, recipe.Optimizer.AdamW.Beta1, recipe.Optimizer.AdamW.Beta2, recipe.Prompt.System));
        Assert.Equal([("a.jsonl", 3.0), ("c.jsonl", 0.0)], recipe.Data.Select(data => (data.File, data.Weight)));
        Assert.Contains("steps: 20", recipe.Text, StringComparison.Ordinal);
        foreach ((string setting, string expected) in ((string, string)[])[
            ("steps", "write KEY=VALUE"), ("data.0.x=1", "is a single value"),
            ("optimizer.beta1=high", "'high', which is not a number"), ("step=3", "Did you mean 'steps'?"),
            ("steps=[", "is not YAML")])
            Assert.Contains(expected,
                Assert.Throws<RecipeException>(() => RecipeFile.Parse(Least, "my.yaml", [setting])).Message,
                StringComparison.Ordinal);
        Assert.Contains("its places are 0 to 0",
            Assert.Throws<RecipeException>(() => RecipeFile.Parse(Least.Replace("train.jsonl", "[train.jsonl]"),
                "my.yaml", ["data.3=x"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_recipe_of_the_repository_can_be_read()
    {
        string[] files = Directory.GetFiles(Repository.PathOf("recipes"), "*.yaml", SearchOption.AllDirectories);
        Assert.True(files.Length >= 8);
        foreach (string file in files)
            Assert.Equal(Path.GetFileNameWithoutExtension(file)[2..], RecipeFile.Load(file).Name);
    }

    [Fact]
    public void The_page_lists_every_key()
    {
        string text = File.ReadAllText(Repository.PathOf("docs", "recipes.md"));
        Assert.True(text.Contains(RecipeKeys.ToMarkdown(), StringComparison.Ordinal),
            "The table of docs/recipes.md must be:\n" + RecipeKeys.ToMarkdown());
    }

    [Theory]
    [InlineData("grpo: {kl: k3, beta: 0.1}", "has 'grpo'")]
    [InlineData("rewards: [{name: answer}]", "has 'rewards'")]
    public void Keys_that_the_method_does_not_read_are_refused(string line, string expected)
    {
        string text = $"model: m\nmethod: sft\nlearning_rate: 1e-3\ndata: a.jsonl\nsteps: 2\n{line}\n";
        RecipeException refused = Assert.Throws<RecipeException>(() => RecipeFile.Parse(text, "sft"));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
    }
}
