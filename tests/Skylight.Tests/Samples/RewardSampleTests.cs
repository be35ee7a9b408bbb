using Skylight.Tests.Training.Rewards;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Samples;

/// <summary>
/// docs/rewards.md shows its samples as they are compiled, and they work; the reward of one's own is loaded by
/// <see cref="RewardAssemblyTests"/>.
/// </summary>
public class RewardSampleTests
{
    [Fact]
    public void The_page_shows_the_samples()
    {
        string page = Read("docs", "rewards.md");
        Assert.Contains($"```csharp\n{Read("docs", "samples", "OwnReward", "UnitReward.cs")}```\n", page,
            StringComparison.Ordinal);
        Assert.Contains($"```xml\n{Read("docs", "samples", "OwnReward", "OwnReward.csproj")}```\n", page,
            StringComparison.Ordinal);
        string host = Read("tests", "Skylight.Tests", "Samples", "RewardSample.cs")
            .Split("#region docs/rewards.md: a host\n")[1].Split("#endregion")[0];
        Assert.Contains($"```csharp\n{host}```\n", page, StringComparison.Ordinal);
        Assert.Contains($"```text\n{VerifierPrompt.DefaultTemplate}\n```\n", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_judges_by_a_verifier_behind_an_endpoint()
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, number, _) => number == 1
            ? JudgeSite.ReplyAsync(context, "yes") : JudgeSite.RefuseAsync(context, 401));
        Environment.SetEnvironmentVariable("JUDGE_KEY", "sk-sample");
        try
        {
            await using RewardSet rewards = RewardSample.Create(site.Address.ToString());
            // 0.8 + 0.2 − (4000 − (4096 − 512)) / 512
            Assert.Equal("0.1875: (accuracy, 1), (format, 1), (length, -0.8125)",
                await RewardSample.JudgeAsync(rewards, TestContext.Current.CancellationToken));
            await using RewardSet others = RewardSample.Create(site.Address.ToString());
            Assert.StartsWith("skipped: accuracy: the verifier endpoint",
                await RewardSample.JudgeAsync(others, TestContext.Current.CancellationToken), StringComparison.Ordinal);
            Assert.Equal("Bearer sk-sample", site.Received.First().Authorization);
        }
        finally
        {
            Environment.SetEnvironmentVariable("JUDGE_KEY", null);
        }
    }

    private static string Read(params string[] path) => File.ReadAllText(Repository.PathOf(path)).ReplaceLineEndings("\n");
}
