using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Training.Runs;

/// <summary>How far a run has come: with the weights and the optimizer's tensors all that is needed to go on.</summary>
internal sealed record RunState
{
    /// <summary>The recipe as it was run, but for what may change; a resumed run must have the same.</summary>
    public string Recipe { get; set; } = "";

    /// <summary>The model that it began with.</summary>
    public string Model { get; set; } = "";

    /// <summary>Steps that are done; with the seed they decide the random numbers of the next.</summary>
    public int Step { get; set; }

    /// <summary>Steps of the optimizer: those that were skipped do not count.</summary>
    public int OptimizerSteps { get; set; }

    /// <summary>Examples that were drawn from the data.</summary>
    public long Examples { get; set; }

    /// <summary>Wall time so far, over all sittings.</summary>
    public double Seconds { get; set; }

    /// <summary>Steps that were left out because they were not finite or had nothing to learn from.</summary>
    public int SkippedSteps { get; set; }

    /// <summary>Rewards that failed.</summary>
    public long RewardFaults { get; set; }

    /// <summary>The greatest |log p of training − log p of the rollout| of any step.</summary>
    public double LogProbabilityDifference { get; set; }

    /// <summary>Evaluations since the loss was lowest.</summary>
    public int EvaluationsWithoutGain { get; set; }

    /// <summary>Rows that could not be used.</summary>
    public int BadRows { get; set; }

    /// <summary>Bytes of the list of those rows.</summary>
    public long BadRowsLength { get; set; }

    /// <summary>Rows of the data, from which the order of the examples follows.</summary>
    public long Rows { get; set; }

    /// <summary>How often each prompt was tried and solved, by its id: for what leaves solved ones out.</summary>
    public Dictionary<string, long[]> Solved { get; set; } = [];

    /// <summary>Results on held-out data.</summary>
    public List<EvaluationPoint> Evaluations { get; set; } = [];

    /// <summary>Checkpoints that are in the folder.</summary>
    public List<int> Checkpoints { get; set; } = [];

    /// <summary>The checkpoint that is best so far; null before the first evaluation of one.</summary>
    public int? Best { get; set; }

    /// <summary>Lengths of the log's files.</summary>
    public RunLogLengths Log { get; set; } = RunLogLengths.None;

    /// <summary>Whether the run has ended and its result is written.</summary>
    public bool IsComplete { get; set; }

    public string ToJson() => JsonSerializer.Serialize(this, RunStateJson.Default.RunState);
}

/// <summary>A try on held-out data.</summary>
/// <param name="Step">After how many steps.</param>
/// <param name="Accuracy">The share of right responses; null where nothing is answered.</param>
/// <param name="Reward">The mean reward; null where there is none.</param>
/// <param name="CriticalEntropy">The mean entropy of critical tokens, in nats; null if there were none.</param>
/// <param name="Loss">The mean cross-entropy of the answers; null for methods without one.</param>
/// <param name="Items">How many items.</param>
internal sealed record EvaluationPoint(int Step, double? Accuracy, double? Reward, double? CriticalEntropy,
    double? Loss, int Items);

[JsonSourceGenerationOptions(WriteIndented = true, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(RunState))]
internal sealed partial class RunStateJson : JsonSerializerContext;
