using System.Text.RegularExpressions;
using Skylight.Cpu;
using Skylight.Training.Data;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;

namespace Skylight.Tests.Samples;

/// <summary>Every recipe of docs/cookbook.md can be read, made and planned; its table names keys that there are.</summary>
public sealed class CookbookTests
{
    private static readonly MarkdownPage s_page = MarkdownPage.Read("cookbook.md");

    public static TheoryData<string> Names => [.. s_page.Recipes().Select(recipe => recipe.File)];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_recipe_can_be_read_and_planned(string name)
    {
        using var folder = new TemporaryFolder();
        folder.Write(name, s_page.Recipes().Single(recipe => recipe.File == name).Text);
        string model = Path.GetDirectoryName(
            folder.Write("model/config.json", File.ReadAllBytes(Golden.PathOf("configs/internvl3-1b.json"))))!;
        File.Copy(Golden.PathOf("tokenizer/tokenizer.json"), Path.Combine(model, "tokenizer.json"));
        Recipe recipe = RecipeFile.Load(folder[name], [$"data_folder='{folder.Path}'"]);
        Assert.NotNull(recipe.Model);
        foreach (DataSettings data in recipe.Data.Concat(recipe.Evaluation?.Data ?? []))
            await StandInAsync(folder, data, recipe.Method == TrainingMethod.Supervised);
        // A verifier's checkpoint is somewhere else here.
        recipe = recipe with
        {
            Rewards = [.. recipe.Rewards.Select(reward =>
                reward with
                {
                    Options = reward.Options.ToDictionary(pair => pair.Key, pair => pair.Key == "checkpoint" ? model
                        : pair.Value),
                })],
        };
        foreach (RewardSettings reward in recipe.Rewards)
        {
            await using var rewards = new RewardSet(
                [new RewardTerm(RewardCatalog.Create(reward.Name, reward.Options), reward.Weight)]);
            Assert.NotEmpty(rewards.Components);
        }

        using var device = new CpuDevice(long.MaxValue);
        RunPlan plan = await RunPlan.OfAsync(recipe, model, device, device.MemoryBytes,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.True(plan.Fits && plan.Steps > 0 && plan.Examples > 0 && plan.TrainedParameters > 0);
        Assert.Equal(recipe.Method != TrainingMethod.Supervised, plan.RolloutTokens > 0);
        Assert.Equal(recipe.Rewards.Any(reward => reward.Options.ContainsKey("checkpoint")), plan.Memory.VerifierBytes > 0);
        // A prompt has room beside the longest completion.
        Assert.True(recipe.Method == TrainingMethod.Supervised
            || recipe.Sampling.MaximumNewTokens[^1].Tokens < recipe.Prompt.MaximumSequence);
    }

    [Fact]
    public void There_is_a_recipe_for_each_method_and_purpose()
    {
        Assert.Equal(
            ["cold-start.yaml", "r1v3-grpo.yaml", "dapo.yaml", "dr-grpo.yaml", "gspo.yaml", "rejection.yaml",
                "connector.yaml", "verifier.yaml", "curriculum.yaml", "parquet.yaml"],
            s_page.Recipes().Select(recipe => recipe.File));
        Assert.Contains("(cookbook.md)", MarkdownPage.Read("recipes.md").Text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_table_names_keys_that_there_are()
    {
        string[][] rows = [.. s_page.Section("## From TRL, verl and ms-swift").Rows().Skip(1)];
        Assert.True(rows.Length >= 30);
        HashSet<string> known = [.. RecipeKeys.All.Select(key => key.Path),
            .. RewardCatalog.All.Select(kind => kind.Name), "--resume", "dapo", "grpo", "buffer"];
        foreach (string[] row in rows)
        {
            Assert.Equal(4, row.Length);
            // What stands behind a colon is a value.
            foreach (Match name in Regex.Matches(row[3], "`([^`:]+)[^`]*`"))
                Assert.Contains(name.Groups[1].Value, known);
        }
    }

    /// <summary>A file of the form that the recipe asks for; its first row is one that can be used.</summary>
    private static async Task StandInAsync(TemporaryFolder folder, DataSettings data, bool isLearnt)
    {
        string file = data.File.Replace("*", "00000", StringComparison.Ordinal);
        string Column(string part, string name) => data.Columns.GetValueOrDefault(part, name);
        if (file.EndsWith(".parquet", StringComparison.Ordinal))
            folder.Write(Path.GetRelativePath(folder.Path, file),
                File.ReadAllBytes(Golden.PathOf("data/geo3k-snappy.parquet")));
        else
            folder.Write(
                Path.GetRelativePath(folder.Path, file),
                $$"""{"{{Column("prompt", "question")}}": "1+1?", "{{Column("answer", "answer")}}": "2", {{(isLearnt ? """ "response": "<think>\nx\n</think>\n\n2", """ : "")}} "difficulty": 0.5, "{{Column("images", "images")}}": []}""");
        ExampleNeeds needs = isLearnt ? ExampleNeeds.Response : ExampleNeeds.Answer;
        using ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, needs),
            TestContext.Current.CancellationToken);
        TrainingExample example = await files.ReadAsync(0, TestContext.Current.CancellationToken);
        Assert.True(example.Answers.Count > 0 && (data.LeastDifficulty is null || data.Includes(example)));
    }
}
