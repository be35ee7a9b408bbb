using System.Text.Json.Nodes;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Cuda;
using Skylight.Tests.Simt;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Training.Objectives;

/// <summary>
/// Every policy objective and its gradient, through the graph that training has, against references in double
/// precision.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class LossVerificationTests
{
    private static readonly string[] s_objectives =
        ["grpo", "dapo", "dr_grpo", "dual_clip", "gspo", "gspo_wide", "gspo_token", "cispo", "sapo", "dapo_tis",
            "reinforce_pp", "dapo_kl_k1", "dapo_kl_k2", "dapo_kl_k3"];

    public static TheoryData<string> Objectives => [.. s_objectives];

    [Theory]
    [InlineData("losses", "cpu")]
    [InlineData("losses", "simt")]
    [InlineData("interleaved", "cpu")]
    [InlineData("interleaved", "simt")]
    [InlineData("no-spread", "cpu")]
    [InlineData("on-policy", "cpu")]
    public void Every_objective_and_gradient_is_that_of_the_reference(string file, string deviceName)
    {
        using SimulatedCard? card = deviceName == "simt" ? new SimulatedCard() : null;
        using CpuDevice? cpu = card is null ? new CpuDevice() : null;
        LossReport report = LossVerification.Run(Golden.PathOf($"losses/{file}.json"), (Device?)card?.Device ?? cpu!,
            TestContext.Current.CancellationToken);
        Assert.All(report.Checks, check => Assert.True(check.Holds, check.ToString()));
        Assert.True(report.Holds);
        Assert.Equal(["advantages.group", "advantages.batch", "advantages.none", .. s_objectives],
            report.Checks.Select(check => check.Name));
        Assert.Equal(file == "losses" ? ["dpo", "bco", "mpo"] : ["dpo"], report.Skipped);
    }

    [Theory]
    [MemberData(nameof(Objectives))]
    public void A_wrong_loss_and_a_wrong_gradient_are_found_and_nothing_else_is_blamed(string objective)
    {
        JsonNode losses = Losses(), gradients = Losses();
        JsonNode wrongLoss = losses["objectives"]![objective]!,
            wrongGradient = gradients["objectives"]![objective]!["gradient"]![2]!;
        wrongLoss["loss"] = wrongLoss["loss"]!.GetValue<double>() + 2e-6;
        wrongGradient[1] = (wrongGradient[1]!.GetValue<double>() * 1.001) + 1e-5;
        foreach (JsonNode file in (JsonNode[])[losses, gradients])
        {
            LossReport report = Run(file);
            Assert.False(report.Holds);
            Assert.Equal([objective], report.Checks.Where(check => !check.Holds).Select(check => check.Name));
        }
    }

    [Fact]
    public void Wrong_advantages_are_found()
    {
        JsonNode file = Losses();
        file["advantages"]!["batch"]![1] = -0.4443;
        Assert.Equal(["advantages.batch"], Run(file).Checks.Where(check => !check.Holds).Select(check => check.Name));
    }

    [Fact]
    public void What_a_file_does_not_hold_is_not_asked_for()
    {
        JsonNode file = Losses();
        file["objectives"] = new JsonObject { ["grpo"] = file["objectives"]!["grpo"]!.DeepClone() };
        foreach (string unused in (string[])["advantages", "reference", "rollout", "max_completion_length", "pairs"])
            file.AsObject().Remove(unused);
        LossReport report = Run(file);
        Assert.True(report.Holds);
        Assert.Equal(["grpo"], report.Checks.Select(check => check.Name));
    }

    public static TheoryData<string, string> Damages => new()
    {
        { "lengths", "'lengths' is missing" }, { "groups", "'groups' is missing" },
        { "rewards", "'rewards' is missing" }, { "current", "'current' is missing" },
        { "old", "'old' is missing" }, { "reference", "'reference' is missing" }, { "rollout", "'rollout' is missing" },
        { "max_completion_length", "'max_completion_length' is missing" }, { "objectives", "'objectives' is missing" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void What_is_missing_is_named(string member, string expected)
    {
        JsonNode file = Losses();
        file.AsObject().Remove(member);
        Refused(file.ToJsonString(), expected);
    }

    [Fact]
    public void What_is_wrong_is_named()
    {
        Spoilt(file => file["lengths"]![1] = 0, "'lengths[1]' must be a whole number of 1 or more, not 0");
        Spoilt(file => file["lengths"]![1] = 2.5, "'lengths[1]'");
        Spoilt(file => file["groups"]!.AsArray().RemoveAt(0), "'groups' must have 6 numbers, as 'lengths' says, not 5");
        Spoilt(file => file["rewards"]![2] = "good", "'rewards[2]' must be a number");
        Spoilt(file => file["current"]![3]!.AsArray().Add(-1.0),
            "'current[3]' must have 5 numbers, as 'lengths' says, not 6");
        Spoilt(file => file["old"]![0] = 7, "'old[0]' must be a list of numbers");
        Spoilt(file => file["reference"]![0]![0] = 1e300, "'reference[0][0]' must be a number within float32's range");
        Spoilt(file => file["objectives"]!["sapo"]!.AsObject().Remove("gradient"), "'objectives.sapo.gradient' is missing");
        Spoilt(file => file["objectives"]!["sapo"]!["loss"] = null, "'objectives.sapo.loss' must be a number");
        Spoilt(file => file["objectives"]!["sapo"] = 3, "'objectives.sapo' must be an object");
        Spoilt(file => file["objectives"]!["ppo2"] = file["objectives"]!["grpo"]!.DeepClone(),
            "'objectives.ppo2' is no objective that this version knows: grpo,");
        Spoilt(file => file["advantages"]!["median"] = file["advantages"]!["none"]!.DeepClone(),
            "'advantages.median' is no advantage scale");
        Spoilt(file => file["objectives"] = new JsonObject { ["dpo"] = 1 }, "must be an object");
        Spoilt(file => file["objectives"] = new JsonObject { ["dpo"] = new JsonObject() },
            "has no policy objective to verify");
        Refused("[1]", "must hold a JSON object");
        Refused("{\"lengths\": [1", "is not valid JSON");
        Assert.Contains("no such file", Assert.Throws<CheckpointException>(() => Verify("/absent/losses.json")).Message,
            StringComparison.Ordinal);

        static void Spoilt(Action<JsonNode> spoil, string expected)
        {
            JsonNode file = Losses();
            spoil(file);
            Refused(file.ToJsonString(), expected);
        }
    }

    private static JsonNode Losses() => JsonNode.Parse(File.ReadAllText(Golden.PathOf("losses/losses.json")))!;

    private static void Refused(string json, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("losses.json", json);
        string message = Assert.Throws<CheckpointException>(() => Verify(path)).Message;
        Assert.StartsWith(path, message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    private static LossReport Run(JsonNode file)
    {
        using var folder = new TemporaryFolder();
        return Verify(folder.Write("losses.json", file.ToJsonString()));
    }

    private static LossReport Verify(string path)
    {
        using var device = new CpuDevice();
        return LossVerification.Run(path, device);
    }
}
