using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;
using Skylight.Training.Rewards;
using static Skylight.Tests.Training.Rewards.RewardTesting;

namespace Skylight.Tests.Training.Rewards;

/// <summary>A user's own reward: the sample of docs/rewards.md, and everything that can be wrong with one.</summary>
public sealed class RewardAssemblyTests
{
    private const string UnitReward = "OwnReward.UnitReward";

    private static readonly string s_own = Path.Combine(AppContext.BaseDirectory, "OwnReward.dll"),
        s_tests = typeof(RewardAssemblyTests).Assembly.Location;

    [Theory]
    [InlineData(UnitReward)]
    [InlineData("UnitReward")]
    public async Task The_sample_is_loaded_and_judges(string name)
    {
        IReward reward = RewardAssembly.Load(s_own, name, new Dictionary<string, string> { ["column"] = "in" });
        Assert.NotSame(typeof(OwnReward.UnitReward), reward.GetType());
        await using var rewards = new RewardSet(
            [new RewardTerm(reward, new Dictionary<string, double> { ["unit"] = 1, ["brevity"] = 0.1 }, "own")]);
        Assert.Equal(["own/unit", "own/brevity"], rewards.Components);
        RewardRequest first = Request("5 cm") with
        {
            TokenCount = 4,
            Columns = new Dictionary<string, string> { ["in"] = "cm" },
        };
        RewardBreakdown[] found = await rewards.ScoreAsync([first, first with { Completion = "5 m", TokenCount = 3 }],
            TestContext.Current.CancellationToken);
        Assert.Equal([1, 0.025], found.Select(breakdown => Math.Round(breakdown.Total, 12)));
        string message = (await Assert.ThrowsAsync<RewardException>(() =>
            rewards.ScoreAsync([first, Request("5 cm", id: "d:2")], TestContext.Current.CancellationToken))).Message;
        Assert.Contains("Reward 'own', sample 'd:2': the row has no column 'in'.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_reward_without_options_needs_no_constructor() =>
        Assert.Equal(["plain"], RewardAssembly.Load(s_tests, typeof(PlainReward).FullName!).Components);

    [Fact]
    public void What_cannot_be_loaded_is_refused_with_what_there_is()
    {
        var option = new Dictionary<string, string> { ["colum"] = "x" };
        Assert.Contains("build its project first",
            Assert.Throws<FileNotFoundException>(() => RewardAssembly.Load("no-such.dll", "X")).Message,
            StringComparison.Ordinal);
        Assert.Contains($"no class 'UnitRewards'. It has the rewards {UnitReward}.", Refused(s_own, "UnitRewards"),
            StringComparison.Ordinal);
        Assert.Contains($"does not implement {typeof(IReward).FullName}",
            Refused(s_tests, typeof(RewardAssemblyTests).FullName!), StringComparison.Ordinal);
        Assert.Contains("is abstract or generic", Refused(s_tests, typeof(AbstractReward).FullName!),
            StringComparison.Ordinal);
        Assert.Contains("is abstract or generic", Refused(s_tests, typeof(GenericReward<>).FullName!),
            StringComparison.Ordinal);
        Assert.Contains("no public constructor without parameters", Refused(s_tests, typeof(NumberReward).FullName!),
            StringComparison.Ordinal);
        Assert.Contains("takes no options but is given 'colum'",
            Refused(s_tests, typeof(PlainReward).FullName!, option), StringComparison.Ordinal);
        Assert.Contains("fails: ArgumentException: There is no option 'colum' but 'column'.",
            Refused(s_own, UnitReward, option), StringComparison.Ordinal);

        using var temporary = new TemporaryFolder();
        Assert.Contains("is no .NET assembly", Refused(temporary.Write("reward.dll", "no assembly"), "X"),
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_program_that_was_compiled_ahead_of_time_says_that_it_cannot() => Assert.Contains(
        "compiled ahead of time and cannot load",
        Assert.Throws<NotSupportedException>(() =>
            RewardAssembly.Load(s_own, UnitReward, new Dictionary<string, string>(), canLoad: false)).Message,
                StringComparison.Ordinal);

    [Theory]
    [InlineData(1, 0, false)]
    [InlineData(0, 2, false)]
    [InlineData(0, 0, false)]
    [InlineData(0, 1, true)]
    public void Another_version_of_Skylight_is_refused(int major, int minor, bool fits)
    {
        using var folder = new TemporaryFolder();
        string path = folder["OwnReward.dll"];
        File.WriteAllBytes(path, WithVersion(File.ReadAllBytes(s_own), major, minor));
        if (fits)
            Assert.Equal(["unit", "brevity"], RewardAssembly.Load(path, UnitReward).Components);
        else
            Assert.Contains($"was built for Skylight {major}.{minor}.0.0, and this is 0.1.0.0",
                Refused(path, UnitReward), StringComparison.Ordinal);
    }

    private static string Refused(string path, string type, Dictionary<string, string>? options = null) =>
        Assert.Throws<ArgumentException>(() => RewardAssembly.Load(path, type, options)).Message;

    /// <summary>
    /// The assembly as if it had been built for another version: the first two numbers of its reference to
    /// Skylight.Training are others.
    /// </summary>
    private static byte[] WithVersion(byte[] assembly, int major, int minor)
    {
        using var file = new PEReader(new MemoryStream(assembly));
        MetadataReader metadata = file.GetMetadataReader();
        AssemblyReferenceHandle reference = metadata.AssemblyReferences.Single(
            handle => metadata.GetString(metadata.GetAssemblyReference(handle).Name) == "Skylight.Training");
        int row = file.PEHeaders.MetadataStartOffset + metadata.GetTableMetadataOffset(TableIndex.AssemblyRef)
            + (MetadataTokens.GetRowNumber(reference) - 1) * metadata.GetTableRowSize(TableIndex.AssemblyRef);
        BitConverter.TryWriteBytes(assembly.AsSpan(row), (short)major);
        BitConverter.TryWriteBytes(assembly.AsSpan(row + 2), (short)minor);
        return assembly;
    }
}

/// <summary>Rewards that are loaded from this assembly as from a user's.</summary>
public abstract class AbstractReward : IReward
{
    public IReadOnlyList<string> Components => ["plain"];

    public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken) => throw new NotSupportedException();
}

public sealed class PlainReward : AbstractReward;

public sealed class GenericReward<T> : AbstractReward
{
    public T? Value { get; init; }
}

public sealed class NumberReward(int number) : AbstractReward
{
    public int Number => number;
}
