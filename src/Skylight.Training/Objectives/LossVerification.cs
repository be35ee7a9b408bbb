using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training.Rewards;

namespace Skylight.Training.Objectives;

/// <summary>How what the library computes compares with a reference.</summary>
/// <param name="Name">The objective; or the advantages of a scale, <c>advantages.group</c>.</param>
/// <param name="LossError">
/// |ours − reference| / the larger of |reference| and Σ weight·|advantage|: a loss near zero is the difference of
/// larger terms. Null for advantages.
/// </param>
/// <param name="VectorError">‖ours − reference‖ / ‖reference‖ of the gradient in the log-probabilities, or of the
/// advantages.</param>
/// <param name="Worst">The numbers that are the furthest apart.</param>
public sealed record LossCheck(string Name, double? LossError, double VectorError, string Worst)
{
    /// <summary>What the error of a loss may be.</summary>
    public const double LossLimit = 1e-6;

    /// <summary>What the error of a gradient, or of advantages, may be.</summary>
    public const double VectorLimit = 1e-5;

    /// <summary>Whether nothing is beyond its limit; what is not a number is.</summary>
    public bool Holds => !(LossError is { } loss && !(loss <= LossLimit)) && VectorError <= VectorLimit;
}

/// <summary>What a verification of losses found.</summary>
/// <param name="Checks">Advantages and objectives.</param>
/// <param name="Skipped">Objectives on preference pairs, which are not policy objectives.</param>
public sealed record LossReport(IReadOnlyList<LossCheck> Checks, IReadOnlyList<string> Skipped)
{
    /// <summary>Whether every check holds.</summary>
    public bool Holds => Checks.All(check => check.Holds);
}

/// <summary>
/// Recomputes the policy objectives of a losses file, and their gradients, through the code that training runs.
/// </summary>
public static class LossVerification
{
    // Below such a part of what advantages of 1 would give, a reference is rounding noise: where rewards are equal,
    // their mean need not be equal to them, and 1e-17 over the 1e-6 that is added to their deviation is an advantage too.
    private const double Noise = 1e-4;

    private static readonly string[] s_onPairs = ["dpo", "bco", "mpo"];

    private static readonly Dictionary<string, AdvantageScale> s_scales =
        new() { ["group"] = AdvantageScale.Group, ["batch"] = AdvantageScale.Batch, ["none"] = AdvantageScale.None };

    /// <summary>The objectives that a file may hold, as its maker defines them.</summary>
    private static readonly Dictionary<string, GrpoOptions> s_objectives = new()
    {
        ["grpo"] = GrpoPresets.All["grpo"],
        ["dapo"] = GrpoPresets.All["dapo"],
        ["dr_grpo"] = GrpoPresets.All["dr_grpo"],
        ["dual_clip"] = With("dapo", objective => objective with { ClipHigh = 0.2f, DualClip = 3 }),
        ["gspo"] = GrpoPresets.All["gspo"],
        ["gspo_wide"] = With("gspo", objective => objective with { ClipLow = 0.2f, ClipHigh = 0.2f }),
        ["gspo_token"] = With("gspo_token", objective => objective with { ClipLow = 0.2f, ClipHigh = 0.2f }),
        ["cispo"] = With("cispo", objective => objective with { ClipHigh = 0.28f }),
        ["sapo"] = GrpoPresets.All["sapo"],
        ["dapo_tis"] = With("dapo", objective => objective with { ImportanceCap = 2 }),
        ["reinforce_pp"] = GrpoPresets.All["reinforce_pp"],
        ["dapo_kl_k1"] = With("dapo", objective => objective with { Kl = KlKind.K1, Beta = 0.04f }),
        ["dapo_kl_k2"] = With("dapo", objective => objective with { Kl = KlKind.K2, Beta = 0.04f }),
        ["dapo_kl_k3"] = With("dapo", objective => objective with { Kl = KlKind.K3, Beta = 0.04f }),
    };

    /// <summary>Recomputes what a file holds.</summary>
    /// <param name="file">Log-probabilities, rewards and groups of completions, and objectives with loss and gradient;
    /// <c>tests/golden/README.md</c> describes it.</param>
    /// <param name="device">Where the losses are computed.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    /// <exception cref="CheckpointException">The file is not of that form, or has an objective or a scale that is not
    /// known.</exception>
    public static LossReport Run(string file, Device device, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(device);
        LossesFile losses = LossesFile.Read(file);
        var checks = new List<LossCheck>();
        foreach ((string name, double[] reference) in losses.Advantages())
        {
            if (!s_scales.TryGetValue(name, out AdvantageScale scale))
                throw losses.Wrong($"advantages.{name}",
                    $"is no advantage scale; known are {string.Join(", ", s_scales.Keys)}");
            double[] ours = [.. Advantages(losses, scale).Select(advantage => (double)advantage)];
            checks.Add(new LossCheck($"advantages.{name}", null, Error(ours, reference, Math.Sqrt(ours.Length)),
                Worst(ours, reference, index => $"completion {index}")));
        }

        string known = string.Join(", ", s_objectives.Keys);
        var skipped = new List<string>();
        using var workspace = new Workspace(device);
        bool any = false;
        foreach ((string name, Func<LossesObjective> read) in losses.Objectives())
        {
            if (s_onPairs.Contains(name))
            {
                skipped.Add(name);
                continue;
            }

            if (!s_objectives.TryGetValue(name, out GrpoOptions? options))
            {
                throw losses.Wrong(
                    $"objectives.{name}",
                    $"is no objective that this version knows: {known}; on preference pairs, and skipped: " +
                    $"{string.Join(", ", s_onPairs)}");
            }

            if (options.Aggregation == LossAggregation.Constant)
                options = options with { ConstantLength = losses.MaximumCompletionLength };
            any = true;
            checks.Add(Check(losses, read(), options, workspace, cancellationToken));
        }

        return any ? new LossReport(checks, skipped)
            : throw losses.Wrong("objectives", $"has no policy objective to verify; known are {known}");
    }

    private static GrpoOptions With(string preset, Func<PolicyObjective, PolicyObjective> change) =>
        GrpoPresets.All[preset] with { Objective = change(GrpoPresets.All[preset].Objective) };

    private static LossCheck Check(LossesFile losses, LossesObjective reference, GrpoOptions options,
        Workspace workspace, CancellationToken cancellationToken)
    {
        Rollout[] rollouts = Rollouts(losses, options, isFromElsewhere: reference.Name == "dapo_tis");
        IReadOnlyList<(int Rollout, TrainingSample Sample)> samples = PolicySamples.Of(rollouts, options.Checked());
        double loss = 0;
        double[][] gradient = [.. losses.Lengths.Select(length => new double[length])];
        if (samples.Count > 0)
        {
            float[] current = [.. samples.SelectMany(pair => losses.Current[pair.Rollout]).Select(value => (float)value)];
            (loss, float[][] parts) = Compute([.. samples.Select(pair => pair.Sample)], current, options.Objective,
                workspace, cancellationToken);
            for (int index = 0; index < parts.Length; index++)
                gradient[samples[index].Rollout] = Array.ConvertAll(parts[index], value => (double)value);
        }

        float[] weights = GroupAdvantages.TokenWeights(losses.Lengths, options.Aggregation, options.ConstantLength);
        double one = weights.Zip(losses.Lengths, (weight, length) => (double)weight * length).Sum();
        double terms = samples.Sum(
            pair => (double)weights[pair.Rollout] * losses.Lengths[pair.Rollout] * Math.Abs(pair.Sample.Advantage));
        double norm = Math.Sqrt(weights.Zip(losses.Lengths, (weight, length) => (double)weight * weight * length).Sum());
        double difference = Math.Abs(loss - reference.Loss);
        double[] ours = [.. gradient.SelectMany(values => values)],
            theirs = [.. reference.Gradient.SelectMany(values => values)];
        string[] places = [.. losses.Lengths.SelectMany((length, completion) =>
            Enumerable.Range(0, length).Select(token => $"completion {completion}, token {token}"))];
        return new LossCheck(
            reference.Name, difference == 0 ? 0 : difference / Math.Max(Math.Max(Math.Abs(reference.Loss), terms),
                Noise * one), Error(ours, theirs, norm),
            $"loss {loss:G9} for {reference.Loss:G9}; {Worst(ours, theirs, index => places[index])}");
    }

    /// <summary>The loss and its gradient in the log-probabilities, through the graph that training passes have.</summary>
    private static (float Loss, float[][] Gradient) Compute(
        IReadOnlyList<TrainingSample> samples, float[] current, PolicyObjective objective, Workspace workspace,
        CancellationToken cancellationToken)
    {
        foreach (TrainingSample sample in samples)
            sample.Validate(objective);
        int rows = TrainingPass.RowsFor(samples);
        var graph = new Graph();
        Value logProbabilities = graph.Input("log_probabilities", TensorType.Float32(rows)),
            entropies = graph.Input("entropies", TensorType.Float32(rows));
        var loss = new ObjectiveGraph(graph, objective, logProbabilities, entropies);
        Value gradient = graph.Differentiate(loss.Loss, [logProbabilities], graph.Add(new One()),
            new Add())[logProbabilities];
        graph.Output("gradient", gradient);
        var executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
        Array.Resize(ref current, rows);
        executor.Write<float>(logProbabilities, current);
        loss.Write(executor, samples);
        executor.Run(cancellationToken);
        return (loss.Read(executor).Loss, ObjectiveGraph.Split(executor.Read<float>(gradient), samples));
    }

    private static Rollout[] Rollouts(LossesFile losses, GrpoOptions options, bool isFromElsewhere)
    {
        float[][] old = Floats(losses.Rows("old"));
        float[][]? reference = options.Objective.Kl == KlKind.None ? null : Floats(losses.Rows("reference"));
        float[][]? elsewhere = isFromElsewhere ? Floats(losses.Rows("rollout")) : null;
        float[] advantages = Advantages(losses, options.AdvantageScale);

        // Which tokens they are decides nothing: their log-probabilities are given.
        return [.. losses.Lengths.Select((length, index) => new Rollout(
            new TokenSequence([0]), new Completion(new int[length], old[index], [], FinishReason.Stop),
            new RewardBreakdown(0, [], []), advantages[index])
        {
            ReferenceLogProbabilities = reference?[index],
            RolloutLogProbabilities = elsewhere?[index],
        })];
    }

    private static float[] Advantages(LossesFile losses, AdvantageScale scale)
    {
        int[][] groups = [.. Enumerable.Range(0, losses.Groups.Count).GroupBy(index => losses.Groups[index])
            .Select(group => group.ToArray())];
        float[][] advantages = GroupAdvantages.Of(
            [.. groups.Select(group => (IReadOnlyList<double>)[.. group.Select(index => losses.Rewards[index])])], scale);
        var byCompletion = new float[losses.Groups.Count];
        for (int group = 0; group < groups.Length; group++)
        {
            for (int member = 0; member < groups[group].Length; member++)
                byCompletion[groups[group][member]] = advantages[group][member];
        }

        return byCompletion;
    }

    private static double Error(double[] ours, double[] reference, double size)
    {
        double difference = Norm([.. ours.Zip(reference, (left, right) => left - right)]);
        return difference == 0 ? 0 : difference / Math.Max(Norm(reference), Noise * size);
    }

    private static string Worst(double[] ours, double[] reference, Func<int, string> place)
    {
        int worst = 0;
        for (int index = 1; index < ours.Length; index++)
        {
            if (Math.Abs(ours[index] - reference[index]) > Math.Abs(ours[worst] - reference[worst])
                || double.IsNaN(ours[index]))
                worst = index;
        }

        return $"{place(worst)}: {ours[worst]:G9} for {reference[worst]:G9}";
    }

    private static double Norm(double[] values) => Math.Sqrt(values.Sum(value => value * value));

    private static float[][] Floats(double[][] rows) =>
        Array.ConvertAll(rows, row => Array.ConvertAll(row, value => (float)value));
}
